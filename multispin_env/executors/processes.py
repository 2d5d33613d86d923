"""Several processes of this machine."""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from multispin_env.checks import check_integer
from multispin_env.executors.base import Stopped, TaskResult
from multispin_env.executors.serial import attempt
from multispin_env.executors.signals import on_signals, stop

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What numerical libraries read when they are loaded: one thread for each process, or they wait for each other."""

Work = Callable[[Any], Any]


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

    def results(self, work: Work, tasks: Sequence[Any]) -> Iterator[TaskResult]:
        """See `Executor.results`. If a process is killed, tasks that were not done are failures."""
        undone = set(range(len(tasks)))
        with on_signals(stop):
            # the pipe of a process that was killed is at its end
            with _workers(min(self.width, len(tasks)), work) as pipes, suppress(EOFError, OSError):
                ready, left = pipes, enumerate(tasks)
                while undone:
                    for pipe, task in zip(ready, left, strict=False):
                        pipe.send(task)
                    come = wait(pipes)
                    ready = [pipe for pipe in pipes if pipe in come]
                    for pipe in ready:
                        answer: TaskResult | Stopped = pipe.recv()
                        if isinstance(answer, Stopped):
                            raise answer
                        undone.remove(answer.index)
                        yield answer
            for index in sorted(undone):
                yield TaskResult(index, error="a worker was killed, perhaps for lack of memory\n")


@contextmanager
def _workers(count: int, work: Work) -> Iterator[list[Connection]]:
    """Pipes to fresh processes, which end with the block whatever they do; so do their temporary files."""
    context = multiprocessing.get_context("spawn")  # a fork would copy threads that are not there
    children, pipes = [], []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            with _starting():
                for _ in range(count):
                    own, other = context.Pipe()
                    child = context.Process(target=_serve, args=(other, work, folder))
                    child.start()
                    other.close()  # so that the process alone has this end
                    children.append(child)
                    pipes.append(own)
            yield pipes
        finally:
            for child in children:
                child.kill()
            for child, pipe in zip(children, pipes, strict=False):
                child.join()
                pipe.close()


def _serve(pipe: Connection, work: Work, folder: str) -> None:
    """Do what comes through the pipe, until the parent has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Windows can't block it
    end_with_parent()
    tempfile.tempdir = folder
    with suppress(EOFError, OSError):
        while True:
            index, task = pipe.recv()
            try:
                answer: TaskResult | Stopped = attempt(work, index, task)
            except Stopped as stopped:
                answer = stopped
            sys.stdout.flush()
            try:
                pipe.send(answer)
            except Exception:  # what it returned can't be pickled
                pipe.send(TaskResult(index, error=traceback.format_exc()))


def end_with_parent() -> None:
    """End this process as soon as its parent does, also amid a computation and where the parent was killed."""
    threading.Thread(target=_end_behind_parent, daemon=True).start()


def _end_behind_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)


@contextmanager
def _starting() -> Iterator[None]:
    """Processes that start meanwhile use one thread, unless the environment says otherwise, and get no Ctrl-C.

    A terminal sends it to all processes; the parent ends the others.
    """
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    resource_tracker.ensure_running()  # which would unblock the signal
    if sys.platform != "win32":
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name in added:
            os.environ.pop(name, None)
