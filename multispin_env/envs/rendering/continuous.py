"""Pictures and films without the barrier: timelines of devices and server, requests, and tokens/s."""

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
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Area, Canvas, Layout
from multispin_env.envs.rendering.charts import (
    MIN_CELLS,
    Curve,
    draw_chain,
    draw_curves,
    draw_judged_row,
    draw_numbers,
    draw_titles,
    every_nth,
    place_cells,
    round_up,
)
from multispin_env.envs.rendering.renderers import LEGEND, LEGEND_LINE, MARGIN, Film, Frame, Renderer, Sheet
from multispin_env.envs.simulator import Step
from multispin_env.physics.chains import ChainRound
from multispin_env.physics.continuous.types import ContinuousOutcome
from multispin_env.scenario import Scenario


@dataclass(frozen=True, eq=False)
class Trace:
    """Data for the picture of an environment: all steps of the episode so far."""

    scenario: Scenario
    drawn: bool  # whether tokens are drawn instead of expected
    outcomes: Sequence[ContinuousOutcome]  # of consecutive steps from time 0, each (K,)
    title: str = ""
    serving: bool = False  # whether requests are finite

    @cached_property
    def ends(self) -> list[float]:
        """End of each step in seconds."""
        return list(accumulate(float(outcome.duration) for outcome in self.outcomes))

    @cached_property
    def gained(self) -> list[float]:
        """Tokens gained up to the end of each step; for finite requests, only tokens of requests in time."""
        tokens = (step.served.output * step.served.in_time if self.serving else step.tokens for step in self.outcomes)
        return list(accumulate(float(array.sum()) for array in tokens))

    @cached_property
    def missed(self) -> list[int]:
        """Number of requests dropped or late up to the end of each step."""
        served = (outcome.served for outcome in self.outcomes)
        return list(accumulate(int(step.dropped.sum() + (step.finished & ~step.in_time).sum()) for step in served))

    @cached_property
    def waiting(self) -> list[IntArray]:
        """Number of requests (K,) in queues at the end of each step, without those in service."""
        served = (outcome.served for outcome in self.outcomes)
        present = accumulate((step.arrivals - step.dropped - step.finished for step in served), np.add)
        return [np.maximum(number - 1, 0) for number in present]

    def steps_between(self, start: float, clock: float) -> Iterator[tuple[int, float, ContinuousOutcome]]:
        """Iterate over the number, start time and outcome of the steps between two times."""
        for number in range(self.num_finished(start), len(self.outcomes)):
            begin = self.ends[number - 1] if number else 0.0
            if begin >= clock:
                return
            yield number, begin, self.outcomes[number]

    @property
    def duration(self) -> float:
        """Duration of all steps in seconds."""
        return self.ends[-1] if self.ends else 0.0

    @cached_property
    def num_cells(self) -> int:
        """Largest number of tokens of a device in a step: drafted, from the server, and drafted ahead."""
        return max([MIN_CELLS, *(int(_cells_of(outcome).max()) for outcome in self.outcomes)])

    def num_finished(self, time: float) -> int:
        """Return the number of steps that end at or before a time."""
        return bisect_right(self.ends, time)

    def rate(self, time: float) -> float:
        """Return the tokens/s up to the end of the last finished step; 0 before the first."""
        finished = self.num_finished(time)
        return self.gained[finished - 1] / self.ends[finished - 1] if finished else 0.0

    def curve(self, name: str, time: float, horizon: float) -> Curve:
        """Return the tokens/s up to the end of each finished step, on an axis of ``horizon`` seconds."""
        finished = self.num_finished(time)
        pairs = zip(self.ends[:finished], self.gained[:finished], strict=True)
        return Curve(name, [(min(end / horizon, 1.0), gained / end) for end, gained in pairs])

    def axis_end(self) -> float:
        """Return the end of an axis for all rates."""
        rates = [gained / end for gained, end in zip(self.gained, self.ends, strict=True)]
        return round_up(1.1 * max(rates, default=0.0))


def _cells_of(outcome: ContinuousOutcome) -> IntArray:
    return outcome.draft_length + 1 + np.ceil(outcome.drafted_ahead).astype(np.int64)


class Traces(Renderer):
    """Renderer of environments without the barrier."""

    @override
    def _episode(self) -> list[ContinuousOutcome]:
        return []

    @override
    def _record(self, episode: list[ContinuousOutcome], step: Step, env: int) -> None:
        episode.append(step.outcome[env].copy())

    @override
    def view(self, env: int = 0) -> Trace:
        config = self._config
        serving = bool(config.info_keys.episode)
        return Trace(config.scenario, config.drawn, tuple(self._episodes[env]), serving=serving)


