"""Rayleigh block fading, independent in every round."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray


@dataclass(frozen=True)
class Rayleigh:
    """H_k = |h_k|², h_k ~ CN(0, H̄_k), redrawn every round ([MS] §VI): exponential with mean H̄_k."""

    def draw(self, rng: np.random.Generator, rounds: int, num_users: int) -> FloatArray:
        """Standard exponential variables (rounds, K)."""
        return rng.standard_exponential((rounds, num_users))

    def first_gain(self, mean_gain: FloatArray, fresh: FloatArray) -> FloatArray:
        """Scale fresh variables to the mean gains."""
        return mean_gain * fresh

    def next_gain(self, gain: FloatArray, mean_gain: FloatArray, fresh: FloatArray) -> FloatArray:
        """As `first_gain`; the last gains do not matter."""
        return self.first_gain(mean_gain, fresh)


RAYLEIGH = Rayleigh()
