"""Protocol of executors, and the result of a task."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Stopped(BaseException):
    """A signal asked for an end; what is done is kept."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True)
class TaskResult:
    """What came of a task."""

    index: int  # among the tasks given
    value: Any = None  # what it returned
    error: str = ""  # the traceback, or why it could not be done; empty if it did not fail


class Executor(Protocol):
    """Does tasks, in any order."""

    @property
    def width(self) -> int:
        """How many tasks run at a time, as far as it is known."""
        ...

    def results(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[TaskResult]:
        """Outcomes as they come, one for each task.

        Parameters
        ----------
        work
            A function of a module, which can be pickled. It touches nothing that others can see, and returns all that
            is to be kept.
        tasks
            What it is called with, one at a time; they can be pickled.

        Raises
        ------
        Stopped
            After a signal, and if a task raises it.
        """
        ...
