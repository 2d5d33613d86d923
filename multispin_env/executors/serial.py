"""Execution of one task after the other, in this process."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from multispin_env.executors.base import TaskResult


@dataclass(frozen=True)
class Serial:
    """Does tasks in their order.

    Examples
    --------
    >>> from multispin_env.executors.serial import Serial
    >>> [result.value for result in Serial().results(abs, [-1, 2])]
    [1, 2]
    """

    width: int = 1

    def results(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[TaskResult]:
        """See `Executor.results`."""
        for index, task in enumerate(tasks):
            yield attempt(work, index, task)


def attempt(work: Callable[[Any], Any], index: int, task: Any) -> TaskResult:
    """Do a task, and catch its errors."""
    try:
        return TaskResult(index, work(task))
    except Exception:  # of one task: the others go on
        return TaskResult(index, error=traceback.format_exc())
