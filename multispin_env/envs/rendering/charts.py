"""Records of rounds for pictures, and charts of time, tokens, bandwidth and goodput."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import HEADER, Area, Canvas, Colour, Layout
from multispin_env.physics.chains import ChainRound
from multispin_env.physics.types import Decision, Outcome
from multispin_env.scenario import Scenario
from multispin_env.units import MHZ

MIN_CELLS, _MIN_ROUNDS = 8, 16
"""Smallest axes for tokens and for rounds."""


def round_up(value: float) -> float:
    """Return the next round number ≥ ``value`` for the end of an axis; 1 for 0."""
    if value <= 0.0:
        return 1.0
    unit = float(np.power(10.0, math.floor(math.log10(value))))
    numbers = (1.0, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
    return next((number * unit for number in numbers if number * unit >= value), 10.0 * unit)


class Scales(NamedTuple):
    """Ends of the axes."""

    time: float = 0.0  # s
    bandwidth: float = 0.0  # Hz
    goodput: float = 0.0  # tokens/s
    cells: int = MIN_CELLS  # tokens of a draft plus the server's token
    rounds: int = _MIN_ROUNDS

    @classmethod
    def common(cls, scales: Iterable["Scales"]) -> "Scales":
        """Return the largest scales."""
        return cls(*(max(values) for values in zip(*scales, strict=True)))


@dataclass(frozen=True, eq=False)
class Round:
    """Decision and result of a round."""

    decision: Decision  # (K,)
    outcome: Outcome  # (K,)
    tokens: FloatArray  # (K,) gained, drawn or expected
    chain: ChainRound  # (K,) all zeros without drafting ahead
    level: FloatArray | None = None  # (K,) charge of batteries after the round, relative to their capacity

    @property
    def cells(self) -> IntArray:
        """Number of tokens (K,): drafted, from the server, and drafted ahead."""
        return self.decision.draft_length + 1 + np.ceil(self.chain.drafted_ahead).astype(np.int64)


@dataclass(frozen=True, eq=False)
class View:
    """Data for the picture of an environment after a round."""

    scenario: Scenario
    drawn: bool  # whether tokens are drawn instead of expected
    last: Round | None  # None before the first round
    goodput: Sequence[float]  # tokens/s after each round, mean over rounds or tokens over time
    reference: Sequence[float]  # goodput of the reference; may be empty
    reference_name: str
    scales: Scales
    title: str = ""
    goodput_name: str = "mean goodput"


class History:
    """Record of an episode for pictures; with ``by_time``, means are over time instead of rounds."""

    def __init__(self, by_time: bool = False) -> None:
        self.last: Round | None = None
        self._by_time, self._weight = by_time, 0.0
        self._needed: deque[Scales] = deque(maxlen=12)
        self.goodput: list[float] = []
        self.optimum: list[float] = []

    def add(self, last: Round, optimum: float | None) -> None:
        """Record a round, with the goodput of the optimum if it is known."""
        weight = float(last.outcome.duration) if self._by_time else 1.0
        self._weight += weight
        _append_to_mean(self.goodput, float(last.outcome.goodput), self._weight / weight)
        if optimum is not None:
            _append_to_mean(self.optimum, optimum, self._weight / weight)
        reached = max(self.goodput[-1], self.optimum[-1] if self.optimum else 0.0)
        rounds = max(_MIN_ROUNDS, 2 ** math.ceil(math.log2(len(self.goodput))))
        time, bandwidth = float(last.outcome.round_latency), float(last.decision.bandwidth.max())
        ends = round_up(time), round_up(bandwidth), round_up(1.1 * reached)
        self._needed.append(Scales(*ends, int(last.cells.max()), rounds))
        self.last = last

    @property
    def scales(self) -> Scales:
        """Scales that fit the last rounds; the time scale fits only the last one, since durations differ widely."""
        common = Scales.common((Scales(), *self._needed))
        return common._replace(time=self._needed[-1].time) if self._needed else common


def _append_to_mean(means: list[float], value: float, count: float) -> None:
    means.append(means[-1] + (value - means[-1]) / count if means else value)


_DASH = 5.0
"""Length of a dash, and of the gap after it, in pixels."""


def every_nth(space: float, needed: float) -> int:
    """Return the smallest n for which labels at every nth position do not overlap."""
    return max(1, math.ceil(needed / space))


def draw_titles(canvas: Canvas, area: Area, layout: Layout, view: Any, status: str, rows: str, gained: str) -> None:
    """Draw the title and status of a view or trace, and the headings of its two upper areas."""
    scenario = view.scenario
    size = f"{scenario.label}, K = {scenario.num_users}, B = {scenario.total_bandwidth / MHZ:g} MHz"
    canvas.text(view.title or size, area.x, area.y + 10.0, style.TITLE, style.INK)
    canvas.text(status, area.right, area.y + 10.0, style.BODY, style.INK, "right")
    headings = area.y + HEADER - 11.0
    canvas.text(rows, area.x, headings, style.SMALL, style.GREY)
    canvas.text(gained, layout.tokens.x, headings, style.SMALL, style.GREY)


def draw_numbers(canvas: Canvas, times: Area, num_users: int, row: float) -> None:
    """Draw the numbers of devices next to their rows, which are ``row`` pixels high."""
    for user in range(0, num_users, every_nth(row, 11.0)):
        canvas.text(str(user + 1), times.x - 6.0, times.y + (user + 0.5) * row, style.SMALL, style.INK, "right")


def draw_time_axis(canvas: Canvas, times: Area, scale: float) -> None:
    """Draw lines and labels at 0, ``scale`` / 2 and ``scale`` seconds."""
    for part, align in ((0.0, "left"), (0.5, "centre"), (1.0, "right")):
        x = times.x + part * times.width
        canvas.line([(x, times.y), (x, times.bottom)], style.FAINT)
        if scale > 0.0:
            label = f"{part * scale:.3g} s" if part else "0"
            canvas.text(label, x, times.bottom + 10.0, style.SMALL, style.GREY, align)


def draw_bandwidth(canvas: Canvas, area: Area, bandwidth: FloatArray, scale: float) -> None:
    """Draw a bar for each device with its bandwidth in Hz; ``scale`` is the top of the area."""
    _draw_bars(canvas, area, "bandwidth (MHz)", bandwidth / scale, f"{scale / MHZ:.3g}", style.UPLOADING)


def draw_batteries(canvas: Canvas, area: Area, level: FloatArray) -> None:
    """Draw a bar for each device with the charge of its battery, relative to its capacity."""
    _draw_bars(canvas, area, "battery (%)", level, "100", style.ACCEPTED)


def _draw_bars(canvas: Canvas, area: Area, title: str, parts: FloatArray, top: str, colour: Colour) -> None:
    canvas.text(title, area.x - 24.0, area.y - 22.0, style.SMALL, style.GREY)
    _draw_frame(canvas, area, top)
    column = area.width / len(parts)
    gap = min(3.0, 0.15 * column)
    step = every_nth(column, 16.0)
    for user, height in enumerate((parts * area.height).tolist()):
        x = area.x + user * column
        canvas.rectangle(x + gap, area.bottom - height, column - 2 * gap, height, colour)
        if user % step == 0:
            canvas.text(str(user + 1), x + 0.5 * column, area.bottom + 9.0, style.SMALL, style.INK, "centre")


class Curve(NamedTuple):
    """Mean goodput during an episode."""

    name: str
    points: Sequence[tuple[float, float]]  # pairs of a position on the axis, in [0, 1], and tokens/s


def draw_goodput(canvas: Canvas, area: Area, view: View, rounds: int) -> None:
    """Draw the mean goodput of the rounds so far, and that of the reference as a dashed line."""
    scales = view.scales
    goodput, reference = (
        [((index + 1) / scales.rounds, mean) for index, mean in enumerate(means[:rounds])]
        for means in (view.goodput, view.reference)
    )
    curves = Curve(view.goodput_name, goodput), Curve(view.reference_name, reference)
    draw_curves(canvas, area, *curves, top=scales.goodput, end=f"{scales.rounds} rounds")


def draw_curves(canvas: Canvas, area: Area, main: Curve, other: Curve, top: float, end: str) -> None:
    """Draw ``main``, and ``other`` dashed if it has points, up to ``top`` tokens/s; ``end`` labels the time axis."""
    _draw_frame(canvas, area, f"{top:.3g}" if top else "")
    canvas.text("0", area.x, area.bottom + 9.0, style.SMALL, style.GREY)
    canvas.text(end, area.right, area.bottom + 9.0, style.SMALL, style.GREY, "right")
    x, y = area.x - 24.0, area.y - 22.0
    _draw_key(canvas, x, y - 7.0, f"{main.name} {_last(main)}", style.INK)
    if other.points:
        _draw_key(canvas, x, y + 7.0, f"{other.name} {_last(other)}", style.REFUSED, dashed=True)
    curve = _curve(area, main.points, top)
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


def _draw_key(canvas: Canvas, x: float, y: float, text: str, colour: Colour, *, dashed: bool = False) -> None:
    for start, end in ((0.0, 7.0), (11.0, 18.0)) if dashed else ((0.0, 18.0),):
        canvas.line([(x + start, y), (x + end, y)], colour, 2)
    canvas.text(text, x + 24.0, y, style.SMALL, colour)


def _last(curve: Curve) -> str:
    return f"{curve.points[-1][1]:.1f} tokens/s" if curve.points else "(tokens/s)"


def _curve(area: Area, points: Sequence[tuple[float, float]], top: float) -> list[tuple[float, float]]:
    step = every_nth(200, len(points)) if points else 1  # draws at most about 200 points
    shown = sorted({*range(0, len(points), step), len(points) - 1}) if points else []
    return [
        (area.x + points[index][0] * area.width, area.bottom - min(points[index][1] / top, 1.0) * area.height)
        for index in shown
    ]


def _dashes(curve: Sequence[tuple[float, float]]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    dashes = []
    for (x, y), (x_end, y_end) in pairwise(curve):
        slope = (y_end - y) / (x_end - x)
        at = x
        while at < x_end:
            phase = at % (2 * _DASH)
            stop = min(x_end, at - phase + (_DASH if phase < _DASH else 2 * _DASH))
            if phase < _DASH:
                dashes.append(((at, y + slope * (at - x)), (stop, y + slope * (stop - x))))
            at = stop
    return dashes


def draw_tokens(canvas: Canvas, area: Area, view: View, now: float | None) -> None:
    """Draw a row of cells for each device, and the number of tokens that it gained."""
    last = view.last
    assert last is not None
    rows = area.height / len(last.tokens)
    lengths = last.decision.draft_length
    drafted = None if now is None else _drafted(last, now)
    step = every_nth(rows, 11.0)
    for user, (length, gained) in enumerate(zip(lengths.tolist(), last.tokens.tolist(), strict=True)):
        row = place_cells(area, area.y + (user + 0.5) * rows, view.scales.cells, rows, int(last.cells[user]))
        if drafted is not None:
            for position, cell in enumerate(row.cells[: math.ceil(drafted[user])]):
                part = min(float(drafted[user]) - position, 1.0)
                canvas.rectangle(cell.x, cell.y, part * cell.width, cell.height, style.DRAFTED)
        else:
            draw_judged_row(canvas, row, length, gained, view.drawn, counted=user % step == 0)
            if view.scenario.draft_ahead:
                draw_chain(canvas, row.cells, length, last.chain, user)


def draw_chain(canvas: Canvas, cells: list[Area], length: int, chain: ChainRound, user: int) -> None:
    """Mark the tokens of a draft that were drafted ahead, and draw the next tokens drafted ahead, kept or lost."""
    for position, cell in enumerate(cells[:length]):
        part = min(max(float(chain.head_start[user]) - position, 0.0), 1.0)
        canvas.rectangle(cell.x, cell.bottom - 0.25 * cell.height, part * cell.width, 0.25 * cell.height, style.INK)
    for position, cell in enumerate(cells[length + 1 :]):
        part = min(float(chain.drafted_ahead[user]) - position, 1.0)
        draw = canvas.rectangle if chain.hit[user] else canvas.outline
        draw(cell.x, cell.y, part * cell.width, cell.height, style.DRAFTED if chain.hit[user] else style.GREY)


class _CellRow(NamedTuple):
    cells: list[Area]
    right: float
    middle: float


def place_cells(area: Area, middle: float, most: int, rows: float, count: int) -> _CellRow:
    """Return cells for ``count`` tokens, centred at the height ``middle``; ``most`` cells fill the area."""
    numbers = 28.0  # width of the column of numbers
    pitch = min(16.0, (area.width - numbers) / most)
    width, height = pitch - (1.0 if pitch >= 4.0 else 0.0), max(1.0, min(16.0, 0.8 * rows))
    cells = [Area(area.x + position * pitch, middle - 0.5 * height, width, height) for position in range(count)]
    return _CellRow(cells, area.x + pitch * most + numbers, middle)


def draw_judged_row(canvas: Canvas, row: _CellRow, length: int, gained: float, drawn: bool, *, counted: bool) -> None:
    """Draw the verified tokens of a draft, and, if ``counted``, the number of tokens gained."""
    for position, cell in enumerate(row.cells[:length]):
        part = min(max(gained - 1.0 - position, 0.0), 1.0)
        if part < 1.0:
            draw_refused(canvas, cell, crossed=drawn)
        canvas.rectangle(cell.x, cell.y, part * cell.width, cell.height, style.ACCEPTED)
    canvas.rectangle(*row.cells[length], style.SERVER_TOKEN)
    if counted:
        count = f"{gained:.0f}" if drawn else f"{gained:.1f}"
        canvas.text(count, row.right, row.middle, style.SMALL, style.INK, "right")


def _drafted(last: Round, now: float) -> FloatArray:
    length, draft_time = last.decision.draft_length, last.outcome.draft_time
    before = np.minimum(last.chain.head_start, length)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(draft_time > 0.0, now / draft_time, 1.0)
    return np.asarray(before + (length - before) * np.minimum(part, 1.0), np.float64)


def draw_refused(canvas: Canvas, cell: Area, *, crossed: bool) -> None:
    """Draw a rejected token as an empty cell, with a cross if ``crossed`` and the cell is large enough."""
    canvas.outline(*cell, style.REFUSED)
    if crossed and min(cell.width, cell.height) >= 6.0:
        left, right = round(cell.x), round(cell.x + cell.width) - 1
        top, bottom = round(cell.y), round(cell.y + cell.height) - 1
        canvas.line([(left, top), (right, bottom)], style.REFUSED)
