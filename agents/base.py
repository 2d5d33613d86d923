"""What an agent is: its hyperparameters, and how its model is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

Remaining = Callable[[float], float]
"""Fraction of the budget that remains, from Stable-Baselines3's own fraction."""


class AgentSettings(Protocol):
    """A frozen dataclass of hyperparameters, one for each algorithm."""

    @property
    def num_envs(self) -> int:
        """Parallel copies."""
        ...

    @property
    def timesteps(self) -> int:
        """Default budget in rounds of all copies."""
        ...

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str) -> BaseAlgorithm:
        """Build the untrained model."""
        ...


@dataclass(frozen=True)
class LinearRate:
    """Learning rate that falls linearly with the budget, to a floor of 5 %."""

    first: float
    remaining: Remaining

    def __call__(self, progress: float) -> float:
        """Rate at Stable-Baselines3's remaining progress."""
        return self.first * max(0.05, self.remaining(progress))
