"""Charts of lines as SVG, drawn for the width of a phone: larger screens enlarge them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import ceil, floor, log10

from multispin_env.explore.markup import Markup, element
from multispin_env.explore.pages.parts import FAINT, INK, LINES

WIDTH, HEIGHT = 400.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 12.0, 26.0, 40.0
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4")
"""Of lines, so that colour is not all that tells them apart."""

Points = Sequence[tuple[float, float]]


def line_chart(
    name: str, lines: Mapping[str, Points], x: str, y: str, marks: Mapping[str, tuple[float, float]], below: str = ""
) -> Markup:
    """Lines over one axis; both axes begin at 0.

    Parameters
    ----------
    name
        What the chart is, for who cannot see it.
    lines
        Points of each line, by its name; a line of two points is drawn as a level.
    x, y
        Titles of the axes.
    marks
        Points that are marked, with the name of their line.
    below
        A sentence under the chart.
    """
    points = [point for line in lines.values() for point in line] + list(marks.values())
    width = max(one for one, _ in points)
    most = max(value for _, value in points)
    step = _ceiling(most / 4.0)
    top = step * ceil(most / step)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return LEFT + point[0] / width * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - point[1] / top * (
            HEIGHT - TOP - BOTTOM
        )

    parts = [*_y_axis(top, step, y), *_x_axis(width, x, place)]
    for (title, line), colour, dash in zip(lines.items(), LINES, DASHES, strict=False):
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up in map(place, line))
        parts.append(
            element("polyline", points=path, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dash or None)
        )
        if title in marks:
            across, up = place(marks[title])
            parts.append(element("circle", cx=f"{across:.1f}", cy=f"{up:.1f}", r=5, fill=colour, stroke=INK))
    drawn = element("svg", *parts, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", class_="chart", role="img", aria_label=name)
    return element("figure", _legend(lines), drawn, element("figcaption", below, class_="about") if below else None)


def _ceiling(value: float) -> float:
    """The least of 1, 2 and 5 times a power of ten that is not less."""
    unit = 10.0 ** floor(log10(value)) if value > 0.0 else 1.0
    return next(unit * times for times in (1.0, 2.0, 5.0, 10.0) if unit * times >= value * (1.0 - 1e-9))


def _y_axis(top: float, step: float, title: str) -> list[Markup]:
    parts = []
    for number in range(round(top / step) + 1):
        up = HEIGHT - BOTTOM - number * step / top * (HEIGHT - TOP - BOTTOM)
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=up, y2=up, stroke=FAINT))
        parts.append(element("text", f"{number * step:g}", x=LEFT - 5, y=up + 4, text_anchor="end"))
    parts.append(element("text", title, x=4, y=TOP - 14))
    return parts


def _x_axis(width: float, title: str, place: Callable[[tuple[float, float]], tuple[float, float]]) -> list[Markup]:
    parts = []
    step = _ceiling(width / 6.0)
    for number in range(int(width / step) + 1):
        across, up = place((number * step, 0.0))
        parts.append(element("text", f"{number * step:g}", x=f"{across:.1f}", y=up + 16, text_anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2.0
    parts.append(element("text", title, x=middle, y=HEIGHT - 6, text_anchor="middle"))
    return parts


def _legend(names: Iterable[str]) -> Markup:
    """Names with a piece of their line."""
    entries = []
    for title, colour, dash in zip(names, LINES, DASHES, strict=False):
        line = element("line", x2=26, y1=5, y2=5, stroke=colour, stroke_width=3, stroke_dasharray=dash or None)
        entries.append(element("li", element("svg", line, width=30, height=10, aria_hidden="true"), title))
    return element("ul", entries, class_="legend")
