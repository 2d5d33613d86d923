"""Estimators of what is hidden: acceptance from accepted and refused tokens, channels from old reports (ours).

`Estimator` is their base. Moments of Beta laws are taken by their logarithms, for parameters of any size.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_real
from multispin_env.controllers.base import Assumptions
from multispin_env.physics.radio import channel_gain, predictive_mean, predictive_quantile, spectral_efficiency
from multispin_env.physics.types import Observed
from multispin_env.scenario import Scenario

Part = Literal["acceptance_rate", "spectral_efficiency", "weights"]
"""What an estimator gives to the controller: a field of the state, or the weights ω of the users."""


@dataclass(frozen=True, eq=False)
class Estimator(ABC):
    """Estimates one part from what has been observed, for n copies at once (ours).

    A subclass adds its options as dataclass fields, sets `part` and implements `estimate`; `initial_memory` returns the
    arrays that it keeps between rounds. Nothing is random and the environments are independent: a batch of n gives the
    same bits as n single environments.
    """

    part: ClassVar[Part]

    scenario: Scenario
    assumptions: Assumptions
    memory: dict[str, NDArray[Any]] = field(default_factory=dict, init=False, repr=False)  # arrays (n, ...)

    def __post_init__(self) -> None:
        known, tasks = len(self.assumptions.acceptance_mean), len(self.scenario.tasks)
        if known != tasks:
            raise ValueError(f"acceptance_mean: expected one entry for each task ({tasks}), got {known}")

    def initial_memory(self, n: int) -> dict[str, NDArray[Any]]:
        """Memory (n, ...) of copies that have seen nothing."""
        return {}

    def start(self, n: int) -> None:
        """Begin with n new copies."""
        self.memory.clear()
        self.memory.update(self.initial_memory(n))

    def reset(self, mask: BoolArray) -> None:
        """Forget what the copies in ``mask`` (n,) have seen."""
        for name, fresh in self.initial_memory(len(mask)).items():
            self.memory[name][mask] = fresh[mask]

    @abstractmethod
    def estimate(self, observed: Observed) -> FloatArray:
        """Take in one round and estimate the part, (n, K); to be called exactly once a round, after `start`.

        ``ValueError`` if a field it needs is hidden.
        """


def _visible(estimator: str, observed: Observed, field_name: str) -> NDArray[Any]:
    array: NDArray[Any] | None = getattr(observed, field_name)
    if array is None:
        raise ValueError(f"{field_name}: expected an array (n, K) for the estimator {estimator!r}, got None")
    return np.ascontiguousarray(array)


def _prior_means(assumptions: Assumptions) -> FloatArray:
    return np.clip(assumptions.acceptance_mean, 1e-6, 1.0 - 1e-6)


def _prior_mean(assumptions: Assumptions, observed: Observed) -> FloatArray:
    means = _prior_means(assumptions)
    if observed.task is None:
        return np.full(observed.draft_time.shape, means.mean())
    chosen: FloatArray = means[observed.task]
    return chosen


@dataclass(frozen=True, eq=False)
class TaskMean(Estimator):
    """Mean α of the user's task, as the paper's control assumes ([MS] Table I); over all tasks where it is hidden."""

    part: ClassVar[Part] = "acceptance_rate"

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        return _prior_mean(self.assumptions, observed)


def initial_counts(n: int, num_users: int) -> dict[str, NDArray[Any]]:
    """Counts (n, K) of requests that have seen no round."""
    return {"hits": np.zeros((n, num_users)), "misses": np.zeros((n, num_users))}


def update_counts(
    estimator: str, memory: dict[str, NDArray[Any]], observed: Observed, decay: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """Add the last round to the counts in ``memory``, and return hits A and misses F, (n, K) (ours).

    A round with a of L drafted tokens accepted has likelihood α^a (1 − α)^[a < L]: a hits, and a miss if a < L. Earlier
    counts are multiplied by ``decay``. A request of age 0 starts from nothing; a hidden age never ends a request.
    """
    drafted = _visible(estimator, observed, "drafted")
    accepted = _visible(estimator, observed, "accepted")
    same = np.ones(drafted.shape) if observed.age is None else np.where(observed.age > 0, 1.0, 0.0)
    memory["hits"] = same * (decay * memory["hits"] + accepted)
    memory["misses"] = same * (decay * memory["misses"] + (accepted < drafted))
    return memory["hits"], memory["misses"]


@dataclass(frozen=True, eq=False)
class Beta(Estimator):
    """Beta law of α for each user, around the mean of its task, with counts that fade (ours).

    Parameters
    ----------
    decay
        In [0, 1]: what a round's counts are worth one round later; default 0.98.
    strength
        Tokens that the prior is worth, > 0; default 20.
    moment
        m > 0: the estimate is E[α^m]^{1/m}, the certain α that has the same chance to accept m tokens in a row; 1 is
        the mean, the default is 8.

    The defaults are nearly the best of those that ``python -m benchmarks.tune estimators`` tries.
    """

    part: ClassVar[Part] = "acceptance_rate"

    decay: float = 0.98
    strength: float = 20.0
    moment: float = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("decay", self.decay, 0.0, 1.0)
        check_real("strength", self.strength, 1e-3, 1e9)
        check_real("moment", self.moment, 1e-3, 1e3)

    @override
    def initial_memory(self, n: int) -> dict[str, NDArray[Any]]:
        return initial_counts(n, self.scenario.num_users)

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        hits, misses = update_counts("beta", self.memory, observed, self.decay)
        mean = _prior_mean(self.assumptions, observed)
        a, b = self.strength * mean + hits, self.strength * (1.0 - mean) + misses
        return np.minimum(np.exp(log_moment(a, b, self.moment) / self.moment), 1.0)


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
        mean = _prior_means(self.assumptions)[:, None]
        deviation = np.array(self.assumptions.acceptance_spread)[:, None] * np.array(self.spreads)
        part = np.clip(deviation**2 / (mean * (1.0 - mean)), 1e-6, 0.9)  # of the variance that no law exceeds
        concentration = 1.0 / part - 1.0
        return mean * concentration, (1.0 - mean) * concentration

    @override
    def initial_memory(self, n: int) -> dict[str, NDArray[Any]]:
        return initial_counts(n, self.scenario.num_users)

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        return self.posterior_moment(*update_counts("filter", self.memory, observed), observed.task)

    def posterior_moment(
        self, hits: FloatArray | IntArray, misses: FloatArray | IntArray, task: IntArray | None
    ) -> FloatArray:
        """Moment of the posterior (..., K) from all that requests have shown since they began, without memory."""
        accepted, refused = (np.asarray(count, dtype=np.float64)[..., None] for count in (hits, misses))
        a, b = (array.ravel() if task is None else array[task] for array in self.components)  # (C,), or (..., K, C)
        weight = log_likelihood(a, b, accepted, refused)
        moments = log_moment(a + accepted, b + refused, self.moment)
        mixed = _log_sum_exp(weight + moments) - _log_sum_exp(weight)
        return np.clip(np.exp(mixed / self.moment), 0.0, 1.0)


_SERIES_FROM = 30.0  # Stirling's series with three terms is exact to rounding from here on


def _stirling_tail(x: FloatArray) -> FloatArray:
    """ln Γ(x) − ((x − ½) ln x − x + ½ ln 2π)."""
    square = (1.0 / x) ** 2
    return np.asarray((1.0 / x) * (1.0 / 12.0 - square * (1.0 / 360.0 - square / 1260.0)))


def log_pochhammer(x: FloatArray, steps: FloatArray | float) -> FloatArray:
    """ln Γ(x + m) − ln Γ(x), for x > 0 and m ≥ 0 broadcast together (ours).

    The difference of the two values of ln Γ loses all digits for large x; Stirling's series, subtracted term by term,
    does not.
    """
    from scipy.special import gammaln  # late: it takes as long to import as all of this package

    start = np.maximum(x, _SERIES_FROM)
    series = (
        (start - 0.5) * np.log1p(steps / start)
        + steps * (np.log(start + steps) - 1.0)
        + (_stirling_tail(start + steps) - _stirling_tail(start))
    )
    return np.where(x < _SERIES_FROM, gammaln(x + steps) - gammaln(x), series)


def log_likelihood(a: FloatArray, b: FloatArray, hits: FloatArray, misses: FloatArray) -> FloatArray:
    """ln E[α^A (1 − α)^F] under Beta(a, b), for a, b > 0: ln B(a + A, b + F) − ln B(a, b)."""
    return log_pochhammer(a, hits) + log_pochhammer(b, misses) - log_pochhammer(a + b, hits + misses)


def log_moment(a: FloatArray, b: FloatArray, moment: float) -> FloatArray:
    """ln E[α^m] under Beta(a, b), for a, b > 0."""
    if moment == 1.0:
        return np.log(a / (a + b))
    return log_pochhammer(a, moment) - log_pochhammer(a + b, moment)


def _log_sum_exp(terms: FloatArray) -> FloatArray:
    largest = terms.max(-1, keepdims=True)
    total: FloatArray = np.log(np.exp(terms - largest).sum(-1)) + largest[..., 0]
    return total


@dataclass(frozen=True, eq=False)
class LastReport(Estimator):
    """The reported r, taken for the present one (ours)."""

    part: ClassVar[Part] = "spectral_efficiency"

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        return observed.spectral_efficiency


@dataclass(frozen=True, eq=False)
class _ChannelEstimator(Estimator):
    """From a report d rounds old to r now, by way of the power gain (ours).

    A hidden H̄ is the running average of the user's reported gains, shrunk to the middle of the scenario's range:
    (s H̄_mid + Σ H) / (s + number of reports). Every call counts as a report.

    Parameters
    ----------
    mean_gain_strength
        s > 0: reports that the middle of the range is worth, default 100: those of a slow channel repeat themselves.
    """

    part: ClassVar[Part] = "spectral_efficiency"

    mean_gain_strength: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("mean_gain_strength", self.mean_gain_strength, 0.0, open_low=True)

    @override
    def initial_memory(self, n: int) -> dict[str, NDArray[Any]]:
        return {"gains": np.zeros((n, self.scenario.num_users)), "reports": np.zeros((n, 1))}

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        report = np.ascontiguousarray(observed.spectral_efficiency)
        gain = channel_gain(self.scenario, report)
        self.memory["gains"] = self.memory["gains"] + gain
        self.memory["reports"] = self.memory["reports"] + 1.0
        if self.assumptions.correlation**self.assumptions.delay == 1.0:
            return report
        mean_gain = self._average() if observed.mean_gain is None else np.ascontiguousarray(observed.mean_gain)
        return spectral_efficiency(self.scenario, self.predict(gain, mean_gain))

    @abstractmethod
    def predict(self, gain: FloatArray, mean_gain: FloatArray) -> FloatArray:
        """Gain now (n, K) from the reported one and its mean."""

    def _average(self) -> FloatArray:
        middle, strength = 0.5 * (self.scenario.mean_gain_low + self.scenario.mean_gain_high), self.mean_gain_strength
        return np.asarray((strength * middle + self.memory["gains"]) / (strength + self.memory["reports"]))


@dataclass(frozen=True, eq=False)
class Mmse(_ChannelEstimator):
    """r of the expected gain H̄ + ρ^{2d} (H − H̄): the least mean square error of the gain, not of r (ours)."""

    @override
    def predict(self, gain: FloatArray, mean_gain: FloatArray) -> FloatArray:
        return predictive_mean(gain, mean_gain, self.assumptions.correlation, self.assumptions.delay)


@dataclass(frozen=True, eq=False)
class Quantile(_ChannelEstimator):
    """r that the channel stays below with a given probability, by the law of the gain given the report (ours).

    Parameters
    ----------
    quantile
        Probability q in (0, 1). A low one plans for a bad channel: the round waits for the last device, so what
        matters is the worst of K. ``None`` is 1 / (K + 1), where the worst of K is in the mean.
    """

    quantile: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantile is not None:
            check_real("quantile", self.quantile, 0.0, 1.0, open_low=True, open_high=True)

    @override
    def predict(self, gain: FloatArray, mean_gain: FloatArray) -> FloatArray:
        correlation, delay = self.assumptions.correlation, self.assumptions.delay
        probability = 1.0 / (self.scenario.num_users + 1.0) if self.quantile is None else self.quantile
        return predictive_quantile(probability, gain, mean_gain, correlation, delay)


@dataclass(frozen=True, eq=False)
class Gradient(Estimator):
    """ω_k = 1 / throughput_k, the gradient of Σ_k log(throughput_k) (ours).

    Parameters
    ----------
    floor
        Throughput in tokens/s > 0 that a user without any counts as having; default 1e-3.
    """

    part: ClassVar[Part] = "weights"

    floor: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("floor", self.floor, 1e-100)

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        return 1.0 / np.maximum(_visible("gradient", observed, "throughput"), self.floor)


@dataclass(frozen=True, eq=False)
class RoundRobin(Estimator):
    """ω is 1 for the user whose turn it is and 0 for the others, from user 0 on (ours; a reference for fairness).

    The others draft the least that the scenario allows.
    """

    part: ClassVar[Part] = "weights"

    @override
    def initial_memory(self, n: int) -> dict[str, NDArray[Any]]:
        return {"turn": np.zeros((n, 1), dtype=np.int64)}

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        users, turn = self.scenario.num_users, self.memory["turn"]
        self.memory["turn"] = (turn + 1) % users
        return (np.arange(users) == turn).astype(np.float64)
