"""Imitation of the optimum: regression on its actions, in fresh states of many systems."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecEnv

from agents.base import PLAIN, CosineRate, Remaining, Tuning, scenarios_like
from agents.direct import DirectLearner
from agents.teacher import Systems, Teacher, check_teachable
from multispin_env.envs.settings import Settings

SCALE = 1000.0
"""Of the loss: it is a small share of the goodput."""


class Imitation(DirectLearner):
    """Supervised learning; the environment is not stepped, states come from its teacher.

    Parameters
    ----------
    env
        Gives spaces, and the settings of what is imitated.
    systems
        What states are drawn from.
    batch_size
        States a step.
    learning_rate, max_grad_norm, policy_kwargs, seed, device
        As in Stable-Baselines3.
    """

    def __init__(self, env: VecEnv, systems: Systems, batch_size: int, **common: Any) -> None:
        super().__init__(env, **common)
        self.batch_size = batch_size
        settings: Settings = env.get_attr("settings", 0)[0]
        # two numbers: a seed of states that are kept for measuring is always one
        self.teacher = Teacher(settings, systems, np.random.default_rng([self.seed or 0, 1]))

    def loss(self) -> tuple[th.Tensor, int]:
        """Goodput lost in the states of a fresh lesson, about."""
        lesson = self.teacher.lesson(self.batch_size)
        wanted, cost = (th.as_tensor(array, device=self.device).flatten(1) for array in lesson[1:])
        error = self.actions_for(lesson.observation) - wanted
        return SCALE * (cost * error**2).sum(-1).mean(), self.batch_size


@dataclass(frozen=True)
class ImitationSettings:
    """Hyperparameters; states are of the run's scenario and of the presets, of few to some users and many budgets."""

    num_envs: int = 1
    timesteps: int = 2_500_000
    batch_size: int = 128
    learning_rate: float = 3e-3
    max_grad_norm: float = 1.0
    width: int = 64
    fewest_users: int = 2
    most_users: int = 14

    def check(self, settings: Settings) -> None:
        """Only where there is something to imitate."""
        check_teachable(settings)

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str, tuning: Tuning = PLAIN) -> Imitation:
        """Build the untrained model; ``tuning`` is about exploration, of which there is none."""
        (settings,) = env.get_attr("settings", 0)
        self.check(settings)
        return Imitation(
            env,
            Systems(scenarios_like(settings), self.fewest_users, self.most_users),
            self.batch_size,
            learning_rate=CosineRate(self.learning_rate, remaining),
            max_grad_norm=self.max_grad_norm,
            policy_kwargs={"width": self.width, "largest": False},
            seed=seed,
            device=device,
        )


SETTINGS = ImitationSettings()
