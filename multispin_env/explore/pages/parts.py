"""Parts that views draw with: colours, cards, tables, bars, charts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dash import dcc, html

from multispin_env.reproduce.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY

GREY = "#d0d0d0"

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
"""Okabe and Ito's palette, which colour-blind readers tell apart."""

DRAFTING, UPLOADING, WAITING, VERIFYING = BLUE, ORANGE, GREY, GREEN
"""As in the films of `multispin watch`."""


def element(kind: Any, children: Any, attributes: Mapping[str, str], **properties: Any) -> Any:
    """A component with attributes whose names, as ``data-cell``, are none of Python."""
    return kind(children, **properties, **attributes)


def card(title: str, *children: Any, about: str = "") -> Any:
    """A part of a page, with a heading and a sentence that says what is in it."""
    said = [html.P(about, className="about")] if about else []
    return html.Section([html.H2(title), *said, *children], className="card")


def numbers(entries: Mapping[str, str]) -> Any:
    """Few numbers in large letters, by what they are."""
    return html.Dl(
        [html.Div([html.Dt(name), element(html.Dd, value, {"data-number": name})]) for name, value in entries.items()],
        className="numbers",
    )


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], name: str = "") -> Any:
    """A table; a cell is a text, or a component of its own."""
    head = html.Thead(html.Tr([html.Th(title, scope="col") for title in header]))
    lines = [html.Tr([cell if hasattr(cell, "to_plotly_json") else html.Td(cell) for cell in row]) for row in rows]
    return element(html.Table, [head, html.Tbody(lines)], {"data-table": name}, className="cells")


def legend(entries: Mapping[str, str]) -> Any:
    """Colours by what they stand for."""
    marks = [
        html.Li([html.Span(className="mark", style={"backgroundColor": colour}), name])
        for name, colour in entries.items()
    ]
    return html.Ul(marks, className="legend")


def stacked(label: str, parts: Iterable[tuple[float, str, str]], said: str) -> Any:
    """One line of stacked bars: shares of the width, colours, texts of the bars."""
    bars = [
        html.Div(style={"width": f"{100.0 * share:.3f}%", "backgroundColor": colour}, title=text)
        for share, colour, text in parts
    ]
    return html.Div(
        [
            html.Span(label, className="label"),
            element(html.Div, bars, {"aria-label": said}, className="bars", role="img"),
        ],
        className="line",
    )


def signed(label: str, share: float, said: str) -> Any:
    """One line with a bar to the right for more, or to the left for less; ``share`` is in [-1, 1]."""
    width = 50.0 * abs(share)
    style = {
        "width": f"{width:.3f}%",
        "marginLeft": f"{50.0 if share >= 0.0 else 50.0 - width:.3f}%",
        "backgroundColor": BLUE if share >= 0.0 else RED,
    }
    return html.Div(
        [
            html.Span(label, className="label"),
            html.Div(html.Div(style=style), className="bars middle"),
            html.Span(said, className="said"),
        ],
        className="line",
    )


def chart(name: str, traces: list[dict[str, Any]], x: str, y: str, height: int = 260, **layout: Any) -> Any:
    """A chart of Plotly from plain data."""
    figure = {
        "data": traces,
        "layout": {
            "margin": {"l": 52, "r": 12, "t": 8, "b": 44},
            "height": height,
            "xaxis": {"title": {"text": x}, "automargin": True},
            "yaxis": {"title": {"text": y}, "rangemode": "tozero", "automargin": True},
            "legend": {"orientation": "h", "y": -0.28},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": COLOURS,
            **layout,
        },
    }
    return dcc.Graph(
        id={"type": "chart", "name": name}, figure=figure, config={"displayModeBar": False}, responsive=True
    )
