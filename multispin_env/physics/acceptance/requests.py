"""Requests of the acceptance processes: how they end, and what is known of them in advance."""

from numbers import Real
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import as_float, shown
from multispin_env.scenario import Scenario

END, TASK = 0, 1  # Columns of the uniform variables that `renewed` reads


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


def renewed(requests: Requests, num_tasks: int, mean_rounds: float, fresh: FloatArray) -> tuple[BoolArray, Requests]:
    """End some requests (..., K) behind a round, and name the task of those that follow (ours).

    A request ends with probability 1 / ``mean_rounds``, whatever its age, so it lasts a geometric number of rounds ≥ 1;
    the next one is of any task with equal probability. ``fresh`` are uniform variables (..., columns ≥ 2, K), of which
    `END` and `TASK` are read. Returned are which requests are new, and all of them, with their old rate and place.
    """
    new: BoolArray = fresh[..., END, :] < 1.0 / mean_rounds
    task = np.where(new, uniform_index(fresh[..., TASK, :], num_tasks), requests.task)
    age = np.where(new, 0, requests.age + 1)
    return new, requests._replace(task=task, age=age)
