"""Laws of acceptance: where the acceptance rate of every device comes from, and how requests end."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from numbers import Real
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import as_float, check_real, shown
from multispin_env.physics.tokens import TokenLaw, expected_tokens, tokens_from_exponential
from multispin_env.scenario import Scenario

_END, TASK = 0, 1  # Columns of the uniform variables that `renew_requests` reads


class Requests(NamedTuple):
    """What the devices are busy with, arrays (..., K)."""

    task: IntArray  # index into scenario.tasks
    rate: FloatArray  # α_k, the i.i.d. acceptance rate of this request
    age: IntArray  # rounds since it started
    position: IntArray  # place in a record, 0 where there is none


class Prior(NamedTuple):
    """What past data tell about a request of each task, arrays (num_tasks,)."""

    mean: FloatArray  # of the rate
    spread: FloatArray  # its standard deviation


def check_mean_rounds(value: float, field: str = "mean_rounds") -> float:
    """Return a mean lifetime in rounds, or ``ValueError`` unless it is a number ≥ 1 or infinite."""
    if isinstance(value, Real) and not isinstance(value, bool) and value >= 1.0:
        return as_float(value)
    raise ValueError(f"{field}: expected a number ≥ 1 or infinity, got {shown(value)}")


def task_means(scenario: Scenario) -> FloatArray:
    """Mean acceptance rate of each task, (num_tasks,) ([MS] Table I)."""
    return np.array([task.acceptance_rate for task in scenario.tasks])


def new_requests(task: IntArray, rate: FloatArray, position: IntArray) -> Requests:
    """Requests of age 0, arrays (..., K)."""
    return Requests(task=task, rate=rate, age=np.zeros(task.shape, dtype=np.int64), position=position)


def uniform_index(uniform: FloatArray, count: IntArray | int) -> IntArray:
    """An index in 0..count − 1, each equally likely, from a uniform variable in [0, 1)."""
    return (uniform * count).astype(np.int64)


def renew_requests(
    requests: Requests, num_tasks: int, mean_rounds: float, fresh: FloatArray
) -> tuple[BoolArray, Requests]:
    """End some requests (..., K) behind a round, and name the task of those that follow (ours).

    A request ends with probability 1 / ``mean_rounds``, whatever its age, so it lasts a geometric number of rounds ≥ 1;
    the next one is of any task with equal probability. ``fresh`` are uniform variables (..., columns ≥ 2, K), of which
    `_END` and `TASK` are read. Returned are which requests are new, and all of them, with their old rate and place.
    """
    new: BoolArray = fresh[..., _END, :] < 1.0 / mean_rounds
    task = np.where(new, uniform_index(fresh[..., TASK, :], num_tasks), requests.task)
    age = np.where(new, 0, requests.age + 1)
    return new, requests._replace(task=task, age=age)


class Acceptance(Protocol):
    """What the devices ask for, how that changes, and what a draft gains them; users last, batches lead.

    Randomness comes in as ``fresh``, uniform variables (..., columns, K) in [0, 1), new for every call.
    """

    @property
    def columns(self) -> int:
        """Uniform variables that a user needs in a round, ≥ 0."""

    @property
    def changes(self) -> bool:
        """Whether requests ever change behind a round; if not, `next` is not called."""

    def first(self, scenario: Scenario, task: IntArray, fresh: FloatArray) -> Requests:
        """Requests of devices that were drawn with these tasks (..., K)."""

    def next(
        self, scenario: Scenario, requests: Requests, tokens: FloatArray | IntArray, fresh: FloatArray
    ) -> Requests:
        """Requests behind a round that gained ``tokens``, whole numbers (..., K) in 1..L + 1."""

    def expectation(self, scenario: Scenario, requests: Requests) -> Callable[[IntArray], FloatArray]:
        """E[N] (..., K) as a function of the drafts' L (..., K) up to L_max, given all that the process knows now.

        It is asked for once for the same requests, and called for every draft of theirs. By default tokens are accepted
        independently of each other, at the rates of the requests ([MS] 10–12); so they are drawn.
        """
        return TokenLaw.of(requests.rate).expected

    def sampled_tokens(self, requests: Requests, draft_length: IntArray, exponential: FloatArray) -> FloatArray:
        """N, whole numbers (..., K) in 1..L + 1, from standard exponential variables (..., K) where it is random."""
        return tokens_from_exponential(draft_length, requests.rate, exponential)

    def prior(self, scenario: Scenario) -> Prior:
        """What an engineer may know of the tasks from past data."""


@dataclass(frozen=True)
class ByTask(Acceptance):
    """α_k is the mean of the device's task, as the paper's control assumes ([MS] Table I); requests never end."""

    columns: ClassVar[int] = 0
    changes: ClassVar[bool] = False

    @override
    def first(self, scenario: Scenario, task: IntArray, fresh: FloatArray) -> Requests:
        return new_requests(task, task_means(scenario)[task], np.zeros(task.shape, dtype=np.int64))

    @override
    def next(
        self, scenario: Scenario, requests: Requests, tokens: FloatArray | IntArray, fresh: FloatArray
    ) -> Requests:
        return requests  # their age, which would never end, is not counted

    @override
    def expectation(self, scenario: Scenario, requests: Requests) -> Callable[[IntArray], FloatArray]:
        means, table = _table(tuple(task.acceptance_rate for task in scenario.tasks), scenario.max_draft_length)
        if np.count_nonzero(means.take(requests.task) != requests.rate):  # of a state that was put in
            return super().expectation(scenario, requests)
        return partial(_read, table, requests.task * (scenario.max_draft_length + 1))

    @override
    def prior(self, scenario: Scenario) -> Prior:
        mean = task_means(scenario)
        return Prior(mean=mean, spread=np.zeros_like(mean))


def _read(table: FloatArray, row: IntArray, draft_length: IntArray) -> FloatArray:
    return table.take(row + draft_length)


@lru_cache(maxsize=32)
def _table(rates: tuple[float, ...], longest: int) -> tuple[FloatArray, FloatArray]:
    """Rates (m,), and E[N | L] of each for L up to ``longest``, one rate behind the other; to be read only."""
    means = np.array(rates)
    return means, expected_tokens(np.arange(longest + 1), means[:, None]).ravel()


BY_TASK = ByTask()


_QUANTILE = 2  # Column of the uniform variable that gives a new request its rate


def beta_quantile(mean: FloatArray, spread: FloatArray, uniform: FloatArray) -> FloatArray:
    """Rate that a Beta law of this mean and standard deviation stays below with probability ``uniform``, of one shape.

    Its shapes are m c and (1 − m) c with c = m (1 − m) / s² − 1 > 0; s = 0 gives m. Where the law piles up at 0 or 1, a
    rate may be one of these numbers exactly.
    """
    from scipy import special  # late: it takes as long to import as all of this package

    random = spread >= 1e-6  # the inverse of a narrower Beta law is lost in rounding
    middle, width = np.where(random, mean, 0.5), np.where(random, spread, 0.1)
    shape = middle * (1.0 - middle) / width**2 - 1.0
    return np.where(random, special.betaincinv(middle * shape, (1.0 - middle) * shape, uniform), mean)


@dataclass(frozen=True)
class ByRequest(Acceptance):
    """Every request has a rate of its own, from a Beta law round the mean of its task (ours).

    ``ValueError`` for a value out of range; a spread that no Beta law with the mean of a task has is not clipped, and
    found when a scenario is first used.

    Parameters
    ----------
    spread
        Standard deviation of the rate over the requests of a task, ≥ 0: one number for all tasks, one for each, or
        ``None`` for the ± that the scenario's tasks state. That ± is mostly the spread between tokens, so it makes
        requests differ far more than recorded ones do. 0 is the mean itself; the default is 0.08.
    mean_rounds
        Rounds that a request lasts on average, ≥ 1; infinite means that requests never end; default 16.
    mean
        Mean rate of the requests of each task, in [0, 1]; ``None`` for those of the scenario's tasks.
    """

    spread: float | tuple[float, ...] | None = 0.08
    mean_rounds: float = 16.0
    mean: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_mean_rounds(self.mean_rounds)
        for index, value in enumerate(self.mean or ()):
            check_real(f"mean[{index}]", value, 0.0, 1.0)
        if isinstance(self.spread, (tuple, list)):
            object.__setattr__(self, "spread", tuple(self.spread))  # a list would not hash
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
        return new_requests(task, rate, np.zeros(task.shape, dtype=np.int64))

    @override
    def next(
        self, scenario: Scenario, requests: Requests, tokens: FloatArray | IntArray, fresh: FloatArray
    ) -> Requests:
        new, requests = renew_requests(requests, len(scenario.tasks), self.mean_rounds, fresh)
        mean, spread = self.prior(scenario)
        task, rate = requests.task[new], requests.rate.copy()
        rate[new] = beta_quantile(mean[task], spread[task], fresh[..., _QUANTILE, :][new])
        return requests._replace(rate=rate)

    @override
    def prior(self, scenario: Scenario) -> Prior:
        """Mean and standard deviation of the Beta law of each task; ``ValueError`` where there is no such law."""
        mean = task_means(scenario) if self.mean is None else self._by_task("mean", self.mean, scenario)
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
                    f"the most that a Beta law with mean {middle!r} can have, got {value!r}"
                )
        return Prior(mean, spread)

    @staticmethod
    def _by_task(field: str, values: tuple[float, ...], scenario: Scenario) -> FloatArray:
        count = len(scenario.tasks)
        if len(values) != count:
            raise ValueError(f"{field}: expected one number for each task of the scenario ({count}), got {len(values)}")
        return np.array(values, dtype=np.float64)


BY_REQUEST = ByRequest()
