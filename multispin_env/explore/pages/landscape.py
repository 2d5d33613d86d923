"""Landscape as a page."""

from multispin_env.explore.landscape import (
    BUDGETS,
    MAP_BUDGETS,
    MAP_USERS,
    PLOTTED,
    USERS,
    CurvePoints,
    LandscapeNumbers,
    LandscapeSettings,
    PayCell,
    as_command,
    as_python,
    compute,
)
from multispin_env.explore.markup import Markup, element, fragment
from multispin_env.explore.pages.charts import line_chart
from multispin_env.explore.pages.parts import card, cell_table, legend, numbers, scrolling
from multispin_env.explore.view import PageView
from multispin_env.reproduce.pays import NAMES
from multispin_env.units import MHZ

COLOURS = {
    "pays over a server that drafts for all": "rgb(86,180,233)",
    "pays over the server alone": "rgb(240,228,66)",
    "does not pay": "rgb(230,159,0)",
}
"""Sky, yellow and orange of Okabe and Ito's palette, under black letters."""

SAME = 1e-6
"""Part of a goodput that counts as rounding."""


def draw(settings: LandscapeSettings, found: LandscapeNumbers) -> Markup:
    """Cards of the page."""
    means = f"Means over {settings.states} random states; the dots are the present point."
    here = {name: f"{value:.2f} tokens/s" for name, value in found.here.items()}
    return fragment(
        [
            card("Here", numbers(here), about=means, wide=True),
            card("Over the draft length", _over_length(found)),
            card("Over bandwidth", _over(found.by_bandwidth, BUDGETS, settings.megahertz, "bandwidth B (MHz)", found)),
            card("Over devices", _over(found.by_users, USERS, settings.num_users, "devices K", found)),
            card("Does it pay?", _map(settings, found), about=_about(found)),
        ]
    )


def _over_length(found: LandscapeNumbers) -> Markup:
    one, optimal = "one length for all, best bandwidth", "each device its own: optimal"
    points = list(zip(map(float, found.lengths), found.by_length, strict=True))
    best = max(points, key=lambda point: point[1])
    level = [(points[0][0], found.here["optimal"]), (points[-1][0], found.here["optimal"])]
    said = f"The best common length is {best[0]:.0f}, with {best[1]:.2f} tokens/s."
    lines = {one: points, optimal: level}
    return line_chart("goodput over the common draft length", lines, "draft length L", "tokens/s", {one: best}, said)


def _over(curve: CurvePoints, places: tuple[float, ...], present: float, title: str, found: LandscapeNumbers) -> Markup:
    """Lines of all controllers, which pass through the present point."""
    lines = {
        name: sorted({*zip(map(float, places), curve[name], strict=True), (float(present), found.here[name])})
        for name in PLOTTED
    }
    marks = {name: (float(present), found.here[name]) for name in PLOTTED}
    return line_chart(f"goodput over {title}", lines, title, "tokens/s", marks)


def _about(found: LandscapeNumbers) -> str:
    return (
        f"Tokens/s of Multi-SPIN on {found.scenario.label}, with draft lengths from 0: over those of the server alone, "
        "and, below, over those of a server that has both models and drafts for all. The frame is the nearest to the "
        "present point."
    )


def _map(settings: LandscapeSettings, found: LandscapeNumbers) -> Markup:
    nearest = (
        min(MAP_USERS, key=lambda users: abs(users - settings.num_users)),
        min(MAP_BUDGETS, key=lambda megahertz: abs(megahertz - found.scenario.total_bandwidth / MHZ)),
    )
    rows = []
    for users in MAP_USERS:
        cells = [
            _pay_cell(cell, (cell.num_users, cell.megahertz) == nearest)
            for cell in found.pay
            if cell.num_users == users
        ]
        rows.append((str(users), *cells))
    header = ("K, MHz", *(f"{megahertz:g}" for megahertz in MAP_BUDGETS))
    return element("div", legend(COLOURS), scrolling(cell_table("pay", header, rows)), class_="map")


def _pay_cell(cell: PayCell, present: bool) -> Markup:
    both, alone, nothing = COLOURS.values()
    colour = both if cell.winner == "multi-spin" else alone if cell.over_alone > 1.0 + SAME else nothing
    frame = ";outline:3px solid #222;outline-offset:-3px" if present else ""
    shown = [f"{cell.over_alone:.2f}", element("br"), f"{cell.over_colocated:.2f}"]
    return element("td", shown, style=f"background:{colour}{frame}", title=f"best: {NAMES[cell.winner]}")


VIEW = PageView(
    title="Landscape",
    about="Goodput around the present point: where it grows, where it stays, and where drafting at the edge pays.",
    settings=LandscapeSettings,
    start=LandscapeSettings.start,
    compute=compute,
    draw=draw,
    as_python=as_python,
    as_command=as_command,
)
