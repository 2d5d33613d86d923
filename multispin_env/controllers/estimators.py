"""Estimators of hidden acceptance rates, from accepted tokens, and channels, from old reports (not in the paper).

Moments of Beta distributions are computed as logarithms, which works for parameters of any size.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from typing_extensions import override

from multispin_env.arrays import Array, BoolArray, FloatArray, IntArray
from multispin_env.checks import check_fields, check_integer, check_real, checked_field
from multispin_env.controllers.base import Assumptions
from multispin_env.physics.posterior import Posterior, mixture_tokens, predictive_gains
from multispin_env.physics.radio import channel_gain, predictive_mean, predictive_quantile, spectral_efficiency
from multispin_env.physics.types import Observed
from multispin_env.scenario import Scenario

Part = Literal["acceptance_rate", "spectral_efficiency", "weights", "posterior"]
"""Estimated part: a field of the state, the weights ω of the users, or the distribution of all that is hidden."""


@dataclass(frozen=True, eq=False)
class Estimator(ABC):
    """Base class of estimators of one part from observations of n environments.

    A subclass adds its options as dataclass fields, sets `part` and implements `estimate`; `initial_memory` returns the
    arrays that it keeps between rounds. Estimators are deterministic and treat environments independently: a batch of n
    gives the same bits as n single environments.
    """

    part: ClassVar[Part]

    scenario: Scenario
    assumptions: Assumptions
    memory: dict[str, Array] = field(default_factory=dict, init=False, repr=False)  # arrays (n, ...)

    def __post_init__(self) -> None:
        check_fields(self)
        means, tasks = len(self.assumptions.acceptance_mean), len(self.scenario.tasks)
        if means != tasks:
            raise ValueError(f"acceptance_mean: expected one entry for each task ({tasks}), got {means}")

    def initial_memory(self, n: int) -> dict[str, Array]:
        """Return the memory (n, ...) before the first observation."""
        return {}

    def start(self, n: int) -> None:
        """Start with n new environments."""
        self.memory.clear()
        self.memory.update(self.initial_memory(n))

    def reset(self, mask: BoolArray) -> None:
        """Reset the memory of the environments in ``mask`` (n,)."""
        for name, initial in self.initial_memory(len(mask)).items():
            self.memory[name][mask] = initial[mask]

    @abstractmethod
    def estimate(self, observed: Observed) -> FloatArray | Posterior:
        """Process one round and return the estimate (n, K); call it exactly once per round, after `start`.

        For the part ``"posterior"`` it is a `Posterior`. ``ValueError`` if a required field is hidden.
        """


def _visible(estimator: str, observed: Observed, field_name: str) -> Array:
    array: Array | None = getattr(observed, field_name)
    if field_name == "drafted" and array is None and observed.acceptance_rate is not None:
        expected = f"hidden acceptance rates for {estimator!r}, got visible ones; leave out '+{estimator}'"
        raise ValueError(f"estimator: expected {expected}")
    if array is None:
        raise ValueError(f"{field_name}: expected an array (n, K) for the estimator {estimator!r}, got None")
    return np.ascontiguousarray(array)


def _task_means(assumptions: Assumptions) -> FloatArray:
    return np.clip(assumptions.acceptance_mean, 1e-6, 1.0 - 1e-6)


def _prior_mean(assumptions: Assumptions, observed: Observed) -> FloatArray:
    means = _task_means(assumptions)
    if observed.task is None:
        return np.full(observed.draft_time.shape, means.mean())
    return np.asarray(means[observed.task])


@dataclass(frozen=True, eq=False)
class TaskMean(Estimator):
    """Mean α of the user's task, as the paper's controllers use it ([MS] Table I), or of all tasks if it is hidden."""

    part: ClassVar[Part] = "acceptance_rate"

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        return _prior_mean(self.assumptions, observed)


def initial_counts(n: int, num_users: int) -> dict[str, Array]:
    """Return the counts (n, K) of new requests."""
    return {"hits": np.zeros((n, num_users)), "misses": np.zeros((n, num_users))}


def update_counts(
    estimator: str, memory: dict[str, Array], observed: Observed, decay: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """Add the last round to the counts in ``memory``, and return hits A and misses F, (n, K).

    If n of L drafted tokens are accepted, the likelihood is α^n (1 − α)^[n < L]: n hits, and a miss if n < L. Earlier
    counts are multiplied by ``decay``. A request of age 0 starts with zero counts; if ages are hidden, requests are
    assumed not to end.
    """
    drafted = _visible(estimator, observed, "drafted")
    accepted = _visible(estimator, observed, "accepted")
    same = np.ones(drafted.shape) if observed.age is None else np.where(observed.age > 0, 1.0, 0.0)
    memory["hits"] = same * (decay * memory["hits"] + accepted)
    memory["misses"] = same * (decay * memory["misses"] + (accepted < drafted))
    return memory["hits"], memory["misses"]


@dataclass(frozen=True, eq=False)
class _CountingEstimator(Estimator):
    part: ClassVar[Part] = "acceptance_rate"

    @override
    def initial_memory(self, n: int) -> dict[str, Array]:
        return initial_counts(n, self.scenario.num_users)


@dataclass(frozen=True, eq=False)
class Beta(_CountingEstimator):
    """Beta posterior of α for each user, from a prior with the mean of its task and discounted counts.

    Parameters
    ----------
    decay
        Factor in [0, 1] on the counts after each round; default 0.98.
    strength
        Weight of the prior in tokens, > 0; default 20.
    moment
        Order m > 0: the estimate is E[α^m]^{1/m}, the α with the same probability that m tokens in a row are accepted;
        m = 1 gives the mean; default 8.

    The defaults are close to the best values found by ``python -m benchmarks.tune estimators``.
    """

    decay: float = checked_field(0.98, check_real, 0.0, 1.0)
    strength: float = checked_field(20.0, check_real, 1e-3, 1e9)
    moment: float = checked_field(8.0, check_real, 1e-3, 1e3)

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        hits, misses = update_counts("beta", self.memory, observed, self.decay)
        mean = _prior_mean(self.assumptions, observed)
        a, b = self.strength * mean + hits, self.strength * (1.0 - mean) + misses
        return np.minimum(np.exp(log_moment(a, b, self.moment) / self.moment), 1.0)


@dataclass(frozen=True, eq=False)
class Filter(_CountingEstimator):
    """Exact posterior of α for a prior that is a mixture of Beta distributions.

    The prior has equally likely components, one for each task (or only for the visible task) and each multiple of its
    assumed spread. After A hits and F misses, a component Beta(a, b) becomes Beta(a + A, b + F), and its weight is
    multiplied by B(a + A, b + F) / B(a, b). So the memory is two counts for each user; at age 0 both are 0.

    Parameters
    ----------
    spreads
        Multiples > 0 of the assumed standard deviation; default (1.0,).
    moment
        Order m > 0: the estimate is E[α^m]^{1/m}, as for ``beta``; default 8.
    """

    spreads: tuple[float, ...] = (1.0,)
    moment: float = checked_field(8.0, check_real, 1e-3, 1e3)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "spreads", tuple(self.spreads))
        if not self.spreads:
            raise ValueError("spreads: expected at least one number > 0, got none")
        for index, spread in enumerate(self.spreads):
            check_real(f"spreads[{index}]", spread, 0.0, open_low=True)

    @cached_property
    def components(self) -> tuple[FloatArray, FloatArray]:
        """Parameters a and b of the Beta distributions of the prior, (tasks, spreads)."""
        mean = _task_means(self.assumptions)[:, None]
        deviation = np.array(self.assumptions.acceptance_spread)[:, None] * np.array(self.spreads)
        part = np.clip(deviation**2 / (mean * (1.0 - mean)), 1e-6, 0.9)  # variance relative to the largest possible
        concentration = 1.0 / part - 1.0
        return mean * concentration, (1.0 - mean) * concentration

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        return self.posterior_moment(*update_counts("filter", self.memory, observed), observed.task)

    def posterior_moment(
        self, hits: FloatArray | IntArray, misses: FloatArray | IntArray, task: IntArray | None
    ) -> FloatArray:
        """Return the estimate (..., K) from given counts, independent of the memory."""
        weight, a, b = self.posterior_components(hits, misses, task)
        mixed = _log_sum_exp(weight + log_moment(a, b, self.moment)) - _log_sum_exp(weight)
        return np.clip(np.exp(mixed / self.moment), 0.0, 1.0)

    def posterior_components(
        self, hits: FloatArray | IntArray, misses: FloatArray | IntArray, task: IntArray | None
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the components (..., K, C) from given counts: logarithms of weights, up to a constant, a and b."""
        accepted, refused = (np.asarray(count, dtype=np.float64)[..., None] for count in (hits, misses))
        a, b = (array.ravel() if task is None else array[task] for array in self.components)  # (C,), or (..., K, C)
        return log_likelihood(a, b, accepted, refused), a + accepted, b + refused


