"""HTML elements with escaped text, and the cards, tables, bars and charts of the views."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from math import ceil, floor, log10
from typing import Any

from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Colour


class Markup(str):
    """HTML text, which is not escaped again."""

    __slots__ = ()


_Child = Any  # markup, text, a number, or a list of these; ``None`` is nothing


def element(tag: str, *children: _Child, **attributes: Any) -> Markup:
    """Return an element; text that is not `Markup` is escaped.

    A trailing underscore of an attribute's name is dropped (``class_``) and others become hyphens (``data_cell``).
    ``True`` gives an attribute without a value; ``None`` and ``False`` give no attribute.
    """
    words = [tag]
    for name, value in attributes.items():
        key = name.removesuffix("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{escape(str(value))}"')
    start = f"<{' '.join(words)}>"
    return Markup(start if tag in ("br", "input", "link", "meta") else f"{start}{fragment(children)}</{tag}>")


def fragment(children: Iterable[_Child]) -> Markup:
    """Concatenate children."""
    return Markup("".join(map(_text, children)))


def _text(child: _Child) -> str:
    if isinstance(child, Markup):
        return child
    if child is None:
        return ""
    return fragment(child) if isinstance(child, list | tuple) else escape(str(child))


def _web(colour: Colour) -> str:
    return f"rgb({','.join(map(str, colour))})"


DRAFTING, UPLOADING, WAITING, VERIFYING = map(_web, (style.DRAFTING, style.UPLOADING, style.WAITING, style.VERIFYING))
"""Colours of the films of ``multispin watch``."""

_MORE, _LESS, _INK, _FAINT = map(_web, (style.ACCEPTED, style.REFUSED, style.INK, style.FAINT))

_LINES = tuple(map(_web, (style.DRAFTING, style.UPLOADING, style.VERIFYING, style.REFUSED, style.INK)))
"""Colours of lines, safe for colour-blind readers."""


def card(title: str, *children: _Child, about: str = "", wide: bool = False) -> Markup:
    """Return a section with a heading and a description; a wide one takes a whole row."""
    description = element("p", about, class_="about") if about else None
    return element("section", element("h2", title), description, *children, class_="card wide" if wide else "card")


def numbers(entries: Mapping[str, str]) -> Markup:
    """Return a list of labelled numbers in large letters."""
    pairs = [
        element("div", element("dt", name), element("dd", value, data_number=name)) for name, value in entries.items()
    ]
    return element("dl", pairs, class_="numbers")


def cell_table(name: str, header: Sequence[str], rows: Iterable[Sequence[_Child]]) -> Markup:
    """Return a table; a cell is text or a ``td`` element."""
    head = element("thead", element("tr", [element("th", title, scope="col") for title in header]))
    lines = [element("tr", [cell if isinstance(cell, Markup) else element("td", cell) for cell in row]) for row in rows]
    return element("table", head, element("tbody", lines), class_="cells", data_table=name)


def scroll_box(child: Markup) -> Markup:
    """Return a box that scrolls if the child is wider than its card."""
    return element("div", child, class_="scrolls", tabindex=0)


def legend(entries: Mapping[str, str]) -> Markup:
    """Return a legend of names and their colours."""
    marks = [
        element("li", element("span", class_="mark", style=f"background:{colour}"), name)
        for name, colour in entries.items()
    ]
    return element("ul", marks, class_="legend")


def stacked_bars(label: str, parts: Iterable[tuple[float, str, str]], description: str) -> Markup:
    """Return a row of stacked bars from (share of the width, colour, tooltip) of each."""
    bars = [
        element("span", style=f"width:{100.0 * share:.3f}%;background:{colour}", title=text)
        for share, colour, text in parts
    ]
    whole = element("span", bars, class_="bars", role="img", aria_label=description)
    return element("div", element("span", label), whole, class_="line")


def signed_bar(label: str, share: float, description: str) -> Markup:
    """Return a row with a bar to the right (gain) or left (loss); ``share`` is in [-1, 1]."""
    width = 50.0 * abs(share)
    start, colour = (50.0, _MORE) if share >= 0.0 else (50.0 - width, _LESS)
    bar = element("span", style=f"width:{width:.3f}%;margin-left:{start:.3f}%;background:{colour}")
    return element(
        "div",
        element("span", label),
        element("span", bar, class_="bars middle", aria_hidden="true"),
        element("span", description, class_="amount"),
        class_="line",
    )


_WIDTH, _HEIGHT = 400.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 12.0, 26.0, 40.0
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4")  # so that lines differ in more than colour

_Points = Sequence[tuple[float, float]]


def line_chart(
    name: str, lines: Mapping[str, _Points], x: str, y: str, marks: Mapping[str, tuple[float, float]], below: str = ""
) -> Markup:
    """Return a chart of named lines with axes from 0, marked points and a caption ``below``.

    ``name`` is the text for screen readers; ``x`` and ``y`` are the titles of the axes.
    """
    points = [point for line in lines.values() for point in line] + list(marks.values())
    width, largest = (max(values) for values in zip(*points, strict=True))
    step = _ceiling(largest / 4.0)
    top = step * ceil(largest / step)

    def position(point: tuple[float, float]) -> tuple[float, float]:
        across = _LEFT + point[0] / width * (_WIDTH - _LEFT - _RIGHT)
        return across, _HEIGHT - _BOTTOM - point[1] / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = _axes(top, step, width, position)
    parts.append(element("text", y, x=4, y=_TOP - 14))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2.0
    parts.append(element("text", x, x=middle, y=_HEIGHT - 6, text_anchor="middle"))
    for (title, line), colour, dash in zip(lines.items(), _LINES, _DASHES, strict=False):
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up in map(position, line))
        parts.append(
            element("polyline", points=path, fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dash or None)
        )
        if title in marks:
            across, up = position(marks[title])
            parts.append(element("circle", cx=f"{across:.1f}", cy=f"{up:.1f}", r=5, fill=colour, stroke=_INK))
    drawn = element("svg", *parts, viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}", class_="chart", role="img", aria_label=name)
    return element("figure", _legend(lines), drawn, element("figcaption", below, class_="about") if below else None)


def _ceiling(value: float) -> float:
    """Round up to 1, 2 or 5 times a power of ten."""
    unit = 10.0 ** floor(log10(value)) if value > 0.0 else 1.0
    return next(unit * times for times in (1.0, 2.0, 5.0, 10.0) if unit * times >= value * (1.0 - 1e-9))


def _axes(
    top: float, step: float, width: float, position: Callable[[tuple[float, float]], tuple[float, float]]
) -> list[Markup]:
    parts = []
    for value in (number * step for number in range(round(top / step) + 1)):
        up = position((0.0, value))[1]
        parts.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=up, y2=up, stroke=_FAINT))
        parts.append(element("text", f"{value:g}", x=_LEFT - 5, y=up + 4, text_anchor="end"))
    step = _ceiling(width / 6.0)
    for value in (number * step for number in range(int(width / step) + 1)):
        across, up = position((value, 0.0))
        parts.append(element("text", f"{value:g}", x=f"{across:.1f}", y=up + 16, text_anchor="middle"))
    return parts


def _legend(names: Iterable[str]) -> Markup:
    entries = []
    for title, colour, dash in zip(names, _LINES, _DASHES, strict=False):
        line = element("line", x2=26, y1=5, y2=5, stroke=colour, stroke_width=3, stroke_dasharray=dash or None)
        entries.append(element("li", element("svg", line, width=30, height=10, aria_hidden="true"), title))
    return element("ul", entries, class_="legend")
