"""What an agent is: its hyperparameters, and how its model is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from multispin_env.envs.settings import Variant

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

    def build(self, env: VecEnv, remaining: Remaining, seed: int, device: str, gamma: float = 0.0) -> BaseAlgorithm:
        """Build the untrained model for rewards that later ones are discounted against by γ a round."""
        ...


def discount(variant: Variant) -> float:
    """Discount γ a round that fits an environment.

    0, where what is decided in a round has no influence on later ones but through what is learnt of a request. That
    influence is left out: every round reveals counts anyway, and with γ = 0 the reward itself is the return, which
    makes learning far less noisy. Where throughput is remembered, a decision's part in it fades by 1 − 1 / window a
    round, and so does its part in the rewards that follow; γ is that.
    """
    return 0.0 if variant.window is None else 1.0 - 1.0 / variant.window


@dataclass(frozen=True)
class LinearRate:
    """Learning rate that falls linearly with the budget, to a floor of 5 %."""

    first: float
    remaining: Remaining

    def __call__(self, progress: float) -> float:
        """Rate at Stable-Baselines3's remaining progress."""
        return self.first * max(0.05, self.remaining(progress))