_SERIES_FROM = 30.0  # From here on, Stirling's series with three terms is exact to rounding


def _stirling_tail(x: FloatArray) -> FloatArray:
    """Return ln Γ(x) − ((x − ½) ln x − x + ½ ln 2π)."""
    square = (1.0 / x) ** 2
    return np.asarray((1.0 / x) * (1.0 / 12.0 - square * (1.0 / 360.0 - square / 1260.0)))


def log_pochhammer(x: FloatArray, steps: FloatArray | float) -> FloatArray:
    """Return ln Γ(x + m) − ln Γ(x) for x > 0 and m ≥ 0, broadcast together.

    For large x, the difference of two values of ln Γ loses all digits, but that of Stirling's series, taken term by
    term, does not.
    """
    from scipy.special import gammaln  # late: it takes as long to import as this whole package

    start = np.maximum(x, _SERIES_FROM)
    series = (
        (start - 0.5) * np.log1p(steps / start)
        + steps * (np.log(start + steps) - 1.0)
        + (_stirling_tail(start + steps) - _stirling_tail(start))
    )
    return np.where(x < _SERIES_FROM, gammaln(x + steps) - gammaln(x), series)


def log_likelihood(a: FloatArray, b: FloatArray, hits: FloatArray, misses: FloatArray) -> FloatArray:
    """Return ln E[α^A (1 − α)^F] under Beta(a, b), a, b > 0: ln B(a + A, b + F) − ln B(a, b)."""
    return log_pochhammer(a, hits) + log_pochhammer(b, misses) - log_pochhammer(a + b, hits + misses)


