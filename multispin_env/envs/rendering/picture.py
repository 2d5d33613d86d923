"""Picture of one or two traces: timelines with tokens, bars, curves of tokens/s, and a legend."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from multispin_env.arrays import FloatArray
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Area, Canvas, Colour
from multispin_env.envs.rendering.traces import (
    ARRIVED,
    DROPPED,
    IN_TIME,
    LATE,
    Axes,
    Trace,
    lanes,
    request_marks,
    round_up,
)
from multispin_env.physics.continuous.types import ContinuousOutcome
from multispin_env.units import MHZ

_MARGIN, _BETWEEN, _LEGEND = 10.0, 24.0, 18.0
"""Pixels at the sides of panels, between them, and of a line of the legend."""

_HEADER, _AXIS, _HEADING, _LABELS, _COUNTS = 44.0, 22.0, 36.0, 24.0, 28.0
"""Heights of the title, the time axis and the lower headings; widths of the numbers of devices and of tokens."""

_SERVER, _DASH = 1.4, 5.0
"""Height of the server's lane relative to a device's; length of a dash, and of the gap after it, in pixels."""


class Layout(NamedTuple):
    """Areas of a panel: timelines of devices and server, and tokens of the devices; below, bars and the curve."""

    panel: Area
    times: Area
    server: Area
    tokens: Area
    bars: Area
    curve: Area

    @classmethod
    def of(cls, area: Area, trace: Trace) -> "Layout":
        """Divide the area of a panel; without bars, the curve takes the whole width."""
        rows = 0.6 * (area.height - _HEADER - _AXIS - _HEADING)
        lane = max(13.0, _SERVER * rows / (trace.scenario.num_users + _SERVER))
        side = min(0.42 * area.width, 240.0)
        times = Area(area.x + _LABELS, area.y + _HEADER, area.width - side - _LABELS - 12.0, rows - lane)
        server = Area(times.x, times.bottom, times.width, lane)
        tokens = Area(times.right + 12.0, times.y, side, times.height)
        below = server.bottom + _AXIS + _HEADING
        height, middle = area.bottom - below - 16.0, area.x + 0.48 * area.width
        bars = Area(times.x, below, middle - times.x - 20.0, height)
        left = times.x if trace.bars(0.0) is None else middle + 16.0
        return cls(area, times, server, tokens, bars, Area(left, below, area.right - left, height))


class Picture:
    """Picture of one or two traces, 800 by 450 pixels with a panel for each above a legend."""

    def __init__(self) -> None:
        self.canvas = Canvas(800, 450)

    def draw(self, traces: Sequence[Trace], clocks: Sequence[float]) -> Canvas:
        """Draw traces, each at its time in seconds; the dashed curve is that of the other trace or of the optimum."""
        self.canvas.fill(style.PAPER)
        axes, layouts, sides = Axes.of(traces, clocks), self.layouts(traces), list(zip(traces, clocks, strict=True))
        curves = [_Curve.of(trace, trace.means_name, trace.means, clock) for trace, clock in sides]
        dashed = [_Curve.of(trace, trace.title, trace.means, clock) for trace, clock in reversed(sides)]
        if len(sides) == 1:
            name = "optimum (expected)" if traces[0].drawn else "optimum"
            dashed = [_Curve.of(traces[0], name, traces[0].optima, clocks[0])]
        for (trace, clock), layout, curve, other in zip(sides, layouts, curves, dashed, strict=True):
            _draw_panel(self.canvas, layout, trace, clock, axes)
            _draw_curves(self.canvas, layout.curve, curve, other, axes, trace.unit)
        self._draw_legend(traces, layouts)
        return self.canvas

    def layouts(self, traces: Sequence[Trace]) -> list[Layout]:
        """Return the layout of each panel."""
        width = (self.canvas.width - 2 * _MARGIN - (len(traces) - 1) * _BETWEEN) / len(traces)
        height = self.canvas.height - 16.0 - _LEGEND * len(_legend(traces))
        areas = [Area(_MARGIN + index * (width + _BETWEEN), 4.0, width, height) for index in range(len(traces))]
        return [Layout.of(area, trace) for area, trace in zip(areas, traces, strict=True)]

    def _draw_legend(self, traces: Sequence[Trace], layouts: Sequence[Layout]) -> None:
        canvas, top = self.canvas, layouts[0].panel.bottom + 4.0
        canvas.line([(0.0, top), (canvas.width, top)], style.FAINT)
        for layout in layouts[1:]:
            x = layout.panel.x - 0.5 * _BETWEEN
            canvas.line([(x, 6.0), (x, top - 2.0)], style.FAINT)
        for line, entries in enumerate(_legend(traces)):
            x, y = _MARGIN, top + 13.0 + line * _LEGEND
            for draw_symbol, text in entries:
                draw_symbol(canvas, x, y)
                x += 28.0 + canvas.text(text, x + 16.0, y, style.SMALL, style.INK)


def every_nth(space: float, needed: float) -> int:
    """Return the smallest n for which labels at every nth position do not overlap."""
    return max(1, math.ceil(needed / space))


_FILLS = (style.DRAFTING, style.UPLOADING, style.WAITING, style.VERIFYING)


def _draw_panel(canvas: Canvas, layout: Layout, trace: Trace, clock: float, axes: Axes) -> None:
    scenario, panel = trace.scenario, layout.panel
    size = f"{scenario.label}, K = {scenario.num_users}, B = {scenario.total_bandwidth / MHZ:g} MHz"
    canvas.text(trace.title or size, panel.x, panel.y + 10.0, style.TITLE, style.INK)
    canvas.text(trace.status(clock), panel.right, panel.y + 10.0, style.BODY, style.INK, "right")
    y = layout.times.y - 11.0
    canvas.text("device and server", panel.x, y, style.SMALL, style.GREY)
    gained = "tokens gained last" if trace.drawn else "last tokens, expected"
    canvas.text(gained, layout.tokens.x, y, style.SMALL, style.GREY)
    _draw_timeline(canvas, layout, trace, clock, axes.window)
    _draw_tokens(canvas, layout.tokens, trace, clock, axes.cells)
    bars = trace.bars(clock)
    if bars is not None:
        _draw_bars(canvas, layout.bars, bars, axes.bar, battery=bool(scenario.battery_rounds))


def _draw_timeline(canvas: Canvas, layout: Layout, trace: Trace, clock: float, window: float) -> None:
    times, server = layout.times, layout.server
    start, zero = trace.interval(clock, window)
    scale, row = times.width / window, times.height / trace.scenario.num_users
    _draw_axis(canvas, times._replace(height=times.height + server.height), start - zero, window)
    for user in range(0, trace.scenario.num_users, every_nth(row, 11.0)):
        canvas.text(str(user + 1), times.x - 6.0, times.y + (user + 0.5) * row, style.SMALL, style.INK, "right")
    gap = min(2.0, 0.12 * row) if row >= 6.0 else 0.0
    high = row - 2.0 * gap
    *devices, batches = lanes(trace, start, clock)
    for user, lane in enumerate(devices):
        y = times.y + user * row + gap
        for activity, begin, end, _ in lane:
            x, width = times.x + (begin - start) * scale, (end - begin) * scale
            canvas.rectangle(x, y, width, high, _FILLS[activity])
            if trace.scenario.draft_ahead:  # in the lower third of the row: the device continues to draft
                canvas.rectangle(x, y + high * 2.0 / 3.0, width, high / 3.0, style.DRAFTING)
    if trace.serving:
        _draw_requests(canvas, times, trace, start, clock, scale)
    middle = server.y + 0.5 * server.height + 1.0
    canvas.text("S", times.x - 6.0, middle, style.SMALL, style.INK, "right")
    for _, begin, end, drafts in batches:
        x, width = times.x + (begin - start) * scale, (end - begin) * scale
        canvas.rectangle(x, server.y + 2.0, width, server.height - 2.0, style.VERIFYING)
        if width >= 8.0 * len(str(drafts)):
            canvas.text(str(drafts), x + 0.5 * width, middle, style.SMALL, style.PAPER, "centre")


def _draw_axis(canvas: Canvas, area: Area, start: float, window: float) -> None:
    step = round_up(0.3 * window, (1.0, 2.0, 5.0))
    for number in range(math.ceil(start / step), math.floor((start + window) / step + 1e-9) + 1):
        x = area.x + (number * step - start) / window * area.width
        canvas.line([(x, area.y), (x, area.bottom)], style.FAINT)
        align = "right" if x > area.right - 12.0 else "left" if x < area.x + 12.0 else "centre"
        canvas.text(f"{number * step:.6g} s", x, area.bottom + 10.0, style.SMALL, style.GREY, align)


def _draw_requests(canvas: Canvas, times: Area, trace: Trace, start: float, clock: float, scale: float) -> None:
    row = times.height / trace.scenario.num_users
    for number, begin, outcome in trace.steps_between(start, clock):
        left, right = max(begin, start), min(begin + float(outcome.duration), clock)
        for user, waiting in enumerate(trace.waiting[number - 1].tolist() if number else []):
            height = max(1.0, 0.1 * row * min(waiting, 4))
            if waiting and right > left:
                x, y = times.x + (left - start) * scale, times.y + (user + 1) * row - 1.0 - height
                canvas.rectangle(x, y, (right - left) * scale, height, style.INK)
    for mark in request_marks(trace, start, clock):
        _draw_mark(canvas, times.x + (mark.time - start) * scale, times.y + (mark.user + 0.5) * row, mark.kind, row)


def _draw_mark(canvas: Canvas, x: float, y: float, kind: str, row: float) -> None:
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


def _draw_tokens(canvas: Canvas, area: Area, trace: Trace, clock: float, most: int) -> None:
    finished = trace.outcomes[: trace.num_finished(clock)]
    users = trace.scenario.num_users
    row, pitch = area.height / users, min(16.0, (area.width - _COUNTS) / most)
    high, step = max(1.0, min(16.0, 0.8 * row)), every_nth(row, 11.0)
    for user in range(users):
        last = next((outcome for outcome in reversed(finished) if outcome.verified[user]), None)
        if last is None:
            continue
        middle = area.y + (user + 0.5) * row
        first = Area(area.x, middle - 0.5 * high, pitch - (1.0 if pitch >= 4.0 else 0.0), high)
        _draw_draft(canvas, first, pitch, last, user, trace)
        if user % step == 0:
            count = f"{float(last.tokens[user]):.{0 if trace.drawn else 1}f}"
            canvas.text(count, area.x + pitch * most + _COUNTS, middle, style.SMALL, style.INK, "right")


def _draw_draft(canvas: Canvas, first: Area, pitch: float, last: ContinuousOutcome, user: int, trace: Trace) -> None:
    """Draw the verified tokens of a draft, the server's token and, if a device drafts ahead, its next tokens."""
    (x, y, width, height), length = first, int(last.draft_length[user])
    accepted = float(last.tokens[user]) - 1.0
    for position in range(length):
        part = min(max(accepted - position, 0.0), 1.0)
        if part < 1.0:
            _draw_refused(canvas, x + position * pitch, y, width, height, crossed=trace.drawn)
        canvas.rectangle(x + position * pitch, y, part * width, height, style.ACCEPTED)
    canvas.rectangle(x + length * pitch, y, width, height, style.SERVER_TOKEN)
    if not trace.scenario.draft_ahead:
        return
    for position in range(length):
        part = min(max(float(last.head_start[user]) - position, 0.0), 1.0)
        canvas.rectangle(x + position * pitch, y + 0.75 * height, part * width, 0.25 * height, style.INK)
    ahead, kept = float(last.drafted_ahead[user]), bool(last.hit[user])
    draw, colour = (canvas.rectangle, style.DRAFTED) if kept else (canvas.outline, style.GREY)
    for position in range(math.ceil(ahead)):
        draw(x + (length + 1 + position) * pitch, y, min(ahead - position, 1.0) * width, height, colour)


