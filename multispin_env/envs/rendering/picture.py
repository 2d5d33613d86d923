"""Whole pictures: one panel or two beside each other, above a legend."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from typing_extensions import override

from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Canvas, Colour
from multispin_env.envs.rendering.layout import Area
from multispin_env.envs.rendering.panel import draw_panel
from multispin_env.envs.rendering.tokens import Cell, draw_refused
from multispin_env.envs.rendering.views import View

V = TypeVar("V")

MARGIN, BETWEEN, LEGEND, MORE_LEGEND = 10.0, 24.0, 26.0, 18.0
"""Pixels beside, between and below panels, and of one more line there."""

TIMES: tuple[tuple[str, Colour], ...] = (
    ("drafting", style.DRAFTING),
    ("uploading", style.UPLOADING),
    ("waiting", style.WAITING),
    ("server verifying", style.VERIFYING),
)
"""Of the timeline."""


class Sheet(ABC):
    """What all pictures have: 800 by 450 pixels, areas for views, a legend. Canvas and letters are made once."""

    def __init__(self) -> None:
        self.canvas = Canvas(800, 450)

    @abstractmethod
    def draw(self, views: Sequence[Any], clock: float | None = None) -> None:
        """Draw views of one or two environments at a time; ``None`` for the end of all that they show."""

    def _panels(self, views: Sequence[V], legend: float = LEGEND) -> Iterator[tuple[Area, V]]:
        """Begin a picture; then each view with its area above a ``legend`` so high, and lines between them."""
        canvas = self.canvas
        canvas.fill(style.PAPER)
        width = (canvas.width - 2 * MARGIN - (len(views) - 1) * BETWEEN) / len(views)
        for place, view in enumerate(views):
            x = MARGIN + place * (width + BETWEEN)
            yield Area(x, 4.0, width, canvas.height - legend - 8.0), view
            if place:
                middle = x - 0.5 * BETWEEN
                canvas.line([(middle, 6.0), (middle, canvas.height - legend - 6.0)], style.FAINT)

    def _draw_legend(self, drawn: bool, *, animated: bool, legend: float = LEGEND) -> None:
        canvas = self.canvas
        y = canvas.height - legend + 0.5 * LEGEND
        canvas.line([(0.0, y - 0.5 * LEGEND), (canvas.width, y - 0.5 * LEGEND)], style.FAINT)
        x = MARGIN
        for text, colour in TIMES:
            x = self._entry(x, y, text, colour)
        x = self._entry(x + 14.0, y, "accepted token", style.ACCEPTED)
        draw_refused(canvas, _swatch(x, y), crossed=drawn)
        x = self._name(x, y, "refused")
        x = self._entry(x, y, "server's own", style.SERVER_TOKEN)
        if animated:
            self._entry(x, y, "not yet judged", style.DRAFTED)

    def _entry(self, x: float, y: float, text: str, colour: Colour) -> float:
        """Draw a colour and its name; returns where the next entry begins."""
        self.canvas.rectangle(*_swatch(x, y), colour)
        return self._name(x, y, text)

    def _name(self, x: float, y: float, text: str) -> float:
        return x + 16.0 + self.canvas.text(text, x + 16.0, y, style.SMALL, style.INK) + 12.0


class Picture(Sheet):
    """Draws views of one or two environments."""

    @override
    def draw(self, views: Sequence[View], clock: float | None = None) -> None:
        """Draw views beside each other, ``clock`` seconds into their rounds; ``None`` for rounds that are over."""
        for area, view in self._panels(views):
            draw_panel(self.canvas, area, view, clock)
        self._draw_legend(views[0].drawn, animated=clock is not None)


def _swatch(x: float, y: float) -> Cell:
    return Cell(x, y - 5.0, 11.0, 11.0)
