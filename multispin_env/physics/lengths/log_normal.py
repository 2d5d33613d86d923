"""Log-normal lengths."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_real
from multispin_env.physics.lengths.base import MOST_MEAN, Lengths

SUMMED = 20_000  # Tokens up to which the mean is a sum; behind, an integral differs by less than rounding


@dataclass(frozen=True)
class LogNormal(Lengths):
    """The logarithms of prompts and answers are normal and independent; rounded, at least 1 token (ours).

    The defaults are those of recorded chats (Azure LLM inference trace 2023).

    Parameters
    ----------
    median_output, sigma_output
        Median tokens of an answer, > 0, and standard deviation of its natural logarithm, in [0, 3].
    median_prompt, sigma_prompt
        The same of a prompt; a median of 0 for no prompts.
    """

    median_output: float = 129.0
    sigma_output: float = 0.86
    median_prompt: float = 1020.0
    sigma_prompt: float = 0.99

    def __post_init__(self) -> None:
        check_real("median_output", self.median_output, 0.0, MOST_MEAN, open_low=True)
        check_real("median_prompt", self.median_prompt, 0.0, MOST_MEAN)
        check_real("sigma_output", self.sigma_output, 0.0, 3.0)  # so lengths stay whole numbers that arrays hold
        check_real("sigma_prompt", self.sigma_prompt, 0.0, 3.0)

    @property
    @override
    def mean_output(self) -> float:
        """Mean of the rounded lengths: 1 + Σ_n P(X > n + ½) over n ≥ 1."""
        return _rounded_mean(self.median_output, self.sigma_output)

    @override
    def draw(self, rng: np.random.Generator, rows: int, num_users: int) -> tuple[IntArray, IntArray]:
        fresh = rng.standard_normal((rows, 2, num_users))
        output = _rounded(self.median_output * np.exp(self.sigma_output * fresh[:, 1]))
        if self.median_prompt == 0.0:
            return np.zeros_like(output), output
        return _rounded(self.median_prompt * np.exp(self.sigma_prompt * fresh[:, 0])), output


def _rounded(tokens: FloatArray) -> IntArray:
    return np.maximum(np.rint(tokens), 1.0).astype(np.int64)


def _rounded_mean(median: float, sigma: float) -> float:
    if sigma == 0.0:
        return float(_rounded(np.asarray(median)))
    from scipy import special  # late: it takes as long to import as all of this package

    over = special.ndtr(np.log(median / (np.arange(1, SUMMED) + 0.5)) / sigma)
    # the rest of the sum is the integral of P(X > x) from here on, which is E[(X − x)⁺]
    place = np.log(median / SUMMED) / sigma
    beyond = median * np.exp(sigma**2 / 2.0) * special.ndtr(place + sigma) - SUMMED * special.ndtr(place)
    return float(1.0 + over.sum() + beyond)
