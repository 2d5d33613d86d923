"""Pictures and film without the barrier: what each device and the server do as time passes, requests, and tokens/s."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from multispin_env.arrays import IntArray
from multispin_env.envs.engine import Step
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Area, Canvas, Layout
from multispin_env.envs.rendering.charts import (
    MIN_CELLS,
    Curve,
    Recorder,
    draw_chain,
    draw_curves,
    draw_judged_row,
    draw_numbers,
    draw_titles,
    every_nth,
    place_cells,
    round_up,
)
from multispin_env.envs.rendering.renderers import LEGEND, LEGEND_LINE, MARGIN, Film, Frame, Sheet
from multispin_env.physics.chains import ChainRound
from multispin_env.physics.continuous.types import ContinuousOutcome
from multispin_env.scenario import Scenario


@dataclass(frozen=True, eq=False)
class Trace:
    """One copy, as far as it has come; it does not change with the next step."""

    scenario: Scenario
    drawn: bool  # whether tokens are drawn, or expected
    outcomes: Sequence[ContinuousOutcome]  # one behind the other from time 0, each (K,)
    title: str = ""
    serving: bool = False  # whether requests end

    @cached_property
    def ends(self) -> list[float]:
        """When each step ends, in seconds."""
        return list(accumulate(float(outcome.duration) for outcome in self.outcomes))

    @cached_property
    def gained(self) -> list[float]:
        """Tokens gained up to the end of each step; where requests end, those of requests in time."""
        return list(accumulate(map(self._tokens, self.outcomes)))

    def _tokens(self, outcome: ContinuousOutcome) -> float:
        served = outcome.served
        return float((served.output * served.in_time if self.serving else outcome.tokens).sum())

    @cached_property
    def missed(self) -> list[int]:
        """Requests dropped or late up to the end of each step."""
        served = (outcome.served for outcome in self.outcomes)
        return list(accumulate(int(one.dropped.sum() + (one.finished & ~one.in_time).sum()) for one in served))

    @cached_property
    def waiting(self) -> list[IntArray]:
        """Requests (K,) that wait behind others at the end of each step."""
        served = (outcome.served for outcome in self.outcomes)
        inside = accumulate((one.arrivals - one.dropped - one.finished for one in served), np.add)
        return [np.maximum(here - 1, 0) for here in inside]

    def seen(self, start: float, clock: float) -> Iterator[tuple[float, ContinuousOutcome]]:
        """Steps between two times, each with its begin."""
        for number in range(self.over(start), len(self.outcomes)):
            begin = self.ends[number - 1] if number else 0.0
            if begin >= clock:
                return
            yield begin, self.outcomes[number]

    def queues(self, start: float, clock: float) -> Iterator[tuple[float, ContinuousOutcome, IntArray]]:
        """The same, each with the requests (K,) that wait when it begins."""
        first = self.over(start)
        for number, (begin, outcome) in enumerate(self.seen(start, clock), start=first):
            if number:
                yield begin, outcome, self.waiting[number - 1]

    @property
    def duration(self) -> float:
        """Of all steps, in seconds."""
        return self.ends[-1] if self.ends else 0.0

    @cached_property
    def num_cells(self) -> int:
        """Tokens of the longest verified draft, the server's, and those drafted ahead."""
        return max([MIN_CELLS, *(int(_cells_of(outcome).max()) for outcome in self.outcomes)])

    def over(self, time: float) -> int:
        """Steps that are over at a time."""
        return bisect_right(self.ends, time)

    def rate(self, time: float) -> float:
        """Tokens/s from the start to the end of the last step that is over; 0 before the first."""
        over = self.over(time)
        return self.gained[over - 1] / self.ends[over - 1] if over else 0.0

    def curve(self, name: str, time: float, horizon: float) -> Curve:
        """Tokens/s so far at the end of each step that is over, on an axis of ``horizon`` seconds."""
        over = self.over(time)
        pairs = zip(self.ends[:over], self.gained[:over], strict=True)
        return Curve(name, [(min(end / horizon, 1.0), gained / end) for end, gained in pairs])

    def axis_end(self) -> float:
        """End of an axis for tokens/s that fits all that is reached."""
        rates = [gained / end for gained, end in zip(self.gained, self.ends, strict=True)]
        return round_up(1.1 * max(rates, default=0.0))


