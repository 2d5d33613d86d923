"""Whole pictures of traces: one panel or two beside each other, above a legend."""

from collections.abc import Sequence

from multispin_env.envs.continuous.rendering.panel import Axes, draw_trace
from multispin_env.envs.continuous.rendering.traces import Trace
from multispin_env.envs.rendering.picture import Sheet


class TracePicture(Sheet):
    """Draws traces of one or two environments.

    Parameters
    ----------
    axes
        Of all pictures; ``None`` for those that fit what is drawn.
    """

    def __init__(self, axes: Axes | None = None) -> None:
        super().__init__()
        self._axes = axes

    def draw(self, views: Sequence[Trace], clock: float | None = None) -> None:
        """Draw traces at a time in simulated seconds; ``None`` for their end."""
        axes = Axes.of(*views) if self._axes is None else self._axes
        for place, (area, view) in enumerate(self._panels(views)):
            other = views[1 - place] if len(views) > 1 else None
            draw_trace(self.canvas, area, view, other, axes, view.duration if clock is None else clock)
        self._draw_legend(views[0].drawn, animated=False)