def log_moment(a: FloatArray, b: FloatArray, moment: float) -> FloatArray:
    """Return ln E[α^m] under Beta(a, b), a, b > 0."""
    if moment == 1.0:
        return np.log(a / (a + b))
    return log_pochhammer(a, moment) - log_pochhammer(a + b, moment)


def _log_sum_exp(terms: FloatArray) -> FloatArray:
    largest = terms.max(-1, keepdims=True)
    return np.asarray(np.log(np.exp(terms - largest).sum(-1)) + largest[..., 0])


@dataclass(frozen=True, eq=False)
class LastReport(Estimator):
    """Last reported spectral efficiency r, used as the current one."""

    part: ClassVar[Part] = "spectral_efficiency"

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        return observed.spectral_efficiency


@dataclass(frozen=True, eq=False)
class _ChannelEstimator(Estimator):
    """Base class of predictors of the current spectral efficiency r from the power gain d rounds ago.

    A hidden H̄ is estimated by the mean of the user's reported gains, shrunk towards the middle of the scenario's range:
    (s H̄_mid + Σ H) / (s + number of reports). Each call counts as a report.

    Parameters
    ----------
    mean_gain_strength
        Weight s > 0 of the middle of the range in reports; default 100, since reports of a slow channel are similar.
    """

    part: ClassVar[Part] = "spectral_efficiency"

    mean_gain_strength: float = checked_field(100.0, check_real, 0.0, open_low=True)

    @override
    def initial_memory(self, n: int) -> dict[str, Array]:
        return {"gains": np.zeros((n, self.scenario.num_users)), "reports": np.zeros((n, 1))}

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        gain, mean_gain = self.add_report(observed)
        if self.assumptions.correlation**self.assumptions.delay == 1.0:
            return np.ascontiguousarray(observed.spectral_efficiency)
        return spectral_efficiency(self.scenario, self.predict(gain, mean_gain))

    def add_report(self, observed: Observed) -> tuple[FloatArray, FloatArray]:
        """Add a report to the memory, and return its gains H and their means H̄, (n, K)."""
        gain = channel_gain(self.scenario, np.ascontiguousarray(observed.spectral_efficiency))
        self.memory["gains"] = self.memory["gains"] + gain
        self.memory["reports"] = self.memory["reports"] + 1.0
        if observed.mean_gain is not None:
            return gain, np.ascontiguousarray(observed.mean_gain)
        strength = self.mean_gain_strength
        total = strength * self.scenario.devices.middle_gain + self.memory["gains"]
        return gain, total / (strength + self.memory["reports"])

    @abstractmethod
    def predict(self, gain: FloatArray, mean_gain: FloatArray) -> FloatArray:
        """Return the current gain (n, K) from the reported gain and its mean."""


