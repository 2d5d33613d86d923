"""Acceptance processes: acceptance rates of requests, and the ends of requests."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from numbers import Real
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray, put
from multispin_env.checks import check_fields, check_real, checked_field, shown
from multispin_env.draft import TokenLaw, expected_tokens
from multispin_env.physics.tokens import LengthLaw, tokens_from_exponential
from multispin_env.scenario import Scenario

_END, _TASK = 0, 1  # Columns of the uniform variables that `renew_requests` reads


class Requests(NamedTuple):
    """Current request of each device, arrays (..., K)."""

    task: IntArray  # index into scenario.tasks
    rate: FloatArray  # α_k, i.i.d. acceptance rate of the request
    age: IntArray  # rounds since the request started
    position: IntArray  # in a record; 0 without a record


class Prior(NamedTuple):
    """Distribution of the rate of a request, for each task, arrays (num_tasks,)."""

    mean: FloatArray
    spread: FloatArray  # standard deviation


def check_mean_rounds(field: str, value: float) -> None:
    """Raise ``ValueError`` unless a mean lifetime in rounds is a number ≥ 1 or infinite."""
    if isinstance(value, bool) or not isinstance(value, Real) or not value >= 1.0:
        raise ValueError(f"{field}: expected a number ≥ 1 or infinity, got {shown(value)}")


def task_means(scenario: Scenario) -> FloatArray:
    """Return the mean acceptance rate of each task with the scenario's payload, (num_tasks,) ([MS] Table I)."""
    return scenario.received_acceptance([task.acceptance_rate for task in scenario.tasks])


def uniform_index(uniform: FloatArray, count: IntArray | int) -> IntArray:
    """Map uniform variables in [0, 1) to indices in 0..count − 1, all equally likely."""
    return (uniform * count).astype(np.int64)


def renew_requests(
    requests: Requests, num_tasks: int, mean_rounds: float, fresh: FloatArray
) -> tuple[IntArray, IntArray, FloatArray, Requests]:
    """End requests (..., K) at random after a round, and draw the tasks of those that replace them.

    A request ends with probability 1 / ``mean_rounds`` at any age, so that its lifetime is geometric and at least 1.
    All tasks are equally likely. ``fresh`` holds uniform variables (..., columns ≥ 2, K); columns `_END` and `_TASK`
    are read. Returns flat indices of the m new requests, their tasks (m,) and uniform variables (columns, m), and all
    requests with new tasks and ages; rates and positions are kept.
    """
    columns, users = fresh.shape[-2:]
    new = np.flatnonzero(fresh[..., _END, :] < 1.0 / mean_rounds)
    first = new + new // users * ((columns - 1) * users)
    drawn = fresh.reshape(-1).take(first + users * np.arange(columns)[:, None])
    new_task, task, age = uniform_index(drawn[_TASK], num_tasks), requests.task.copy(), requests.age + 1
    put(task, new, new_task)
    put(age, new, 0)
    return new, new_task, drawn, requests._replace(task=task, age=age)


class Acceptance(Protocol):
    """Interface of acceptance processes: requests of the devices, their changes, and tokens of drafts, (..., K).

    Random numbers are passed as ``fresh``, uniform variables (..., columns, K) in [0, 1), new for every call.
    """

    @property
    def columns(self) -> int:
        """Number of uniform variables per user and round, ≥ 0."""

    @property
    def changes(self) -> bool:
        """Whether requests can change after a round; if not, `next` is not called."""

    def first(self, scenario: Scenario, task: IntArray, fresh: FloatArray) -> Requests:
        """Return the first requests of devices with these tasks (..., K)."""

    def next(self, scenario: Scenario, requests: Requests, tokens: FloatArray, fresh: FloatArray) -> Requests:
        """Return the requests after a round with ``tokens``, whole numbers (..., K) in 1..L + 1."""

    def expectation(self, scenario: Scenario, requests: Requests) -> Callable[[IntArray], FloatArray]:
        """Return a function from draft lengths L (..., K) ≤ L_max to E[N] (..., K), which is called for each decision.

        By default tokens are accepted independently at the rates of the requests ([MS] 10–12), as in `sampled_tokens`.
        """
        return TokenLaw.of(requests.rate).expected

    def by_length(self, scenario: Scenario, requests: Requests, law: LengthLaw) -> Callable[[IntArray], FloatArray]:
        """Return a function from draft lengths L (..., K) ≤ L_max to ``law(L, α)`` at the rates α of the requests."""
        return partial(_at_rates, law, requests.rate)

    def sampled_tokens(self, requests: Requests, draft_length: IntArray, exponential: FloatArray) -> FloatArray:
        """Return tokens N (..., K), whole numbers in 1..L + 1, from standard exponential variables (..., K)."""
        return tokens_from_exponential(draft_length, requests.rate, exponential)

    def prior(self, scenario: Scenario) -> Prior:
        """Return the distribution of rates for each task, as past data would show it."""


