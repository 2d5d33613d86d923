"""Whole pictures of traces: one panel or two beside each other, above a legend."""

from collections.abc import Sequence

from typing_extensions import override

from multispin_env.envs.continuous.rendering.panel import Axes, draw_trace
from multispin_env.envs.continuous.rendering.requests import ARRIVED, DROPPED, IN_TIME, LATE, draw_mark
from multispin_env.envs.continuous.rendering.traces import Trace
from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.picture import LEGEND, MARGIN, MORE_LEGEND, Sheet

MARKS = {ARRIVED: "request", IN_TIME: "answered in time", LATE: "late", DROPPED: "dropped"}
"""Names in the legend."""


class TracePicture(Sheet):
    """Draws traces of one or two environments, in these axes or in those that fit what is drawn."""

    def __init__(self, axes: Axes | None = None) -> None:
        super().__init__()
        self._axes = axes

    @override
    def draw(self, views: Sequence[Trace], clock: float | None = None) -> None:
        """Draw traces at a time in simulated seconds; ``None`` for their end."""
        axes = Axes.of(*views) if self._axes is None else self._axes
        legend = LEGEND + MORE_LEGEND if views[0].serving else LEGEND
        for place, (area, view) in enumerate(self._panels(views, legend)):
            other = views[1 - place] if len(views) > 1 else None
            draw_trace(self.canvas, area, view, other, axes, view.duration if clock is None else clock)
        self._draw_legend(views[0].drawn, animated=False, legend=legend)
        if views[0].serving:
            self._draw_marks()

    def _draw_marks(self) -> None:
        """The legend's line of requests."""
        x, y = MARGIN, self.canvas.height - 0.5 * MORE_LEGEND - 4.0
        for kind, text in MARKS.items():
            draw_mark(self.canvas, kind, x + 5.5, y, 14.0)
            x = self._name(x, y, text)
        self.canvas.rectangle(x, y - 1.0, 11.0, 3.0, style.INK)
        self._name(x, y, "requests that wait")
