"""Specification of a figure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from multispin_env.evaluation.table import Cells
from multispin_env.reproduce.scale import Scale

PRESETS: tuple[str, ...] = ("llama2", "qwen3.5")
"""The model pairs of the paper, in the order of its figures."""


@dataclass(frozen=True)
class FigureSpec:
    """One figure: a table, a picture of it, and a sentence under it.

    Parameters
    ----------
    title
        Heading.
    caption
        What is to be seen, in a sentence or two.
    compute
        Rows, dataclasses of one class that hold texts and numbers only; everything random follows from the scale.
    draw
        Draws the rows on an empty matplotlib figure.
    size
        Width and height in inches.
    cells
        Header and lines of a table to show under the picture, if there is one.
    printed
        How many of its columns the terminal shows too; ``None`` for all.
    """

    title: str
    caption: str
    compute: Callable[[Scale], list[Any]]
    draw: Callable[[Sequence[Any], Any], None]
    size: tuple[float, float] = (9.0, 4.2)
    cells: Callable[[Sequence[Any]], tuple[Cells, list[Cells]]] | None = None
    printed: int | None = None