@dataclass(frozen=True)
class ByTask(Acceptance):
    """Acceptance rate α_k equal to the mean of the task, as in the paper ([MS] Table I); requests never end."""

    columns: ClassVar[int] = 0
    changes: ClassVar[bool] = False

    @override
    def first(self, scenario: Scenario, task: IntArray, fresh: FloatArray) -> Requests:
        zeros = np.zeros(task.shape, dtype=np.int64)
        return Requests(task, task_means(scenario)[task], zeros, zeros)

    @override
    def next(self, scenario: Scenario, requests: Requests, tokens: FloatArray, fresh: FloatArray) -> Requests:
        return requests  # requests never end, so their age is not counted

    @override
    def expectation(self, scenario: Scenario, requests: Requests) -> Callable[[IntArray], FloatArray]:
        return self.by_length(scenario, requests, expected_tokens)

    @override
    def by_length(self, scenario: Scenario, requests: Requests, law: LengthLaw) -> Callable[[IntArray], FloatArray]:
        means, table = _table(law, tuple(task_means(scenario).tolist()), scenario.max_draft_length)
        if np.count_nonzero(means.take(requests.task) != requests.rate):  # rates set by a caller
            return super().by_length(scenario, requests, law)
        return partial(_read, table, requests.task * (scenario.max_draft_length + 1))

    @override
    def prior(self, scenario: Scenario) -> Prior:
        mean = task_means(scenario)
        return Prior(mean=mean, spread=np.zeros_like(mean))


def _at_rates(law: LengthLaw, rate: FloatArray, draft_length: IntArray) -> FloatArray:
    return law(draft_length, rate)


def _read(table: FloatArray, row: IntArray, draft_length: IntArray) -> FloatArray:
    return table.take(row + draft_length)


@lru_cache(maxsize=32)
def _table(law: LengthLaw, rates: tuple[float, ...], longest: int) -> tuple[FloatArray, FloatArray]:
    """Return rates (m,) and the flat table of a law, (m (longest + 1),); callers must not write to either."""
    means = np.array(rates)
    return means, law(np.arange(longest + 1), means[:, None]).ravel()


BY_TASK = ByTask()


_QUANTILE = 2  # Column of the uniform variable from which the rate of a new request is drawn


def beta_quantile(mean: FloatArray, spread: FloatArray, uniform: FloatArray) -> FloatArray:
    """Return quantiles at level ``uniform`` of Beta laws with these means and standard deviations; shapes are equal.

    With mean m and standard deviation s, the parameters of the law are m c and (1 − m) c, c = m (1 − m) / s² − 1 > 0;
    s = 0 gives m. Where the density diverges at 0 or 1, a quantile may be exactly 0 or 1.
    """
    from scipy import special  # imported late: it takes as long to import as this package

    random = spread >= 1e-6  # the inverse of a narrower Beta law loses all digits
    middle, width = np.where(random, mean, 0.5), np.where(random, spread, 0.1)
    shape = middle * (1.0 - middle) / width**2 - 1.0
    return np.where(random, special.betaincinv(middle * shape, (1.0 - middle) * shape, uniform), mean)


