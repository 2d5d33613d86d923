"""Several processes of this machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from multispin_env.checks import check_integer
from multispin_env.executors.base import Outcome, Stopped
from multispin_env.executors.serial import attempt

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
        with _single_threads(), _signals_stop():
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


@contextmanager
def _signals_stop() -> Iterator[None]:
    """SIGINT and SIGTERM raise `Stopped`, where signals can be had: in the main thread."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
