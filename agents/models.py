"""Models that are trained: read from runs and from the package."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.base import AgentSettings
from agents.checkpoints import MODEL, load_checkpoint
from agents.policies import EquivariantActorCritic, TorchNetwork
from agents.registry import AGENTS, PRETRAINED
from agents.runs import RunConfig, load_config
from agents.vec_env import make_vec_env
from multispin_env.checks import check_name
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.policy import Policy
from multispin_env.files import read_json


def load_run_model(folder: Path, env_config: EnvConfig) -> BaseAlgorithm:
    """Load a run's model, for its own environment or for another with the same actions and observation entries.

    It is the one that was best on the validation cases. The networks know nothing of the number of users, so any K
    will do. ``ValueError`` for a checkpoint that can't be read, or an environment or a law with other observations.
    """
    config, _ = load_config(folder, env_config.arguments)
    _check_same_entries(config.env, env_config)
    agent: AgentSettings = AGENTS.load(config.agent).for_environment(config.env)
    env = make_vec_env(env_config, agent.num_envs, max_episode_steps=1, seed=0)
    model = agent.build(env, lambda progress: progress, seed=0, device="cpu")
    load_checkpoint(folder, MODEL).restore(model)
    return model


def _check_same_entries(trained: EnvConfig, wanted: EnvConfig) -> None:
    own, other = (list(config.observations.space.spaces) for config in (trained, wanted))
    if own != other:
        raise ValueError(
            f"env: expected one that shows {own}, as the run does, got {wanted.env_id!r}, which shows {other}"
        )
    laws = ("drafts alone", "tokens too")  # what costs time; where it is tokens too, observations hold more numbers
    trained_law, law = (laws[bool(config.scenario.verification_pieces)] for config in (trained, wanted))
    if trained_law != law:
        raise ValueError(
            f"server: expected a law of verification that charges {trained_law}, as the run has, got "
            f"{wanted.scenario.label!r}, which charges {law}; its network can't read what is observed there"
        )
    tasks, others = (len(config.scenario.tasks) for config in (trained, wanted))
    if "task" in own and tasks != others:
        raise ValueError(f"scenario: expected {tasks} tasks, as the run has, got {others}")


SCORE = "score.json"

ROOT = Path(__file__).parent / "pretrained"
"""Trained agents that ship with the package: configuration, network and score, one folder for each environment."""


@dataclass(frozen=True, eq=False, repr=False)
class Pretrained(Policy):
    """A shipped network."""

    run: RunConfig  # how it was trained
    score: Mapping[str, Any]  # what score.json says: the command, the commit, the measured score


def load_pretrained(env_id: str) -> Pretrained:
    """Load the agent of the package for an environment; ``ValueError`` for an unknown id."""
    check_name("pretrained agent", env_id, PRETRAINED)
    return read(ROOT / PRETRAINED[env_id])


def read(folder: Path) -> Pretrained:
    """Read an agent of a folder; nothing is executed, and ``ValueError`` says which file is missing or damaged."""
    config, _ = load_config(folder)
    network = TorchNetwork(_network(config, folder))
    return Pretrained(config.env, network, config, _read_score(folder / SCORE))


def read_policy(folder: Path) -> Policy:
    """Read the policy of a run or a packed agent; nothing is executed, errors as of `read`."""
    config, _ = load_config(folder)
    return Policy(config.env, TorchNetwork(_network(config, folder)))


def _network(config: RunConfig, folder: Path) -> EquivariantActorCritic:
    """The network alone; its file holds no optimiser."""
    agent: AgentSettings = AGENTS.load(config.agent).for_environment(config.env)
    env = make_vec_env(config.env, agent.num_envs, max_episode_steps=1, seed=0)
    policy = agent.build(env, lambda progress: progress, seed=0, device="cpu").policy
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