def _draw_refused(canvas: Canvas, x: float, y: float, width: float, height: float, *, crossed: bool) -> None:
    """Draw a rejected token as an empty cell, with a cross if ``crossed`` and the cell is large enough."""
    canvas.outline(x, y, width, height, style.REFUSED)
    if crossed and min(width, height) >= 6.0:
        start, end = (round(x), round(y)), (round(x + width) - 1, round(y + height) - 1)
        canvas.line([start, end], style.REFUSED)


def _draw_bars(canvas: Canvas, area: Area, heights: FloatArray, top: float, *, battery: bool) -> None:
    name, colour = ("battery (%)", style.ACCEPTED) if battery else ("bandwidth (MHz)", style.UPLOADING)
    canvas.text(name, area.x - 24.0, area.y - 22.0, style.SMALL, style.GREY)
    _draw_frame(canvas, area, f"{top:.3g}")
    column = area.width / len(heights)
    gap, step = min(3.0, 0.15 * column), every_nth(column, 8.0 * len(str(len(heights))))
    for user, height in enumerate((heights / top * area.height).tolist()):
        x = area.x + user * column
        canvas.rectangle(x + gap, area.bottom - height, column - 2 * gap, height, colour)
        if user % step == 0:
            canvas.text(str(user + 1), x + 0.5 * column, area.bottom + 9.0, style.SMALL, style.INK, "centre")


