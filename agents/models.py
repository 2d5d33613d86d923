"""Trained models, which are read from runs or from the package."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.base import AgentSettings
from agents.checkpoints import MODEL, load_checkpoint
from agents.policies import DevicePolicy, TorchNetwork
from agents.registry import AGENTS
from agents.runs import CONFIG, RunConfig, load_config
from agents.vec_env import NativeVecEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.policy import Policy, check_entries
from multispin_env.files import read_json


def load_run_model(folder: Path, env_config: EnvConfig) -> BaseAlgorithm:
    """Load the best model of a run, for its own environment or another with the same actions and observation entries.

    The number of users may differ. Raises ``ValueError`` for an unreadable checkpoint, or for an environment or server
    with other observations.
    """
    config, _ = load_config(folder, env_config.arguments)
    check_entries(config.env, env_config)
    model = _untrained(config, env_config)
    load_checkpoint(folder, MODEL).restore(model)
    return model


def _untrained(config: RunConfig, env_config: EnvConfig) -> BaseAlgorithm:
    agent: AgentSettings = AGENTS.load(config.agent).for_environment(config.env)
    env = NativeVecEnv.of(env_config, agent.num_envs, seed=0)
    return agent.build(env, lambda progress: progress, seed=0, device="cpu")


SCORE = "score.json"

ROOT = Path(__file__).parent / "pretrained"
"""Folder of the pretrained agents, with the configuration, network and score of one agent for each environment."""


@dataclass(frozen=True, eq=False, repr=False)
class Pretrained(Policy):
    """Pretrained agent."""

    run: RunConfig
    score: Mapping[str, Any]  # content of score.json: the command, the commit and the measured score


def read(folder: Path) -> Pretrained:
    """Read a packed agent without executing code; ``ValueError`` names a missing or damaged file."""
    config, _ = load_config(folder)
    network = _read_network(config, folder)
    return Pretrained(config.env, network, config, _read_score(folder / SCORE))


def read_policy(folder: Path) -> Policy:
    """Read the policy of a run or packed agent; errors are those of `read`."""
    config, _ = load_config(folder)
    return Policy(config.env, _read_network(config, folder))


def _read_network(config: RunConfig, folder: Path) -> TorchNetwork:
    policy = _untrained(config, config.env).policy
    assert isinstance(policy, DevicePolicy)
    try:
        policy.load_state_dict(load_checkpoint(folder, MODEL).parameters["policy"])
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{folder / MODEL}: expected a network that fits {CONFIG}, got another ({reason})") from None
    policy.set_training_mode(False)
    return TorchNetwork(policy)


def _read_score(path: Path) -> dict[str, Any]:
    try:
        score = read_json(path)
        if not isinstance(score, dict):
            raise ValueError(f"expected a table, got a JSON {type(score).__name__}")
        return score
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: can't be read as the score of an agent ({error})") from None
