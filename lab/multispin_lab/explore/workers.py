"""Worker processes of the page: a limited number, each of which can be killed."""

import asyncio
from collections.abc import Callable
from typing import Any

from multispin_env.apps.executors import TaskResult, Worker
from multispin_lab.explore.page import VIEWS
from multispin_lab.explore.settings import ScenarioSources

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
        self._idle = [_new_worker()]  # starts in parallel with the rest of the page
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
        worker = self._idle.pop() if self._idle else _new_worker()  # the last used, whose caches suit a single user
        try:
            result = await asyncio.to_thread(_ask, worker, function, arguments)
        except (EOFError, OSError):
            worker.end()
            raise AnswerError(
                "page: expected an answer, got none: the worker process ended, perhaps for lack of memory"
            ) from None
        except BaseException:
            worker.process.kill()  # which ends the thread that waits, too
            raise
        self._idle.append(worker)
        if result.error:
            raise AnswerError(f"page: expected an answer, got none: {result.failure}")
        return result.value


def _new_worker() -> Worker:
    return Worker(_load_views, daemon=True)


def _load_views() -> None:
    for name in VIEWS.names():
        VIEWS.load(name)  # before the first request


def _ask(worker: Worker, function: Callable[..., Any], arguments: tuple[Any, ...]) -> TaskResult:
    worker.send(function, *arguments)
    return worker.receive()


def compile_rules() -> None:
    """Compute the initial views: the first use of a rule compiles it, once for all processes."""
    for name in VIEWS.names():
        VIEWS.load(name)().compute(ScenarioSources())
