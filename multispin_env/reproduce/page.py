"""HTML page over all figures, whose pictures lie beside it; and tables of texts."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from multispin_env.evaluation.table import Cells
from multispin_env.reproduce.figure import FigureSpec

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