def _cells_of(outcome: ContinuousOutcome) -> IntArray:
    count: IntArray = outcome.draft_length + 1 + np.ceil(outcome.drafted_ahead).astype(np.int64)
    return count


class Traces(Recorder):
    """Episodes of n copies without the barrier."""

    @override
    def _episode(self) -> list[ContinuousOutcome]:
        return []

    @override
    def _take_in(self, episode: list[ContinuousOutcome], step: Step, copy: int) -> None:
        episode.append(step.outcome[copy].copy())

    @override
    def view(self, copy: int = 0) -> Trace:
        config = self._config
        serving = bool(config.variant.comparison.info.episode)
        return Trace(config.scenario, config.drawn, tuple(self._episodes[copy]), serving=serving)


class _Doing(IntEnum):
    DRAFTING = 0
    UPLOADING = 1
    WAITING = 2  # its draft waits at the server
    VERIFYING = 3


class Stretch(NamedTuple):
    """A piece of a row."""

    doing: _Doing
    begin: float  # s
    end: float  # s
    drafts: int = 0  # of the server's pass


def device_stretches(trace: Trace, user: int, start: float, clock: float) -> Iterator[Stretch]:
    """What a device does between two times, in order; nothing where it has no request."""
    for begin, outcome in trace.seen(start, clock):
        end = float(outcome.duration)
        idle = float(outcome.served.idle_time[user])
        ready = float(outcome.start_delay) if outcome.verified[user] else end
        drafted, uploaded = float(outcome.drafted_at[user]), float(outcome.uploaded_at[user])
        marks = [min(idle, end), min(max(drafted, idle), end), min(max(uploaded, idle), end), ready, end]
        for doing, left, right in zip(_Doing, marks[:-1], marks[1:], strict=True):
            seen = max(begin + left, start), min(begin + right, clock)
            if right > left and seen[1] > seen[0]:
                yield Stretch(doing, *seen)


def server_stretches(trace: Trace, start: float, clock: float) -> Iterator[Stretch]:
    """Passes of the server, as wholes, of the steps between two times."""
    for begin, outcome in trace.seen(start, clock):
        bounds = begin + float(outcome.start_delay), begin + float(outcome.duration)
        yield Stretch(_Doing.VERIFYING, *bounds, int(outcome.batch_size))


IN_TIME, LATE, DROPPED, ARRIVED = "in time", "late", "dropped", "arrived"


class Mark(NamedTuple):
    """What happens to a request, when, and at which device."""

    time: float  # s
    user: int
    kind: str


def request_marks(trace: Trace, start: float, clock: float) -> list[Mark]:
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


def _draw_requests(
    canvas: Canvas, times: Area, trace: Trace, start: float, clock: float, window: float, row: float
) -> None:
    scale = times.width / window
    for begin, outcome, queue in trace.queues(start, clock):
        left, right = max(begin, start), min(begin + float(outcome.duration), clock)
        x, width = times.x + (left - start) * scale, (right - left) * scale
        for user, waiting in enumerate(queue.tolist()):
            height = max(1.0, 0.1 * row * min(waiting, 4))
            if waiting and width > 0.0:
                canvas.rectangle(x, times.y + (user + 1) * row - 1.0 - height, width, height, style.INK)
    for mark in request_marks(trace, start, clock):
        _draw_mark(canvas, mark.kind, times.x + (mark.time - start) * scale, times.y + (mark.user + 0.5) * row, row)


def _draw_mark(canvas: Canvas, kind: str, x: float, y: float, row: float) -> None:
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


SERVER = 1.4
"""Height of the server's row, in rows of devices."""


