"""Places of the parts of a picture."""

from typing import NamedTuple

HEADER, AXIS, HEADING, LABELS = 44.0, 22.0, 36.0, 24.0
"""Heights of the title and the headings, of the time axis, of headings below it; width of the devices' numbers."""


class Area(NamedTuple):
    """A rectangle in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """x of its right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """y of its lower edge."""
        return self.y + self.height


class Layout(NamedTuple):
    """Where the parts of a panel are."""

    times: Area
    tokens: Area
    bandwidth: Area
    goodput: Area

    @classmethod
    def of(cls, area: Area) -> "Layout":
        """Divide the area of a panel."""
        rows = 0.6 * (area.height - HEADER - AXIS - HEADING)
        beside = min(0.42 * area.width, 240.0)
        times = Area(area.x + LABELS, area.y + HEADER, area.width - beside - LABELS - 12.0, rows)
        left = times.right + 12.0
        below = times.bottom + AXIS + HEADING
        height = area.bottom - below - 16.0
        middle = area.x + 0.48 * area.width
        return cls(
            times,
            Area(left, times.y, area.right - left, rows),
            Area(times.x, below, middle - times.x - 20.0, height),
            Area(middle + 16.0, below, area.right - middle - 16.0, height),
        )