class _Activity(IntEnum):
    DRAFTING = 0
    UPLOADING = 1
    WAITING = 2  # at the server
    VERIFYING = 3


class Stretch(NamedTuple):
    """Interval of a timeline with one activity."""

    activity: _Activity
    begin: float  # s
    end: float  # s
    drafts: int = 0  # size of the batch, for the server


def device_stretches(trace: Trace, user: int, start: float, clock: float) -> Iterator[Stretch]:
    """Iterate over the activities of a device between two times; an idle device has none."""
    for _, begin, outcome in trace.steps_between(start, clock):
        end = float(outcome.duration)
        idle = float(outcome.served.idle_time[user])
        ready = float(outcome.start_delay) if outcome.verified[user] else end
        drafted, uploaded = float(outcome.drafted_at[user]), float(outcome.uploaded_at[user])
        marks = [min(idle, end), min(max(drafted, idle), end), min(max(uploaded, idle), end), ready, end]
        for activity, left, right in zip(_Activity, marks[:-1], marks[1:], strict=True):
            shown = max(begin + left, start), min(begin + right, clock)
            if right > left and shown[1] > shown[0]:
                yield Stretch(activity, *shown)


def server_stretches(trace: Trace, start: float, clock: float) -> Iterator[Stretch]:
    """Iterate over the verifications of the steps between two times, which are not cut off at these times."""
    for _, begin, outcome in trace.steps_between(start, clock):
        bounds = begin + float(outcome.start_delay), begin + float(outcome.duration)
        yield Stretch(_Activity.VERIFYING, *bounds, int(outcome.batch_size))


IN_TIME, LATE, DROPPED, ARRIVED = "in time", "late", "dropped", "arrived"


class Mark(NamedTuple):
    """Event of a request."""

    time: float  # s
    user: int
    kind: str


def request_marks(trace: Trace, start: float, clock: float) -> list[Mark]:
    """Return the events between two times; arrivals at busy devices are marked at the end of their step."""
    marks: list[Mark] = []
    for _, begin, outcome in trace.steps_between(start, clock):
        served, end = outcome.served, begin + float(outcome.duration)
        for user in range(trace.scenario.num_users):
            idle = float(served.idle_time[user])
            first = 0.0 < idle < float(outcome.duration)
            marks += [Mark(begin, user, DROPPED)] * bool(served.dropped[user])
            marks += [Mark(begin + idle, user, ARRIVED)] * first
            marks += [Mark(end, user, ARRIVED)] * (int(served.arrivals[user]) - first > 0)
            if served.finished[user]:
                marks.append(Mark(end, user, IN_TIME if served.in_time[user] else LATE))
    return [mark for mark in marks if start <= mark.time <= clock]


def _draw_requests(
    canvas: Canvas, times: Area, trace: Trace, start: float, clock: float, window: float, row: float
) -> None:
    scale = times.width / window
    for number, begin, outcome in trace.steps_between(start, clock):
        left, right = max(begin, start), min(begin + float(outcome.duration), clock)
        x, width = times.x + (left - start) * scale, (right - left) * scale
        for user, waiting in enumerate(trace.waiting[number - 1].tolist() if number else []):
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
"""Height of the server's row relative to that of a device."""


class Axes(NamedTuple):
    """Ends of the axes, common to two traces side by side."""

    window: float  # s, width of the timeline: at least a few median steps
    horizon: float  # s
    rate: float  # tokens/s
    cells: int  # tokens of a draft plus the server's token

    @classmethod
    def of(cls, *traces: Trace) -> "Axes":
        """Return axes for all traces."""
        shortest = 2.0 if traces[0].serving else 1.0
        medians = [float(np.median([0.0, *(float(step.duration) for step in trace.outcomes)])) for trace in traces]
        return cls(
            max([shortest, *(5.0 * duration for duration in medians)]),
            max([1.0, *(trace.duration for trace in traces)]),
            max(trace.axis_end() for trace in traces),
            max(trace.num_cells for trace in traces),
        )


_FILLS = (style.DRAFTING, style.UPLOADING, style.WAITING, style.VERIFYING)


