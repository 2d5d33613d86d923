"""Handling of Ctrl-C and SIGTERM for a while."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from multispin_env.executors.base import Stopped


@contextmanager
def on_signals(stop: Callable[[int], None]) -> Iterator[None]:
    """Call ``stop`` with the number of SIGINT or SIGTERM, until the end of the block.

    Only the main thread of the main process does: elsewhere nothing changes, and whoever started a thread or a worker
    process stops it.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        stop(number)

    main = threading.current_thread() is threading.main_thread() and multiprocessing.parent_process() is None
    numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop(number: int) -> NoReturn:
    """Raise `Stopped`: for `on_signals`."""
    raise Stopped(number)
