"""Worker processes of the page: a limited number, each of which can be killed."""

import asyncio
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from multispin_env.apps.executors import end_with_parent
from multispin_env.apps.explore.page import VIEWS
from multispin_env.apps.explore.settings import ScenarioSources

MAX_PARALLEL = 2  # computations
MAX_QUEUED = 16  # requests that wait for a worker; more are refused
ANSWER_TIMEOUT = 20.0  # seconds, with the time in the queue


class AnswerError(Exception):
    """Error of a request that has no answer."""


class BusyError(AnswerError):
    """Error of a request while the queue is full."""


class Workers:
    """Pool of processes that are reused, with what they have loaded and cached."""

    def __init__(self) -> None:
        self._idle = [_Worker()]  # starts in parallel with the rest of the page
        self._semaphore = asyncio.Semaphore(MAX_PARALLEL)
        self._requests = 0

    async def answer(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of a module in a process, which is killed if the calling task is cancelled.

        Raises `BusyError` if the queue is full, and `AnswerError` after the timeout or if the process ends.
        """
        if self._requests == MAX_PARALLEL + MAX_QUEUED:
            raise BusyError(f"page: expected at most {self._requests} requests at once, got more; try again in 5 s")
        self._requests += 1
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT), self._semaphore:
                return await self._run(function, arguments)
        except TimeoutError:
            raise AnswerError(
                f"page: expected an answer within {ANSWER_TIMEOUT:g} s, got none (slow settings, a busy page or the "
                "first use of a rule); try again, fewer devices, seconds or episodes, or another rule"
            ) from None
        finally:
            self._requests -= 1

    async def _run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        worker = self._idle.pop() if self._idle else _Worker()  # the last used, whose caches suit a single user
        try:
            result = await asyncio.to_thread(worker.run, function, arguments)
        except BaseException:
            worker.process.kill()
            raise
        self._idle.append(worker)
        return result


class _Worker:
    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # fork is unsafe in a process with threads
        self.connection, child = context.Pipe()
        self.process = context.Process(target=_work, args=(child,), daemon=True)
        self.process.start()
        child.close()

    def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        try:
            self.connection.send((function, arguments))
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.connection.close()
            raise AnswerError(
                "page: expected an answer, got none: the worker process ended, perhaps for lack of memory"
            ) from None


def compile_rules() -> None:
    """Compute the initial views: the first use of a rule compiles it, once for all processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    for name in VIEWS.names():
        VIEWS.load(name)().compute(ScenarioSources())


def _work(connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent ends this one
    end_with_parent()
    for name in VIEWS.names():
        VIEWS.load(name)  # before the first request
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        connection.send(function(*arguments))
