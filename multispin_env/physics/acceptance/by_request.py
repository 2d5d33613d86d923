"""Acceptance that differs between the requests of a task."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_real
from multispin_env.physics.acceptance.base import Acceptance
from multispin_env.physics.acceptance.requests import (
    Prior,
    Requests,
    check_mean_rounds,
    new_requests,
    renewed,
    task_means,
)
from multispin_env.scenario import Scenario

QUANTILE = 2  # Column of the uniform variable that gives a new request its rate


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

    Raises
    ------
    ValueError
        For a value out of range; a spread that no Beta law with the mean of a task has is found when a scenario is
        first used. It is not clipped.
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
        rate = beta_quantile(mean[task], spread[task], fresh[..., QUANTILE, :])
        return new_requests(task, rate, np.zeros(task.shape, dtype=np.int64))

    @override
    def next(
        self, scenario: Scenario, requests: Requests, tokens: FloatArray | IntArray, fresh: FloatArray
    ) -> Requests:
        new, requests = renewed(requests, len(scenario.tasks), self.mean_rounds, fresh)
        mean, spread = self.prior(scenario)
        task, rate = requests.task[new], requests.rate.copy()
        rate[new] = beta_quantile(mean[task], spread[task], fresh[..., QUANTILE, :][new])
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
