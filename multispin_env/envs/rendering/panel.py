"""One view in one area: timeline and tokens of every device above, bandwidth and running goodput below."""

import numpy as np

from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Canvas
from multispin_env.envs.rendering.charts import draw_bandwidth, draw_goodput, draw_time_axis, draw_titles, every_nth
from multispin_env.envs.rendering.layout import Area, Layout
from multispin_env.envs.rendering.tokens import draw_tokens
from multispin_env.envs.rendering.views import Round, View


def draw_panel(canvas: Canvas, area: Area, view: View, clock: float | None = None) -> None:
    """Draw a view, so many seconds after its round began; ``None`` once it is over."""
    layout = Layout.of(area)
    now = None if view.last is not None and _is_over(view.last, clock) else clock
    gained = "tokens gained" if view.drawn else "tokens, expected"
    draw_titles(canvas, area, layout, view, _news(view, now), "device: its time in the round", gained)
    draw_time_axis(canvas, layout.times, view.scales.time)
    _draw_numbers(canvas, layout.times, view.scenario.num_users)
    draw_goodput(canvas, layout.goodput, view, len(view.goodput) - (now is not None))
    if view.last is None:
        draw_bandwidth(canvas, layout.bandwidth, np.zeros(view.scenario.num_users), view.scenario.total_bandwidth)
        return
    _draw_timeline(canvas, layout.times, view.last, view.scales.time, now)
    draw_tokens(canvas, layout.tokens, view, now)
    draw_bandwidth(canvas, layout.bandwidth, view.last.decision.bandwidth, view.scales.bandwidth)


def _is_over(last: Round, clock: float | None) -> bool:
    return clock is None or clock >= float(last.outcome.round_latency)


def _news(view: View, now: float | None) -> str:
    if view.last is None:
        return "before the first round"
    round_number = f"round {len(view.goodput)}"
    if now is not None:
        return round_number
    return f"{round_number}: {float(view.last.outcome.goodput):.0f} tokens/s"


def _draw_numbers(canvas: Canvas, times: Area, num_users: int) -> None:
    row = times.height / num_users
    for user in range(0, num_users, every_nth(row, 11.0)):
        y = times.y + (user + 0.5) * row
        canvas.text(str(user + 1), times.x - 6.0, y, style.SMALL, style.INK, "right")


def _draw_timeline(canvas: Canvas, times: Area, last: Round, scale: float, now: float | None) -> None:
    outcome = last.outcome
    row = times.height / len(last.tokens)
    gap = min(2.0, 0.12 * row) if row >= 6.0 else 0.0
    ready = outcome.draft_time + outcome.upload_time
    access = float(ready.max())
    end = access + outcome.verification_time
    reached = end if now is None else now
    parts = (
        (style.DRAFTING, np.zeros_like(ready), outcome.draft_time),
        (style.UPLOADING, outcome.draft_time, ready),
        (style.WAITING, ready, np.full_like(ready, access)),
        (style.VERIFYING, np.full_like(ready, access), np.full_like(ready, end)),
    )
    for colour, starts, ends in parts:
        left = times.x + np.minimum(starts, reached) / scale * times.width
        right = times.x + np.minimum(ends, reached) / scale * times.width
        for user, (x, x_end) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
            canvas.rectangle(x, times.y + user * row + gap, x_end - x, row - 2 * gap, colour)
    if now is not None:
        x = times.x + now / scale * times.width
        canvas.line([(x, times.y - 2.0), (x, times.bottom + 2.0)], style.INK)
