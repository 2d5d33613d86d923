"""Trained models, which are read from runs or from the package."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from multispin_agents.base import AgentSettings, Remaining
from multispin_agents.checkpoints import MODEL, load_checkpoint
from multispin_agents.policies import policy_of
from multispin_agents.registry import AGENTS
from multispin_agents.runs import RunConfig, load_config
from multispin_agents.vec_env import NativeVecEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.policy import Policy, check_entries
from multispin_env.files import read_table


def load_run_model(folder: Path, env_config: EnvConfig) -> BaseAlgorithm:
    """Load the best model of a run, for its own environment or another with the same actions and observation entries.

    The number of users may differ. Only the networks of its policy are loaded. Raises ``ValueError`` for an unreadable
    checkpoint, or for an environment or server with other observations.
    """
    config, _ = load_config(folder, env_config.arguments)
    check_entries(config.env, env_config)
    model = build_model(AGENTS.load(config.agent).for_environment(config.env), env_config)
    load_checkpoint(folder, MODEL).restore(model, only_policy=True)
    return model


def build_model(
    settings: AgentSettings,
    config: EnvConfig,
    remaining: Remaining = lambda progress: progress,
    seed: int = 0,
    device: str = "cpu",
) -> BaseAlgorithm:
    """Build an untrained model on environments of a configuration; arguments are as for `AgentSettings.build`."""
    return settings.build(NativeVecEnv.of(config, settings.num_envs, seed), remaining, seed, device)


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
    return Pretrained(config.env, read_policy(folder).network, config, _read_score(folder / SCORE))


def read_policy(folder: Path) -> Policy:
    """Read the policy of a run or packed agent; errors are those of `read`."""
    config, _ = load_config(folder)
    return policy_of(load_run_model(folder, config.env), config.env)


def _read_score(path: Path) -> dict[str, Any]:
    try:
        return read_table(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: can't be read as the score of an agent ({error})") from None
