"""Tables and files for standard output: by rich on a terminal, the same plain text everywhere else."""

import sys
from collections.abc import Sequence
from pathlib import Path

from multispin_env.evaluation.table import Cells, aligned
from multispin_env.files import write_text

STDOUT = Path("-")
"""Stands for standard output where the name of a file may stand."""

BEST = "bold green"
"""Style of the best row; rich leaves out the colour where ``NO_COLOR`` is set."""


def show_table(header: Cells, lines: Sequence[Cells], best: int | None = None) -> None:
    """Print a table whose first column is a name and whose others are numbers.

    On a terminal that is wide enough, with rich installed, the best row is highlighted. Piped, or without rich, the
    text is that of `aligned`, to the byte.

    Parameters
    ----------
    header, lines
        Titles of the columns, and the rows.
    best
        Index of the row to highlight.
    """
    if not (sys.stdout.isatty() and _show_rich(header, lines, best)):
        print(aligned(header, lines))


def _show_rich(header: Cells, lines: Sequence[Cells], best: int | None) -> bool:
    """Print by rich; ``False`` if it is not installed, or would have to cut numbers off."""
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, title in enumerate(header):
        table.add_column(Text(title), justify="right" if index else "left", no_wrap=True)
    for index, line in enumerate(lines):
        table.add_row(*map(Text, line), style=BEST if index == best else None)
    console = Console()
    if console.measure(table, options=console.options.update(width=10_000)).minimum > console.width:
        return False
    console.print(table)
    return True


def check_outputs(*files: Path | None) -> None:
    """``ValueError`` unless each is a file in a folder that exists, or `STDOUT`, which only one may be."""
    for file in files:
        if file not in (None, STDOUT) and (file.is_dir() or not file.resolve().parent.is_dir()):
            raise ValueError(f"file: expected a file in a folder that exists, got {str(file)!r}")
    if sum(file == STDOUT for file in files) > 1:
        raise ValueError("file: expected standard output ('-') once, got it twice")


def write_output(text: str, file: Path) -> None:
    """Write text to a file, or to standard output."""
    if file == STDOUT:
        sys.stdout.write(text)
    else:
        write_text(file, text)