def draw_trace(canvas: Canvas, area: Area, trace: Trace, other: Trace | None, axes: Axes, clock: float) -> None:
    """Draw a trace at a time in seconds, with the tokens/s of another trace."""
    layout = Layout.of(area)
    finished, status = trace.num_finished(clock), "before the first batch"
    if finished:
        status = f"{trace.rate(clock):.0f} tokens/s"
        status += f" in time, {trace.missed[finished - 1]} missed" if trace.serving else ""
    gained = "tokens gained last" if trace.drawn else "tokens, expected"
    draw_titles(canvas, area, layout, trace, status, "device and server", gained)
    users = trace.scenario.num_users
    row = layout.times.height / (users + SERVER)
    start = max(0.0, clock - axes.window)
    _draw_axis(canvas, layout.times, start, axes.window)
    draw_numbers(canvas, layout.times, users, row)
    for user in range(users):
        for stretch in device_stretches(trace, user, start, clock):
            top, high = layout.times.y + user * row + 1.0, row - 2.0
            _fill(canvas, layout.times, stretch, start, axes.window, top, high)
            if trace.scenario.draft_ahead:  # in the lower third of the row: the device continues to draft
                ahead = stretch._replace(activity=_Activity.DRAFTING)
                _fill(canvas, layout.times, ahead, start, axes.window, top + high * 2.0 / 3.0, high / 3.0)
    if trace.serving:
        _draw_requests(canvas, layout.times, trace, start, clock, axes.window, row)
    _draw_server(canvas, layout.times, trace, start, clock, axes.window, row)
    _draw_gained(canvas, layout.tokens, trace, axes.cells, clock, row)
    left = layout.bandwidth
    below = Area(left.x, left.y, layout.goodput.right - left.x, left.height)
    reference = Curve("", []) if other is None else other.curve(other.title, clock, axes.horizon)
    curve = trace.curve("in time" if trace.serving else "so far", clock, axes.horizon)
    draw_curves(canvas, below, curve, reference, top=axes.rate, end=f"{axes.horizon:.3g} s")


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
        _fill(canvas, times, Stretch(stretch.activity, left, right), start, window, top, height)
        middle = 0.5 * (stretch.begin + stretch.end)
        wide = (stretch.end - stretch.begin) / window * times.width >= 8.0
        if wide and left <= middle <= right and height >= 11.0:
            x = times.x + (middle - start) / window * times.width
            canvas.text(str(stretch.drafts), x, top + 0.5 * height, style.SMALL, style.PAPER, "centre")


def _fill(canvas: Canvas, times: Area, stretch: Stretch, start: float, window: float, y: float, height: float) -> None:
    if stretch.end <= stretch.begin:
        return
    x = times.x + (stretch.begin - start) / window * times.width
    width = (stretch.end - stretch.begin) / window * times.width
    canvas.rectangle(x, y, width, max(1.0, height), _FILLS[stretch.activity])


def _draw_gained(canvas: Canvas, area: Area, trace: Trace, cells: int, clock: float, row: float) -> None:
    finished = trace.outcomes[: trace.num_finished(clock)]
    step = every_nth(row, 11.0)
    for user in range(trace.scenario.num_users):
        last = next((outcome for outcome in reversed(finished) if outcome.verified[user]), None)
        if last is None:
            continue
        middle = area.y + (user + 0.5) * row
        length = int(last.draft_length[user])
        places = place_cells(area, middle, cells, row, int(_cells_of(last)[user]))
        draw_judged_row(canvas, places, length, float(last.tokens[user]), trace.drawn, counted=user % step == 0)
        if trace.scenario.draft_ahead:
            chain = ChainRound(*(getattr(last, name) for name in ChainRound._fields))
            draw_chain(canvas, places.cells, length, chain, user)


_MARKS = {ARRIVED: "request", IN_TIME: "answered in time", LATE: "late", DROPPED: "dropped"}


class TracePicture(Sheet):
    """Picture of one or two traces; ``axes=None`` for axes that fit them."""

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
        self._name(x, y, "waiting requests")


STEP = 1.0 / 24.0
"""Simulated seconds between two frames."""

END = 24
"""Repetitions of the last frame."""


class TraceFilm(Film):
    """Film of two episodes with common axes, which ends with the shorter episode.

    It begins when the timelines are full, or at half of the shorter episode if this is earlier, but not before the
    first step of both has ended.
    """

    def __init__(self, left: Sequence[Trace], right: Sequence[Trace]) -> None:
        self._views = left[-1], right[-1]
        self._axes = Axes.of(*self._views)
        self._picture = TracePicture(self._axes)

    @override
    def frames(self) -> list[Frame]:
        end = min(view.duration for view in self._views)
        begin = max(min(self._axes.window, 0.5 * end), *(view.ends[0] for view in self._views))
        frames = [Frame(self._views, clock, 1) for clock in np.arange(begin, end, STEP).tolist()]
        return [*frames, Frame(self._views, end, END)]
