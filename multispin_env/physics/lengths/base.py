"""Protocol of laws of lengths."""

from typing import Protocol, runtime_checkable

import numpy as np

from multispin_env.arrays import IntArray

MOST_MEAN = 1e6  # Tokens of a mean or median length


@runtime_checkable
class Lengths(Protocol):
    """How many tokens prompts and answers have; hashable."""

    @property
    def mean_output(self) -> float:
        """Mean tokens of an answer."""

    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> tuple[IntArray, IntArray]:
        """Tokens of prompts ≥ 0 and of answers ≥ 1, (rows, K); drawing a + b rows equals drawing a, then b."""
