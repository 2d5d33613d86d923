"""Acceptance by Bayes' rule over what a request may be."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_real
from multispin_env.controllers.beliefs.counts import blank_counts, take_counts
from multispin_env.controllers.beliefs.log_moments import log_likelihood, log_moment
from multispin_env.controllers.beliefs.task_prior import prior_means
from multispin_env.controllers.estimators.base import Estimator, Part
from multispin_env.physics.types import Observed


@dataclass(frozen=True, eq=False)
class Filter(Estimator):
    """Exact posterior of α where its prior is a mixture of Beta laws (ours).

    There is a component for each task (the visible one alone, where it is visible) and each multiple of its assumed
    spread, all equally likely. A hits and F misses multiply the weight of Beta(a, b) by B(a + A, b + F) / B(a, b) and
    turn it into Beta(a + A, b + F), so two counts for each user are all the memory. A request of age 0 starts from the
    prior.

    Parameters
    ----------
    spreads
        Multiples > 0 of the assumed standard deviation; by default 1 alone.
    moment
        m > 0: the estimate is E[α^m]^{1/m}, as for ``beta``; default 8.

    In the mean over systems the defaults are within .0002 of the best that ``benchmarks/tune_estimators.py`` tried in
    `HiddenAcceptance-v0`, and within .0005 in `RecordedAcceptance-v0` (``docs/results/tune_estimators.json``).
    """

    part: ClassVar[Part] = "acceptance_rate"

    spreads: tuple[float, ...] = (1.0,)
    moment: float = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "spreads", tuple(self.spreads))
        if not self.spreads:
            raise ValueError("spreads: expected at least one number > 0, got none")
        for index, spread in enumerate(self.spreads):
            check_real(f"spreads[{index}]", spread, 0.0, open_low=True)
        check_real("moment", self.moment, 1e-3, 1e3)

    @cached_property
    def components(self) -> tuple[FloatArray, FloatArray]:
        """Parameters a and b of the prior's Beta laws, (tasks, spreads)."""
        mean = prior_means(self.assumptions)[:, None]
        deviation = np.array(self.assumptions.acceptance_spread)[:, None] * np.array(self.spreads)
        part = np.clip(deviation**2 / (mean * (1.0 - mean)), 1e-6, 0.9)  # of the variance that no law exceeds
        concentration = 1.0 / part - 1.0
        return mean * concentration, (1.0 - mean) * concentration

    @override
    def blank(self, n: int) -> dict[str, NDArray[Any]]:
        return blank_counts(n, self.scenario.num_users)

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        return self.given(*take_counts("filter", self.memory, observed), observed.task)

    def given(self, hits: FloatArray | IntArray, misses: FloatArray | IntArray, task: IntArray | None) -> FloatArray:
        """Moment of the posterior (..., K) from all that requests have shown since they began, without memory."""
        accepted, refused = (np.asarray(count, dtype=np.float64)[..., None] for count in (hits, misses))
        a, b = (array.ravel() if task is None else array[task] for array in self.components)  # (C,), or (..., K, C)
        weight = log_likelihood(a, b, accepted, refused)
        moments = log_moment(a + accepted, b + refused, self.moment)
        mixed = _log_sum_exp(weight + moments) - _log_sum_exp(weight)
        return np.clip(np.exp(mixed / self.moment), 0.0, 1.0)


def _log_sum_exp(terms: FloatArray) -> FloatArray:
    """ln Σ e^x over the last axis, of finite x."""
    largest = terms.max(-1, keepdims=True)
    total: FloatArray = np.log(np.exp(terms - largest).sum(-1)) + largest[..., 0]
    return total