class Axes(NamedTuple):
    """Ends of the axes, the same for two traces beside each other."""

    window: float  # s seen at once, a few usual steps at least
    horizon: float  # s of the whole curve
    rate: float  # tokens/s
    cells: int  # tokens of a draft and the server's

    @classmethod
    def of(cls, *traces: Trace) -> "Axes":
        """Return axes that fit all of these."""
        shortest = 2.0 if traces[0].serving else 1.0
        usual = [float(np.median([0.0, *(float(one.duration) for one in trace.outcomes)])) for trace in traces]
        return cls(
            max([shortest, *(5.0 * duration for duration in usual)]),
            max([1.0, *(trace.duration for trace in traces)]),
            max(trace.axis_end() for trace in traces),
            max(trace.num_cells for trace in traces),
        )


_FILLS = (style.DRAFTING, style.UPLOADING, style.WAITING, style.VERIFYING)


def draw_trace(canvas: Canvas, area: Area, trace: Trace, other: Trace | None, axes: Axes, clock: float) -> None:
    """Draw a trace at a time in seconds, with the tokens per second of another."""
    layout = Layout.of(area)
    news = _news(trace, clock) if trace.over(clock) else "before the first batch"
    gained = "tokens gained last" if trace.drawn else "tokens, expected"
    draw_titles(canvas, area, layout, trace, news, "device and server", gained)
    users = trace.scenario.num_users
    row = layout.times.height / (users + SERVER)
    start = max(0.0, clock - axes.window)
    _draw_axis(canvas, layout.times, start, axes.window)
    draw_numbers(canvas, layout.times, users, row)
    for user in range(users):
        for stretch in device_stretches(trace, user, start, clock):
            top, high = layout.times.y + user * row + 1.0, row - 2.0
            _fill(canvas, layout.times, stretch, start, axes.window, top, high)
            if trace.scenario.draft_ahead:  # under the rest, it drafts on
                ahead = stretch._replace(doing=_Doing.DRAFTING)
                _fill(canvas, layout.times, ahead, start, axes.window, top + high * 2.0 / 3.0, high / 3.0)
    if trace.serving:
        _draw_requests(canvas, layout.times, trace, start, clock, axes.window, row)
    _draw_server(canvas, layout.times, trace, start, clock, axes.window, row)
    _draw_gained(canvas, layout.tokens, trace, axes.cells, clock, row)
    below = Area(
        layout.bandwidth.x, layout.bandwidth.y, layout.goodput.right - layout.bandwidth.x, layout.goodput.height
    )
    against = trace if other is None else other
    shown = against.curve(against.title, clock if other is not None else -1.0, axes.horizon)
    own = trace.curve("in time" if trace.serving else "so far", clock, axes.horizon)
    draw_curves(canvas, below, own, shown, top=axes.rate, end=f"{axes.horizon:.3g} s")


def _news(trace: Trace, clock: float) -> str:
    rate = f"{trace.rate(clock):.0f} tokens/s"
    return f"{rate} in time, {trace.missed[trace.over(clock) - 1]} missed" if trace.serving else rate


def _draw_axis(canvas: Canvas, times: Area, start: float, window: float) -> None:
    step = 0.5 * max(1, round(window / 2.0))
    for number in range(int(np.ceil(start / step)), int((start + window) / step) + 1):
        x = times.x + (number * step - start) / window * times.width
        canvas.line([(x, times.y), (x, times.bottom)], style.FAINT)
        align = "right" if x > times.right - 12.0 else "left" if x < times.x + 12.0 else "centre"
        canvas.text(f"{number * step:g} s", x, times.bottom + 10.0, style.SMALL, style.GREY, align)


def _draw_server(
    canvas: Canvas, times: Area, trace: Trace, start: float, clock: float, window: float, row: float
) -> None:
    top, height = times.bottom - SERVER * row + 2.0, SERVER * row - 2.0
    canvas.text("S", times.x - 6.0, top + 0.5 * height, style.SMALL, style.INK, "right")
    for stretch in server_stretches(trace, start, clock):
        left, right = max(stretch.begin, start), min(stretch.end, clock)
        _fill(canvas, times, Stretch(stretch.doing, left, right), start, window, top, height)
        middle = 0.5 * (stretch.begin + stretch.end)
        wide = (stretch.end - stretch.begin) / window * times.width >= 8.0
        if wide and left <= middle <= right and height >= 11.0:
            x = times.x + (middle - start) / window * times.width
            canvas.text(str(stretch.drafts), x, top + 0.5 * height, style.SMALL, style.PAPER, "centre")


