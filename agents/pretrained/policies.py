"""Policies that are read from the package."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.base import AgentSettings, tuning_for
from agents.checkpoints import MODEL, load_checkpoint
from agents.policies.equivariant import EquivariantActorCritic
from agents.policies.network import TorchNetwork
from agents.registry import AGENTS
from agents.runs import RunConfig, load_config
from agents.vec_env import make_vec_env
from multispin_env.evaluation.policy import Policy
from multispin_env.files import read_json

SCORE = "score.json"

ROOT = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Pretrained(Policy):
    """A shipped network.

    Parameters
    ----------
    settings, network
        As in `Policy`.
    config
        How it was trained.
    score
        What `agents.load` found in ``score.json``: the command, the commit, the measured score.
    """

    config: RunConfig
    score: Mapping[str, Any]


def read(folder: Path) -> Pretrained:
    """Read an agent of a folder; numbers and JSON alone, so that nothing is executed.

    Raises
    ------
    ValueError
        If a file is missing, damaged, or not one of this project.
    """
    config, _ = load_config(folder)
    network = TorchNetwork(_network(config, folder))
    return Pretrained(config.settings, network, config, _read_score(folder / SCORE))


def _network(config: RunConfig, folder: Path) -> EquivariantActorCritic:
    """The network alone; its file holds no optimiser."""
    settings = config.settings
    agent: AgentSettings = AGENTS.load(config.agent)
    env = make_vec_env(config.env, settings, agent.num_envs, max_episode_steps=1, seed=0)
    policy = agent.build(env, lambda progress: progress, seed=0, device="cpu", tuning=tuning_for(settings)).policy
    assert isinstance(policy, EquivariantActorCritic)
    try:
        policy.load_state_dict(load_checkpoint(folder, MODEL).parameters["policy"])
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{folder / MODEL}: got a network that does not fit its configuration ({reason})") from None
    policy.set_training_mode(False)
    return policy


def _read_score(path: Path) -> dict[str, Any]:
    try:
        score = read_json(path)
        if not isinstance(score, dict):
            raise ValueError(f"expected a table, got a JSON {type(score).__name__}")
        return score
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: can't be read as the score of an agent ({error})") from None
