"""Several processes of this machine."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from multispin_env.checks import check_integer
from multispin_env.executors.base import Outcome, Stopped
from multispin_env.executors.serial import attempt
from multispin_env.executors.signals import on_signals

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What numerical libraries read when they are loaded: one thread for each process, or they wait for each other."""


@dataclass(frozen=True)
class Processes:
    """Does tasks in so many fresh processes, with one thread each.

    Parameters
    ----------
    width
        Processes ≥ 1.
    """

    width: int

    def __post_init__(self) -> None:
        check_integer("workers", self.width, 1)

    def outcomes(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[Outcome]:
        """See `Executor.outcomes`. If a process is killed, tasks that were not done are failures."""
        context = multiprocessing.get_context("spawn")  # a fork would copy threads that are not there
        with _single_threads(), on_signals(_stop):
            pool = ProcessPoolExecutor(self.width, context, _leave_to_parent)
            try:
                futures = {pool.submit(attempt, work, index, task): index for index, task in enumerate(tasks)}
                for future in as_completed(futures):
                    yield _outcome(future, futures[future])
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.terminate()
                raise
            pool.shutdown()


def _outcome(future: "Future[Outcome]", index: int) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        return Outcome(index, error="a worker was killed, perhaps for lack of memory\n")


def _leave_to_parent() -> None:
    """Ctrl-C reaches all processes of a terminal; the parent ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _single_threads() -> Iterator[None]:
    """Processes that start meanwhile use one thread, unless the environment says otherwise."""
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _stop(number: int) -> NoReturn:
    raise Stopped(number)
