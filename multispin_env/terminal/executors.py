"""Options that say who does a command's tasks."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TypeVar

from multispin_env.executors.base import Executor
from multispin_env.executors.cluster import Cluster
from multispin_env.executors.processes import Processes
from multispin_env.executors.serial import Serial

T = TypeVar("T")


def add_executor_options(parser: ArgumentParser, tasks: str, parts: bool = True) -> None:
    """``--workers --ray``, and ``--part`` where a call can do a part of the ``tasks``, as the help calls them."""
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--workers", type=int, metavar="N", help=f"{tasks} at a time, in processes of this machine")
    who.add_argument(
        "--ray", nargs="?", const="local", metavar="ADDRESS", help=f"{tasks} on a Ray cluster (default: this machine)"
    )
    if parts:
        parser.add_argument(
            "--part", metavar="I/N", help=f"every N-th of the {tasks}, from the I-th on: for the jobs of an array"
        )


def executor_of(options: Namespace, packages: tuple[str, ...] = ("multispin_env",)) -> Executor:
    """Who does the tasks; ``ValueError`` for fewer than one worker.

    ``packages`` are those of the tasks' code, for nodes that have it not installed.
    """
    if options.ray is not None:
        return Cluster(options.ray, packages)
    return Serial() if options.workers is None else Processes(options.workers)


def part_of(tasks: Sequence[T], part: str | None) -> list[T]:
    """The tasks of part ``I/N``, all without one; ``ValueError`` for another text.

    Examples
    --------
    >>> from multispin_env.terminal.executors import part_of
    >>> part_of("abcde", "2/3")
    ['b', 'e']
    """
    if part is None:
        return list(tasks)
    first, slash, count = part.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise ValueError(f"part: expected I/N with 1 ≤ I ≤ N, as 2/8, got {part!r}")
    return list(tasks[int(first) - 1 :: int(count)])