def _draw_frame(canvas: Canvas, area: Area, top: str) -> None:
    canvas.line([(area.x, area.y), (area.right, area.y)], style.FAINT)
    canvas.line([(area.x, area.bottom), (area.right, area.bottom)], style.GREY)
    canvas.text(top, area.x - 4.0, area.y + 1.0, style.SMALL, style.GREY, "right")


_Point = tuple[float, float]


class _Curve(NamedTuple):
    name: str
    points: Sequence[_Point]  # position in seconds or rounds, and tokens/s

    @classmethod
    def of(cls, trace: Trace, name: str, means: Sequence[float], clock: float) -> "_Curve":
        """Return the means of the steps that end at or before a time."""
        finished = trace.num_finished(clock)
        return cls(name, list(zip(trace.positions[:finished], means[:finished], strict=False)))


def _draw_curves(canvas: Canvas, area: Area, main: _Curve, dashed: _Curve, axes: Axes, unit: str) -> None:
    _draw_frame(canvas, area, f"{axes.rate:.3g}")
    canvas.text("0", area.x, area.bottom + 9.0, style.SMALL, style.GREY)
    end = f"{round(axes.horizon, 2):g} {unit}"
    canvas.text(end, area.right, area.bottom + 9.0, style.SMALL, style.GREY, "right")
    x = area.x - 24.0
    for curve, colour, y in ((main, style.INK, area.y - 29.0), (dashed, style.REFUSED, area.y - 15.0)):
        if curve is dashed and not curve.points:
            continue
        rate = f"{curve.points[-1][1]:.1f} tokens/s" if curve.points else "(tokens/s)"
        canvas.text(f"{curve.name} {rate}", x + 24.0, y, style.SMALL, colour)
        line = _scaled(area, curve.points, axes)
        for points in ([(x, y), (x + 18.0, y)], line):
            for piece in _dashes(points) if curve is dashed else [points]:
                canvas.line(piece, colour, 2)
        if line:
            canvas.disc(*line[-1], 3, colour)