def _fill(canvas: Canvas, times: Area, stretch: Stretch, start: float, window: float, y: float, height: float) -> None:
    if stretch.end <= stretch.begin:
        return
    x = times.x + (stretch.begin - start) / window * times.width
    canvas.rectangle(
        x, y, (stretch.end - stretch.begin) / window * times.width, max(1.0, height), _FILLS[stretch.doing]
    )


def _draw_gained(canvas: Canvas, area: Area, trace: Trace, cells: int, clock: float, row: float) -> None:
    over = trace.over(clock)
    step = every_nth(row, 11.0)
    for user in range(trace.scenario.num_users):
        last = next((p for p in reversed(trace.outcomes[:over]) if p.verified[user]), None)
        if last is None:
            continue
        middle = area.y + (user + 0.5) * row
        length = int(last.draft_length[user])
        positions = place_cells(area, middle, cells, row, length + 1)
        draw_judged_row(canvas, positions, float(last.tokens[user]), trace.drawn, counted=user % step == 0)
        if trace.scenario.draft_ahead:
            chain = ChainRound(*(getattr(last, name) for name in ChainRound._fields))
            every = place_cells(area, middle, cells, row, int(_cells_of(last)[user]))
            draw_chain(canvas, every.cells, length, chain, user)


_MARKS = {ARRIVED: "request", IN_TIME: "answered in time", LATE: "late", DROPPED: "dropped"}


class TracePicture(Sheet):
    """Draws traces of one or two environments, in these axes or in those that fit what is drawn."""

    def __init__(self, axes: Axes | None = None) -> None:
        super().__init__()
        self._axes = axes

    @override
    def draw(self, views: Sequence[Trace], clock: float | None = None) -> None:
        axes = Axes.of(*views) if self._axes is None else self._axes
        ahead = any(view.scenario.draft_ahead for view in views)
        legend = LEGEND + LEGEND_LINE * (views[0].serving + ahead)
        for position, (area, view) in enumerate(self._panels(views, legend)):
            other = views[1 - position] if len(views) > 1 else None
            draw_trace(self.canvas, area, view, other, axes, view.duration if clock is None else clock)
        self._draw_legend(views[0].drawn, animated=False, legend=legend)
        if views[0].serving:
            self._draw_marks()
        if ahead:
            self._draw_chain_legend(self.canvas.height - 0.5 * LEGEND - LEGEND_LINE * views[0].serving)

    def _draw_marks(self) -> None:
        x, y = MARGIN, self.canvas.height - 0.5 * LEGEND_LINE - 4.0
        for kind, text in _MARKS.items():
            _draw_mark(self.canvas, kind, x + 5.5, y, 14.0)
            x = self._name(x, y, text)
        self.canvas.rectangle(x, y - 1.0, 11.0, 3.0, style.INK)
        self._name(x, y, "requests that wait")


STEP = 1.0 / 24.0
"""Simulated seconds between two frames."""

END = 24
"""Times that the last frame is shown."""


class TraceFilm(Film):
    """Two episodes in the same axes; it ends with the shorter of them.

    It begins when the timelines are full, at the latest half-way, but not before both have gained tokens.
    """

    def __init__(self, one: Sequence[Trace], other: Sequence[Trace]) -> None:
        self._views = one[-1], other[-1]
        self._axes = Axes.of(*self._views)
        self._picture = TracePicture(self._axes)

    @override
    def frames(self) -> list[Frame]:
        end = min(view.duration for view in self._views)
        begin = max(min(self._axes.window, 0.5 * end), *(view.ends[0] for view in self._views))
        clocks = [*np.arange(begin, end, STEP).tolist(), end]
        last = len(clocks) - 1
        return [Frame(number, self._views, clock, END if number == last else 1) for number, clock in enumerate(clocks)]
