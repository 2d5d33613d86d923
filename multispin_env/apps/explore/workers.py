"""Processes that compute for the page: few at a time, and each can be ended."""

import asyncio
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from multispin_env.apps.executors import end_with_parent
from multispin_env.apps.explore.page import VIEWS

MAX_PARALLEL = 2  # computations at a time
MAX_QUEUED = 16  # questions that wait for their turn; more are refused
ANSWER_TIMEOUT = 20.0  # for an answer, with the wait for its turn


class AnswerError(Exception):
    """Why a question has no answer, in a sentence."""


class BusyError(AnswerError):
    """Too many questions wait already."""


class Workers:
    """Answers questions in processes that stay, so that what they have loaded and kept helps the next question."""

    def __init__(self) -> None:
        self._idle = [_Worker()]  # it starts while the rest of the page does
        self._turn = asyncio.Semaphore(MAX_PARALLEL)
        self._asked = 0

    async def answer(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function of a module in a process, which is killed if whoever waits for this is cancelled.

        `BusyError` where too many wait already, `AnswerError` without an answer in time or where the process ends.
        """
        if self._asked == MAX_PARALLEL + MAX_QUEUED:
            raise BusyError(
                f"page: expected at most {self._asked} questions at once, got more; ask again in some seconds"
            )
        self._asked += 1
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT), self._turn:
                return await self._ask(function, arguments)
        except TimeoutError:
            raise AnswerError(
                f"page: expected an answer within {ANSWER_TIMEOUT:g} s, got none (slow settings or a busy page); "
                "try fewer devices, seconds or episodes, or another rule"
            ) from None
        finally:
            self._asked -= 1

    async def _ask(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        worker = self._idle.pop() if self._idle else _Worker()  # the last one: it knows most of who asks alone
        try:
            found = await asyncio.to_thread(worker.ask, function, arguments)
        except BaseException:
            worker.process.kill()
            raise
        self._idle.append(worker)
        return found


class _Worker:
    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy threads that are not there
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        try:
            self.connection.send((function, arguments))
            return self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.connection.close()
            raise AnswerError(
                "page: expected an answer, got none: its process ended, perhaps for lack of memory"
            ) from None


def _work(questions: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent ends this one
    end_with_parent()
    for name in VIEWS.names():
        VIEWS.load(name)  # before the first question, not for it
    while True:
        try:
            function, arguments = questions.recv()
        except EOFError:
            return
        questions.send(function(*arguments))
