"""One trace in one area: a line of time for every device and the server, scrolling; tokens and their rate beside it."""

from typing import NamedTuple

import numpy as np

from multispin_env.envs.continuous.rendering.requests import draw_requests
from multispin_env.envs.continuous.rendering.stretches import Doing, Stretch, of_device, of_server
from multispin_env.envs.continuous.rendering.traces import Trace
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Canvas
from multispin_env.envs.rendering.charts import draw_curves, draw_titles, every_nth
from multispin_env.envs.rendering.layout import Area, Layout
from multispin_env.envs.rendering.tokens import draw_judged_row, place_cells

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
            max(trace.highest(np.inf) for trace in traces),
            max(trace.most_cells for trace in traces),
        )


FILLS = {
    Doing.DRAFTING: style.DRAFTING,
    Doing.UPLOADING: style.UPLOADING,
    Doing.WAITING: style.WAITING,
    Doing.VERIFYING: style.VERIFYING,
}
"""Colours of what a device does."""


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
    for user in range(users):
        top = layout.times.y + user * row
        if user % every_nth(row, 11.0) == 0:
            canvas.text(str(user + 1), layout.times.x - 6.0, top + 0.5 * row, style.SMALL, style.INK, "right")
        for stretch in of_device(trace, user, start, clock):
            _fill(canvas, layout.times, stretch, start, axes.window, top + 1.0, row - 2.0)
    if trace.serving:
        draw_requests(canvas, layout.times, trace, start, clock, axes.window, row)
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
    """Draw a line at every half second, or more where many would fit, and label them."""
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
    for stretch in of_server(trace, start, clock):
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
    canvas.rectangle(x, y, (stretch.end - stretch.begin) / window * times.width, max(1.0, height), FILLS[stretch.doing])


def _draw_gained(canvas: Canvas, area: Area, trace: Trace, cells: int, clock: float, row: float) -> None:
    """Draw the tokens of each device's last verified draft."""
    over = trace.over(clock)
    step = every_nth(row, 11.0)
    for user in range(trace.scenario.num_users):
        last = next((p for p in reversed(trace.outcomes[:over]) if p.verified[user]), None)
        if last is None:
            continue
        middle = area.y + (user + 0.5) * row
        places = place_cells(area, middle, cells, row, int(last.draft_length[user]) + 1)
        draw_judged_row(canvas, places, float(last.tokens[user]), trace.drawn, counted=user % step == 0)
