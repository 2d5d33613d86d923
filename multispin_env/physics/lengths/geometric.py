"""Geometric lengths."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_real
from multispin_env.physics.lengths.base import MOST_MEAN, Lengths


@dataclass(frozen=True)
class Geometric(Lengths):
    """Every token is the last with the same probability (ours).

    Parameters
    ----------
    mean_output
        Mean tokens of an answer, ≥ 1; default 60.
    mean_prompt
        Mean tokens of a prompt, ≥ 1; 0, the default, for no prompts.
    """

    mean_output: float = 60.0
    mean_prompt: float = 0.0

    def __post_init__(self) -> None:
        check_real("mean_output", self.mean_output, 1.0, MOST_MEAN)
        if self.mean_prompt != 0.0:
            check_real("mean_prompt", self.mean_prompt, 1.0, MOST_MEAN)

    @override
    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> tuple[IntArray, IntArray]:
        fresh = rng.standard_exponential((rows, 2, num_users))
        prompt = (
            _geometric(self.mean_prompt, fresh[:, 0]) if self.mean_prompt else np.zeros((rows, num_users), np.int64)
        )
        return prompt, _geometric(self.mean_output, fresh[:, 1])


def _geometric(mean: float, exponential: FloatArray) -> IntArray:
    """From 1 on: a geometric variable is an exponential one in steps."""
    with np.errstate(divide="ignore"):  # a mean of 1 is always 1
        step = -np.log1p(-1.0 / mean)
    return 1 + np.floor(exponential / step).astype(np.int64)
