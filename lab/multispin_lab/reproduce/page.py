"""HTML page of all figures."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from multispin_env.evaluation.statistics import Cells
from multispin_lab.reproduce.figure import FigureSpec

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
img { max-width: 100%; height: auto; }
figure { margin: 0 0 1rem; }
code { background: #f2f2f2; padding: 0.1em 0.3em; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { border: 1px solid #ccc; padding: 0.3rem 0.6rem; text-align: left; vertical-align: top; }
"""


class PageFigure(NamedTuple):
    """Figure of the page."""

    name: str
    spec: FigureSpec
    command: str
    cells: tuple[Cells, list[Cells]] | None


def markdown_table(header: Cells, lines: Sequence[Cells]) -> str:
    """Return a Markdown table."""
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, ("---",) * len(header), *lines))


def _html_table(header: Cells, lines: Sequence[Cells]) -> str:
    cells = [("th", header), *(("td", line) for line in lines)]
    rows = ("<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in line) + "</tr>" for tag, line in cells)
    return "\n".join(["<table>", *rows, "</table>"])


def _section(entry: PageFigure) -> str:
    name, title, caption = entry.name, escape(entry.spec.title), escape(entry.spec.caption)
    table = "" if entry.cells is None else f"{_html_table(*entry.cells)}\n"
    files = ", ".join(f'<a href="{name}.{suffix}">{suffix.upper()}</a>' for suffix in ("csv", "svg", "png"))
    return f"""<h2 id="{name}">{title}</h2>
<figure><img src="{name}.png" alt="{title}"><figcaption>{caption}</figcaption></figure>
{table}<p>{files}: <code>{escape(entry.command)}</code></p>"""


def render_page(title: str, about: str, figures: Sequence[PageFigure]) -> str:
    """Return the HTML page with a heading, a paragraph on the run, and the figures in order."""
    links = " · ".join(f'<a href="#{entry.name}">{escape(entry.name)}</a>' for entry in figures)
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    body = f"<h1>{escape(title)}</h1>\n<p>{escape(about)}</p>\n<p>{links}</p>\n" + "\n".join(map(_section, figures))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
