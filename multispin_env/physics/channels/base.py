"""What every fading model is."""

from typing import Protocol

import numpy as np

from multispin_env.arrays import FloatArray


class Channel(Protocol):
    """How power gains change from round to round; m is the number of fresh variables of a user and round."""

    def draw(self, rng: np.random.Generator, rounds: int, num_users: int) -> FloatArray:
        """Fresh randomness for some rounds, (rounds, K) or (rounds, m, K); drawing 1 + 1 rounds equals drawing 2."""
        ...

    def first_gain(self, mean_gain: FloatArray, fresh: FloatArray) -> FloatArray:
        """Gains H of the first round, from the stationary law with means H̄ (..., K) and fresh randomness."""
        ...

    def next_gain(self, gain: FloatArray, mean_gain: FloatArray, fresh: FloatArray) -> FloatArray:
        """Gains H (..., K) of the next round from those of the last one, the means H̄ and fresh randomness."""
        ...