@dataclass(frozen=True)
class ByRequest(Acceptance):
    """Acceptance rate drawn for each request from a Beta law with the mean of its task.

    ``ValueError`` for a value out of range; a spread that no Beta law with the mean of a task has is reported when the
    scenario is first used.

    Parameters
    ----------
    spread
        Standard deviation of the rate among requests of a task, ≥ 0: one number for all tasks, a tuple with one number
        for each task, or ``None`` for the standard deviations of the scenario's tasks. In the paper's pairs those are
        of tokens: requests then differ far more than recorded ones, which have 0 to 0.07. Default 0.08.
    mean_rounds
        Mean number of rounds of a request, ≥ 1; if infinite, requests never end. Default 16.
    mean
        Mean rate for each task with all probabilities, in [0, 1]; ``None`` for the means of the scenario's tasks.
    """

    spread: float | tuple[float, ...] | None = 0.08
    mean_rounds: float = checked_field(16.0, check_mean_rounds)
    mean: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        for index, value in enumerate(self.mean or ()):
            check_real(f"mean[{index}]", value, 0.0, 1.0)
        if isinstance(self.spread, (tuple, list)):
            object.__setattr__(self, "spread", tuple(self.spread))  # lists cannot be hashed
            for index, value in enumerate(self.spread):
                check_real(f"spread[{index}]", value, 0.0)
        elif self.spread is not None:
            check_real("spread", self.spread, 0.0)

    columns: ClassVar[int] = 3  # end, task and quantile of the rate

    @property
    @override
    def changes(self) -> bool:
        return self.mean_rounds < np.inf

    @override
    def first(self, scenario: Scenario, task: IntArray, fresh: FloatArray) -> Requests:
        mean, spread = self.prior(scenario)
        rate = beta_quantile(mean[task], spread[task], fresh[..., _QUANTILE, :])
        zeros = np.zeros(task.shape, dtype=np.int64)
        return Requests(task, rate, zeros, zeros)

    @override
    def next(self, scenario: Scenario, requests: Requests, tokens: FloatArray, fresh: FloatArray) -> Requests:
        new, task, drawn, requests = renew_requests(requests, len(scenario.tasks), self.mean_rounds, fresh)
        mean, spread = self.prior(scenario)
        rate = requests.rate.copy()
        put(rate, new, beta_quantile(mean[task], spread[task], drawn[_QUANTILE]))
        return requests._replace(rate=rate)

    @override
    def prior(self, scenario: Scenario) -> Prior:
        """Return the mean and standard deviation for each task; ``ValueError`` if no Beta law has them."""
        mean = task_means(scenario)
        if self.mean is not None:
            mean = scenario.received_acceptance(self._by_task("mean", self.mean, scenario))
        if self.spread is None:
            spread = np.array([task.acceptance_std for task in scenario.tasks])
        elif isinstance(self.spread, tuple):
            spread = self._by_task("spread", self.spread, scenario)
        else:
            spread = np.full(len(scenario.tasks), float(self.spread))
        for task, middle, value in zip(scenario.tasks, mean.tolist(), spread.tolist(), strict=True):
            limit = np.sqrt(middle * (1.0 - middle))
            if value != 0.0 and not value < limit:
                field = "acceptance_std" if self.spread is None else "spread"
                raise ValueError(
                    f"{field} of task {task.name!r}: expected 0 or a number below {limit:.6g}, "
                    f"the largest for a Beta law with mean {middle!r}, got {value!r}"
                )
        return Prior(mean, spread)

    @staticmethod
    def _by_task(field: str, values: tuple[float, ...], scenario: Scenario) -> FloatArray:
        count = len(scenario.tasks)
        if len(values) != count:
            raise ValueError(f"{field}: expected one number for each task of the scenario ({count}), got {len(values)}")
        return np.array(values, dtype=np.float64)


BY_REQUEST = ByRequest()
