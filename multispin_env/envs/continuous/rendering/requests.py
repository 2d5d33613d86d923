"""Requests in the rows of devices: when they arrive, how many wait, and what becomes of them."""

from typing import NamedTuple

from multispin_env.envs.continuous.rendering.traces import Trace
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Canvas
from multispin_env.envs.rendering.layout import Area

IN_TIME, LATE, DROPPED, ARRIVED = "in time", "late", "dropped", "arrived"
"""What happens to a request."""


class Mark(NamedTuple):
    """What happens to a request, when, and at which device."""

    time: float  # s
    user: int
    kind: str


def marks_of(trace: Trace, start: float, clock: float) -> list[Mark]:
    """All that happens between two times.

    When a request arrives at an idle device is known exactly; others are drawn when the verification ends.
    """
    found: list[Mark] = []
    for begin, outcome in trace.seen(start, clock):
        served, end = outcome.served, begin + float(outcome.duration)
        for user in range(trace.scenario.num_users):
            idle = float(served.idle_time[user])
            first = 0.0 < idle < float(outcome.duration)
            found += [Mark(begin, user, DROPPED)] * bool(served.dropped[user])
            found += [Mark(begin + idle, user, ARRIVED)] * first
            found += [Mark(end, user, ARRIVED)] * (int(served.arrivals[user]) - first > 0)
            if served.finished[user]:
                found.append(Mark(end, user, IN_TIME if served.in_time[user] else LATE))
    return [mark for mark in found if start <= mark.time <= clock]


def draw_requests(
    canvas: Canvas, times: Area, trace: Trace, start: float, clock: float, window: float, row: float
) -> None:
    """Draw bars of those that wait, and marks; times are from ``start`` on, and ``window`` seconds wide."""
    scale = times.width / window
    for begin, outcome, queue in trace.queues(start, clock):
        left, right = max(begin, start), min(begin + float(outcome.duration), clock)
        x, width = times.x + (left - start) * scale, (right - left) * scale
        for user, waiting in enumerate(queue.tolist()):
            height = max(1.0, 0.1 * row * min(waiting, 4))
            if waiting and width > 0.0:
                canvas.rectangle(x, times.y + (user + 1) * row - 1.0 - height, width, height, style.INK)
    for mark in marks_of(trace, start, clock):
        draw_mark(canvas, mark.kind, times.x + (mark.time - start) * scale, times.y + (mark.user + 0.5) * row, row)


def draw_mark(canvas: Canvas, kind: str, x: float, y: float, row: float) -> None:
    """Draw a mark around a place: a tick on a disc, a cross on one, a crossed box, or a short line above it."""
    size = max(3.0, min(5.0, 0.5 * row - 2.0))
    if kind == ARRIVED:
        canvas.line([(x, y - 0.5 * row + 1.0), (x, y)], style.INK, 2)
        return
    colour = style.INK if kind == IN_TIME else style.REFUSED
    if kind == DROPPED:
        canvas.rectangle(x - size, y - size, 2.0 * size, 2.0 * size, style.PAPER)
        canvas.outline(x - size, y - size, 2.0 * size, 2.0 * size, colour)
    else:
        canvas.disc(x, y, round(size), colour)
    part = 0.5 * size
    stroke = colour if kind == DROPPED else style.PAPER
    if kind == IN_TIME:
        canvas.line([(x - part, y), (x - 0.25 * part, y + 0.8 * part), (x + part, y - part)], stroke, 2)
    else:
        for sign in (1.0, -1.0):
            canvas.line([(x - part, y - sign * part), (x + part, y + sign * part)], stroke, 2)
