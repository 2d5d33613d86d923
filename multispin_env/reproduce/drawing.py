"""Drawing that all pictures share: colours, panels, legends outside the data; and the page over all figures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from multispin_env.checks import missing_package
from multispin_env.evaluation.table import Cells
from multispin_env.files import replacing
from multispin_env.reproduce.figure import LABELS, FigureSpec, SweepRow

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
)
"""Okabe and Ito's palette, safe for colour-blind readers."""

STYLES = {
    "optimal": (BLUE, "o", "-"),
    "homogeneous": (ORANGE, "s", "-"),
    "uniform-bandwidth": (GREEN, "^", "-"),
    "fixed": (RED, "v", "-"),
    "p2p": (PURPLE, "D", "--"),
    "centralized": (BLACK, "x", "--"),
}
"""Colour, marker and line of each system."""

Style = tuple[str, str, str]
"""Colour, marker and line."""

DPI = 92

SETTINGS: dict[Any, Any] = {"svg.hashsalt": "multispin_env", "font.size": 9.0, "axes.grid": True, "grid.alpha": 0.3}


def draw_lines(axes: Any, styles: Mapping[str, Style], points: Callable[[str], Iterable[tuple[float, float]]]) -> None:
    """A line for each name that has a style, through its points (x, y)."""
    for name, (colour, marker, line) in styles.items():
        pairs = sorted(points(name))
        x, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        axes.plot(x, y, color=colour, marker=marker, linestyle=line, markersize=4, linewidth=1.3, label=name)


def check_matplotlib() -> None:
    """``ModuleNotFoundError`` that names the extra, where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise missing_package("matplotlib", "render") from error


def save(spec: FigureSpec, rows: Sequence[Any], stem: Path, kinds: Sequence[str] = (".png", ".svg")) -> None:
    """Draw the rows to ``stem.png`` and ``stem.svg``, or one of them; neither holds a date."""
    check_matplotlib()
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(SETTINGS):
        figure = Figure(figsize=spec.size, dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        spec.draw(rows, figure)
        for kind in kinds:
            with replacing(Path(f"{stem}{kind}")) as file:
                figure.savefig(file, metadata={"Date": None} if kind == ".svg" else None)


def legend_below(figure: Any, axes: Any, columns: int) -> None:
    """Legend of one panel below all of them, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def draw_sweep(rows: Sequence[SweepRow], figure: Any, position: Callable[[SweepRow], float], label: str) -> Any:
    """Goodput against one setting: a panel for each preset, a line with its 95 % band for each system."""
    presets = list(dict.fromkeys(row.preset for row in rows))
    panels = figure.subplots(1, len(presets), squeeze=False)[0]
    for axes, preset in zip(panels, presets, strict=True):
        for system, text in LABELS.items():
            points = [row for row in rows if row.preset == preset and row.system == system]
            colour, marker, line = STYLES[system]
            x = [position(row) for row in points]
            axes.fill_between(x, [row.low for row in points], [row.high for row in points], color=colour, alpha=0.25)
            goodputs = [row.goodput for row in points]
            axes.plot(x, goodputs, color=colour, marker=marker, linestyle=line, markersize=4, linewidth=1.3, label=text)
        axes.set_title(preset)
        axes.set_xlabel(label)
        axes.set_ylabel("goodput (tokens/s)")
        axes.set_ylim(bottom=0.0)
    legend_below(figure, panels[0], len(LABELS))
    return panels


STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
img { max-width: 100%; height: auto; }
figure { margin: 0 0 1rem; }
code { background: #f2f2f2; padding: .1em .3em; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { border: 1px solid #ccc; padding: .3rem .6rem; text-align: left; vertical-align: top; }
"""


class Shown(NamedTuple):
    """A figure on the page."""

    name: str
    spec: FigureSpec
    command: str
    cells: tuple[Cells, list[Cells]] | None


def markdown_table(header: Cells, lines: Sequence[Cells]) -> str:
    """Strings as a Markdown table of texts."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ("---",) * len(header), *lines))


def html_table(header: Cells, lines: Sequence[Cells]) -> str:
    """Strings as an HTML table."""

    def row(tag: str, cells: Cells) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return "\n".join(["<table>", row("th", header), *(row("td", line) for line in lines), "</table>"])


def _section(shown: Shown) -> str:
    name, title, caption = shown.name, escape(shown.spec.title), escape(shown.spec.caption)
    parts = [
        f'<h2 id="{name}">{title}</h2>',
        f'<figure><img src="{name}.png" alt="{title}"><figcaption>{caption}</figcaption></figure>',
    ]
    if shown.cells is not None:
        parts.append(html_table(*shown.cells))
    files = ", ".join(f'<a href="{name}.{suffix}">{suffix.upper()}</a>' for suffix in ("csv", "svg", "png"))
    parts.append(f"<p>{files}: <code>{escape(shown.command)}</code></p>")
    return "\n".join(parts)


def render_page(title: str, about: str, shown: Sequence[Shown]) -> str:
    """Return the page: a heading, what was run, then the figures in order."""
    links = " · ".join(f'<a href="#{one.name}">{escape(one.name)}</a>' for one in shown)
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    body = f"<h1>{escape(title)}</h1>\n<p>{escape(about)}</p>\n<p>{links}</p>\n" + "\n".join(map(_section, shown))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
