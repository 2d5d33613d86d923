"""A trained model as something that decides: observations in, decisions out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from agents import AGENTS
from agents.base import AgentSettings
from agents.runs import RunConfig, load_checkpoint, load_config, restore
from agents.vec_env import make_vec_env
from multispin_env.envs.settings import Settings
from multispin_env.physics.types import Decision, SystemState


@dataclass(frozen=True)
class ModelDecider:
    """Deterministic decisions of a model, through the environment's own observation and action codecs."""

    model: BaseAlgorithm
    settings: Settings

    def __call__(self, state: SystemState) -> Decision:
        """Decide for states (n, K)."""
        observation = self.settings.observations.encode(state)
        action, _ = self.model.predict(observation, deterministic=True)
        return self.settings.actions.decode(np.asarray(action), state)


def load_decider(folder: Path, settings: Settings | None = None) -> tuple[ModelDecider, RunConfig]:
    """Load a run's model, for its own environment or for another with the same action encoding.

    The networks know nothing of the number of users, so any K will do.
    """
    config, _ = load_config(folder)
    chosen = config.settings if settings is None else settings
    agent: AgentSettings = AGENTS.load(config.agent)
    env = make_vec_env(config.env, chosen, agent.num_envs, max_episode_steps=1, seed=0)
    model = agent.build(env, remaining=lambda progress: progress, seed=0, device="cpu")
    restore(model, load_checkpoint(folder))
    return ModelDecider(model, chosen), config