def _scaled(area: Area, points: Sequence[_Point], axes: Axes) -> list[_Point]:
    step = every_nth(200, len(points))  # draws at most about 200 points, with the last
    return [
        (area.x + position / axes.horizon * area.width, area.bottom - min(rate / axes.rate, 1.0) * area.height)
        for position, rate in points[(len(points) - 1) % step :: step]
    ]


def _dashes(line: Sequence[_Point]) -> list[list[_Point]]:
    dashes = []
    for (x, y), (x_end, y_end) in pairwise(line):
        slope = (y_end - y) / (x_end - x)
        at = x
        while at < x_end:
            phase = at % (2 * _DASH)
            stop = min(x_end, at - phase + (_DASH if phase < _DASH else 2 * _DASH))
            if phase < _DASH:
                dashes.append([(at, y + slope * (at - x)), (stop, y + slope * (stop - x))])
            at = stop
    return dashes


_Entry = tuple[Callable[[Canvas, float, float], object], str]  # drawing of a symbol from its left and middle; its name


def _swatch(name: str, colour: Colour) -> _Entry:
    return lambda canvas, x, y: canvas.rectangle(x, y - 5.0, 11.0, 11.0, colour), name


def _strip(name: str, colour: Colour) -> _Entry:
    return lambda canvas, x, y: canvas.rectangle(x, y + 1.0, 11.0, 4.0, colour), name


def _event(name: str, kind: str) -> _Entry:
    return lambda canvas, x, y: _draw_mark(canvas, x + 5.5, y, kind, 14.0), name


_LEGEND_BASE = (
    *map(_swatch, ("drafting", "uploading", "waiting", "server verifying"), _FILLS),
    *(_swatch("accepted token", style.ACCEPTED), _swatch("server's token", style.SERVER_TOKEN)),
)
_LEGEND_AHEAD: tuple[_Entry, ...] = (
    *(_strip("drafting ahead", style.DRAFTING), _strip("sent from the head start", style.INK)),
    _swatch("drafted ahead: kept", style.DRAFTED),
    (lambda canvas, x, y: canvas.outline(x, y - 5.0, 11.0, 11.0, style.GREY), "lost"),
)
_LEGEND_REQUESTS = (
    *(_event("request", ARRIVED), _event("answered in time", IN_TIME), _event("late", LATE)),
    *(_event("dropped", DROPPED), _strip("waiting requests", style.INK)),
)


def _legend(traces: Sequence[Trace]) -> list[tuple[_Entry, ...]]:
    """Return the lines of the legend."""

    def draw_refused(canvas: Canvas, x: float, y: float) -> None:
        _draw_refused(canvas, x, y - 5.0, 11.0, 11.0, crossed=traces[0].drawn)

    ahead = any(trace.scenario.draft_ahead for trace in traces)
    further = (_LEGEND_AHEAD,) * ahead + (_LEGEND_REQUESTS,) * traces[0].serving
    return [(*_LEGEND_BASE, (draw_refused, "rejected")), *further]
