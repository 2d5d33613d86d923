"""Parts that views draw with: cards, tables, bars."""

from collections.abc import Iterable, Mapping, Sequence

from multispin_env.envs.rendering import style
from multispin_env.envs.rendering.canvas import Colour
from multispin_env.explore.markup import Child, Markup, element


def _web(colour: Colour) -> str:
    return f"rgb({','.join(map(str, colour))})"


DRAFTING, UPLOADING, WAITING, VERIFYING = map(_web, (style.DRAFTING, style.UPLOADING, style.WAITING, style.VERIFYING))
"""As in the films of ``multispin watch``."""

MORE, LESS, INK, FAINT = map(_web, (style.ACCEPTED, style.REFUSED, style.INK, style.FAINT))

LINES = tuple(map(_web, (style.DRAFTING, style.UPLOADING, style.VERIFYING, style.REFUSED, style.INK)))
"""Colours of lines, which colour-blind readers tell apart."""


def card(title: str, *children: Child, about: str = "", wide: bool = False) -> Markup:
    """A part of a page, with a heading and a sentence that says what is in it; a wide one has a row to itself."""
    said = element("p", about, class_="about") if about else None
    return element("section", element("h2", title), said, *children, class_="card wide" if wide else "card")


def numbers(entries: Mapping[str, str]) -> Markup:
    """Few numbers in large letters, by what they are."""
    pairs = [
        element("div", element("dt", name), element("dd", value, data_number=name)) for name, value in entries.items()
    ]
    return element("dl", pairs, class_="numbers")


def cell_table(name: str, header: Sequence[str], rows: Iterable[Sequence[Child]]) -> Markup:
    """A table; a cell is a text, or a whole ``td``."""
    head = element("thead", element("tr", [element("th", title, scope="col") for title in header]))
    lines = [element("tr", [cell if isinstance(cell, Markup) else element("td", cell) for cell in row]) for row in rows]
    return element("table", head, element("tbody", lines), class_="cells", data_table=name)


def scrolling(child: Markup) -> Markup:
    """What may be wider than its card, which then scrolls alone."""
    return element("div", child, class_="scrolls", tabindex=0)


def legend(entries: Mapping[str, str]) -> Markup:
    """Colours by what they stand for."""
    marks = [
        element("li", element("span", class_="mark", style=f"background:{colour}"), name)
        for name, colour in entries.items()
    ]
    return element("ul", marks, class_="legend")


def stacked_bars(label: str, parts: Iterable[tuple[float, str, str]], said: str) -> Markup:
    """One line of stacked bars: shares of the width, colours, texts of the bars."""
    bars = [
        element("span", style=f"width:{100.0 * share:.3f}%;background:{colour}", title=text)
        for share, colour, text in parts
    ]
    whole = element("span", bars, class_="bars", role="img", aria_label=said)
    return element("div", element("span", label), whole, class_="line")


def signed(label: str, share: float, said: str) -> Markup:
    """One line with a bar to the right for more, or to the left for less; ``share`` is in [-1, 1]."""
    width = 50.0 * abs(share)
    start, colour = (50.0, MORE) if share >= 0.0 else (50.0 - width, LESS)
    bar = element("span", style=f"width:{width:.3f}%;margin-left:{start:.3f}%;background:{colour}")
    return element(
        "div",
        element("span", label),
        element("span", bar, class_="bars middle", aria_hidden="true"),
        element("span", said, class_="amount"),
        class_="line",
    )
