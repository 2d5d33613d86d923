"""Acceptance known from the task."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.acceptance.base import Acceptance
from multispin_env.physics.acceptance.requests import Prior, Requests, new_requests, task_means
from multispin_env.physics.tokens import expected_tokens
from multispin_env.scenario import Scenario


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
