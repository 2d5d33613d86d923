"""Stretches of time: what each device and the server do, and from when to when."""

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from multispin_env.envs.continuous.rendering.traces import Trace


class Doing(IntEnum):
    """What fills a piece of a row."""

    DRAFTING = 0
    UPLOADING = 1
    WAITING = 2  # its draft waits at the server
    VERIFYING = 3


class Stretch(NamedTuple):
    """A piece of a row."""

    doing: Doing
    begin: float  # s
    end: float  # s
    drafts: int = 0  # of the server's pass


def of_device(trace: Trace, user: int, start: float, clock: float) -> Iterator[Stretch]:
    """What a device does between two times, in order; nothing where it has no request."""
    for begin, outcome in trace.seen(start, clock):
        end = float(outcome.duration)
        idle = float(outcome.served.idle_time[user])
        ready = float(outcome.start_delay) if outcome.verified[user] else end
        drafted, uploaded = float(outcome.drafted_at[user]), float(outcome.uploaded_at[user])
        marks = [min(idle, end), min(max(drafted, idle), end), min(max(uploaded, idle), end), ready, end]
        for doing, left, right in zip(Doing, marks[:-1], marks[1:], strict=True):
            seen = max(begin + left, start), min(begin + right, clock)
            if right > left and seen[1] > seen[0]:
                yield Stretch(doing, *seen)


def of_server(trace: Trace, start: float, clock: float) -> Iterator[Stretch]:
    """Passes of the server, as wholes, of the steps between two times."""
    for begin, outcome in trace.seen(start, clock):
        bounds = begin + float(outcome.start_delay), begin + float(outcome.duration)
        yield Stretch(Doing.VERIFYING, *bounds, int(outcome.batch_size))