@dataclass(frozen=True, eq=False)
class Mmse(_ChannelEstimator):
    """Spectral efficiency at the expected gain H̄ + ρ^{2d} (H − H̄), the least mean square error estimate of the gain."""

    @override
    def predict(self, gain: FloatArray, mean_gain: FloatArray) -> FloatArray:
        return predictive_mean(gain, mean_gain, self.assumptions.correlation, self.assumptions.delay)


@dataclass(frozen=True, eq=False)
class Quantile(_ChannelEstimator):
    """Quantile of the spectral efficiency, from the distribution of the gain given the report.

    Parameters
    ----------
    quantile
        Probability q in (0, 1). A low q assumes a bad channel: a round waits for the last device, so the worst of K
        channels matters. ``None`` means 1 / (K + 1), the mean probability level of the worst of K channels.
    """

    quantile: float | None = checked_field(None, check_real, 0.0, 1.0, open_low=True, open_high=True)

    @override
    def predict(self, gain: FloatArray, mean_gain: FloatArray) -> FloatArray:
        correlation, delay = self.assumptions.correlation, self.assumptions.delay
        probability = 1.0 / (self.scenario.num_users + 1.0) if self.quantile is None else self.quantile
        return predictive_quantile(probability, gain, mean_gain, correlation, delay)


@dataclass(frozen=True, eq=False)
class Expected(Estimator):
    """Distribution of what is hidden, for the decision with the largest expected goodput of the next round.

    For hidden acceptance rates: E[N | L] of each length under the posterior of `Filter`. For old reports of channels:
    equally likely channels, given the report. Only ``"optimal"`` decides for a distribution.

    Parameters
    ----------
    draws
        Number of channels, a power of 2; default 1024. More change the goodput by less than 0.1 %.
    seed
        Seed of these channels.
    """

    part: ClassVar[Part] = "posterior"

    draws: int = checked_field(1024, check_integer, 1, 2**16)
    seed: int = checked_field(0, check_integer, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws & (self.draws - 1):
            raise ValueError(f"draws: expected a power of 2, got {self.draws}")

    @cached_property
    def _parts(self) -> tuple[Filter, Mmse]:
        return Filter(self.scenario, self.assumptions), Mmse(self.scenario, self.assumptions)

    @override
    def start(self, n: int) -> None:
        for part in self._parts:
            part.start(n)

    @override
    def reset(self, mask: BoolArray) -> None:
        for part in self._parts:
            part.reset(mask)

    @override
    def estimate(self, observed: Observed) -> Posterior:
        rates, channel = self._parts
        if observed.acceptance_rate is None:
            counts = update_counts("expected", rates.memory, observed)
            components = rates.posterior_components(*counts, observed.task)
            return Posterior(mixture_tokens(*components, self.scenario.max_draft_length))
        known = self.assumptions.correlation, self.assumptions.delay
        if known[0] ** known[1] == 1.0:
            expected = "hidden acceptance rates or an old channel report for 'expected', got a known state"
            raise ValueError(f"estimator: expected {expected}; leave out '+expected'")
        gains = predictive_gains(*channel.add_report(observed), *known, self.draws, self.seed)
        return Posterior(efficiency=spectral_efficiency(self.scenario, gains))


@dataclass(frozen=True, eq=False)
class Gradient(Estimator):
    """Weights ω_k = 1 / throughput_k, the gradient of Σ_k log(throughput_k).

    Parameters
    ----------
    floor
        Lower limit of the throughputs in tokens/s, > 0; default 1e-3.
    """

    part: ClassVar[Part] = "weights"

    floor: float = checked_field(1e-3, check_real, 1e-100)

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        return 1.0 / np.maximum(_visible("gradient", observed, "throughput"), self.floor)


@dataclass(frozen=True, eq=False)
class RoundRobin(Estimator):
    """Weight 1 for one user at a time, in turn from user 0, and 0 for the others (a fairness baseline).

    Users with weight 0 get the minimum draft length.
    """

    part: ClassVar[Part] = "weights"

    @override
    def initial_memory(self, n: int) -> dict[str, Array]:
        return {"turn": np.zeros((n, 1), dtype=np.int64)}

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        users, turn = self.scenario.num_users, self.memory["turn"]
        self.memory["turn"] = (turn + 1) % users
        return (np.arange(users) == turn).astype(np.float64)
