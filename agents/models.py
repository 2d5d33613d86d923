"""Read the model of a run back."""

from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.base import AgentSettings, tuning_for
from agents.checkpoints import MODEL, load_checkpoint
from agents.registry import AGENTS
from agents.runs import load_config
from agents.vec_env import make_vec_env
from multispin_env.envs.settings import Settings

LAWS = ("drafts alone", "tokens too")
"""What a verification costs time for; where it is tokens too, observations hold more numbers."""


def load_run_model(folder: Path, env_id: str, settings: Settings) -> BaseAlgorithm:
    """Load a run's model, for its own environment or for another with the same actions and observation entries.

    It is the one that was best on the validation cases. The networks know nothing of the number of users, so any K
    will do.

    Raises
    ------
    ValueError
        For a checkpoint that can't be read, or an environment or a law with other observations.
    """
    config, _ = load_config(folder, settings.arguments)
    _check_same_entries(config.settings, settings, env_id)
    agent: AgentSettings = AGENTS.load(config.agent)
    env = make_vec_env(env_id, settings, agent.num_envs, max_episode_steps=1, seed=0)
    model = agent.build(env, lambda progress: progress, seed=0, device="cpu", tuning=tuning_for(config.settings))
    load_checkpoint(folder, MODEL).restore(model)
    return model


def _check_same_entries(trained: Settings, wanted: Settings, env_id: str) -> None:
    """``ValueError`` unless the network of one environment can read the other's observations."""
    own, other = (list(settings.observations.space.spaces) for settings in (trained, wanted))
    if own != other:
        raise ValueError(f"env: expected one that shows {own}, as the run does, got {env_id!r}, which shows {other}")
    trained_law, law = (LAWS[bool(settings.scenario.verification_pieces)] for settings in (trained, wanted))
    if trained_law != law:
        raise ValueError(
            f"server: expected a law of verification that charges {trained_law}, as the run has, got "
            f"{wanted.scenario.label!r}, which charges {law}; its network can't read what is observed there"
        )
    tasks, others = (len(settings.scenario.tasks) for settings in (trained, wanted))
    if "task" in own and tasks != others:
        raise ValueError(f"scenario: expected {tasks} tasks, as the run has, got {others}")
