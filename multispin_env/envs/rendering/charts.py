"""The axis of time, bandwidth as heights of bars, and the running goodput."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from multispin_env.arrays import FloatArray
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Canvas, Colour
from multispin_env.envs.rendering.layout import HEADER, Area, Layout
from multispin_env.envs.rendering.views import View
from multispin_env.units import MHZ

DASH = 5.0
"""Pixels of a dash, and of the gap after it."""


def every_nth(space: float, needed: float) -> int:
    """Return n so that labels at every nth place do not touch."""
    return max(1, math.ceil(needed / space))


def draw_titles(canvas: Canvas, area: Area, layout: Layout, view: Any, news: str, rows: str, gained: str) -> None:
    """Draw the title of a view or trace, what is new in it, and the headings of its two upper parts."""
    scenario = view.scenario
    size = f"{scenario.label}, K = {scenario.num_users}, B = {scenario.total_bandwidth / MHZ:g} MHz"
    canvas.text(view.title or size, area.x, area.y + 10.0, style.TITLE, style.INK)
    canvas.text(news, area.right, area.y + 10.0, style.BODY, style.INK, "right")
    headings = area.y + HEADER - 11.0
    canvas.text(rows, area.x, headings, style.SMALL, style.GREY)
    canvas.text(gained, layout.tokens.x, headings, style.SMALL, style.GREY)


def draw_time_axis(canvas: Canvas, times: Area, scale: float) -> None:
    """Draw lines at nought, half and the whole of ``scale`` seconds, with their labels below."""
    for part, align in ((0.0, "left"), (0.5, "centre"), (1.0, "right")):
        x = times.x + part * times.width
        canvas.line([(x, times.y), (x, times.bottom)], style.FAINT)
        if scale > 0.0:
            label = f"{part * scale:.3g} s" if part else "0"
            canvas.text(label, x, times.bottom + 10.0, style.SMALL, style.GREY, align)


def draw_bandwidth(canvas: Canvas, area: Area, bandwidth: FloatArray, scale: float) -> None:
    """Draw one bar for each device, as high as its bandwidth in Hz; ``scale`` is the height of the area."""
    canvas.text("bandwidth (MHz)", area.x - 24.0, area.y - 22.0, style.SMALL, style.GREY)
    _draw_frame(canvas, area, f"{scale / MHZ:.3g}")
    column = area.width / len(bandwidth)
    gap = min(3.0, 0.15 * column)
    step = every_nth(column, 16.0)
    for user, height in enumerate((bandwidth / scale * area.height).tolist()):
        x = area.x + user * column
        canvas.rectangle(x + gap, area.bottom - height, column - 2 * gap, height, style.UPLOADING)
        if user % step == 0:
            canvas.text(str(user + 1), x + 0.5 * column, area.bottom + 9.0, style.SMALL, style.INK, "centre")


class Curve(NamedTuple):
    """A mean that changes as an episode goes on."""

    name: str
    points: Sequence[tuple[float, float]]  # parts of the axis, and tokens/s


def draw_goodput(canvas: Canvas, area: Area, view: View, rounds: int) -> None:
    """Draw the mean goodput over the rounds so far, and that of the reference, dashed."""
    scales = view.scales
    own, other = (
        [((index + 1) / scales.rounds, mean) for index, mean in enumerate(means[:rounds])]
        for means in (view.goodput, view.reference)
    )
    curves = Curve("mean goodput", own), Curve(view.reference_name, other)
    draw_curves(canvas, area, *curves, top=scales.goodput, end=f"{scales.rounds} rounds")


def draw_curves(canvas: Canvas, area: Area, own: Curve, other: Curve, top: float, end: str) -> None:
    """Draw one mean, and another dashed, which may have no points.

    The upper edge of the area is at ``top`` tokens/s, and ``end`` is written at the right end of the axis.
    """
    _draw_frame(canvas, area, f"{top:.3g}" if top else "")
    canvas.text("0", area.x, area.bottom + 9.0, style.SMALL, style.GREY)
    canvas.text(end, area.right, area.bottom + 9.0, style.SMALL, style.GREY, "right")
    _draw_heading(canvas, area, own, other)
    curve = _curve(area, own.points, top)
    canvas.line(curve, style.INK, 2)
    reference = _curve(area, other.points, top)
    for start, stop in _dashes(reference):
        canvas.line([start, stop], style.REFUSED, 2)
    for points, colour in ((curve, style.INK), (reference, style.REFUSED)):
        if points:
            canvas.disc(*points[-1], 3, colour)


def _draw_frame(canvas: Canvas, area: Area, top: str) -> None:
    canvas.line([(area.x, area.y), (area.right, area.y)], style.FAINT)
    canvas.line([(area.x, area.bottom), (area.right, area.bottom)], style.GREY)
    canvas.text(top, area.x - 4.0, area.y + 1.0, style.SMALL, style.GREY, "right")


def _draw_heading(canvas: Canvas, area: Area, own: Curve, other: Curve) -> None:
    x, y = area.x - 24.0, area.y - 22.0
    _draw_key(canvas, x, y - 7.0, f"{own.name} {_last(own)}", style.INK)
    if other.points:
        _draw_key(canvas, x, y + 7.0, f"{other.name} {_last(other)}", style.REFUSED, dashed=True)


def _draw_key(canvas: Canvas, x: float, y: float, text: str, colour: Colour, *, dashed: bool = False) -> None:
    for start, end in ((0.0, 7.0), (11.0, 18.0)) if dashed else ((0.0, 18.0),):
        canvas.line([(x + start, y), (x + end, y)], colour, 2)
    canvas.text(text, x + 24.0, y, style.SMALL, colour)


def _last(curve: Curve) -> str:
    return f"{curve.points[-1][1]:.1f} tokens/s" if curve.points else "(tokens/s)"


def _curve(area: Area, points: Sequence[tuple[float, float]], top: float) -> list[tuple[float, float]]:
    step = every_nth(200, len(points)) if points else 1  # longer curves are thinned out
    shown = sorted({*range(0, len(points), step), len(points) - 1}) if points else []
    return [
        (area.x + points[index][0] * area.width, area.bottom - min(points[index][1] / top, 1.0) * area.height)
        for index in shown
    ]


def _dashes(curve: Sequence[tuple[float, float]]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Cut a curve into dashes of equal width."""
    dashes = []
    for (x, y), (x_end, y_end) in pairwise(curve):
        slope = (y_end - y) / (x_end - x)
        at = x
        while at < x_end:
            phase = at % (2 * DASH)
            stop = min(x_end, at - phase + (DASH if phase < DASH else 2 * DASH))
            if phase < DASH:
                dashes.append(((at, y + slope * (at - x)), (stop, y + slope * (stop - x))))
            at = stop
    return dashes
