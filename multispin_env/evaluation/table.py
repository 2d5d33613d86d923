"""Scores to a table, and the table to text, CSV, JSON and Markdown."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_name
from multispin_env.evaluation.statistics import mean_interval

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Cells = tuple[str, ...]
"""One line of a table, as short strings."""


@dataclass(frozen=True)
class Row:
    """One decider on the common states."""

    name: str
    goodput: float  # mean, tokens/s
    goodput_low: float  # 95 % interval
    goodput_high: float
    share: float  # mean goodput over the reference's mean goodput
    difference: float  # mean of goodput − the reference's goodput on the same state, tokens/s
    difference_low: float
    difference_high: float


def make_table(scores: Mapping[str, FloatArray], reference: str = "optimal") -> list[Row]:
    """Compare goodputs (n,) on the same n states with a reference among them, best first.

    Raises
    ------
    ValueError
        If the reference is not among the scores.
    """
    check_name("reference", reference, scores)
    rows = [_row(name, values, scores[reference]) for name, values in scores.items()]
    # equal but for rounding: the reference first
    return sorted(rows, key=lambda row: (-round(row.goodput, 9), row.name != reference))


def _row(name: str, values: FloatArray, reference: FloatArray) -> Row:
    goodput = mean_interval(values)
    difference = mean_interval(values - reference)
    return Row(name, *goodput, goodput.mean / float(reference.mean()), *difference)


def to_json(rows: "Sequence[DataclassInstance]", about: Mapping[str, Any]) -> str:
    """JSON text with what the table is about beside its rows, which are dataclasses."""
    return json.dumps({"about": dict(about), "rows": [asdict(row) for row in rows]}, indent=2, ensure_ascii=False)


def to_csv(rows: "Sequence[DataclassInstance]") -> str:
    """CSV text with a header; the rows are dataclasses of one class, at least one, and of no nested fields."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(rows[0])], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


HEADER = ("decided by", "goodput (tokens/s)", "95 % interval", "of optimum", "minus optimum", "95 % interval")


def cells(rows: list[Row]) -> list[tuple[str, ...]]:
    """Rows as short strings under `HEADER`."""
    return [
        (
            row.name,
            f"{row.goodput:.2f}",
            f"{row.goodput_low:.2f} to {row.goodput_high:.2f}",
            f"{row.share:.4f}",
            f"{row.difference:+.2f}",
            f"{row.difference_low:+.2f} to {row.difference_high:+.2f}",
        )
        for row in rows
    ]


def to_markdown(rows: list[Row]) -> str:
    """Markdown table."""
    return markdown(HEADER, cells(rows))


def to_text(rows: list[Row]) -> str:
    """Aligned plain text."""
    return aligned(HEADER, cells(rows))


def markdown(header: Cells, lines: Sequence[Cells]) -> str:
    """Markdown table of strings; the first column is a name, the others are numbers."""
    rule = ("---", *["---:"] * (len(header) - 1))
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def aligned(header: Cells, lines: Sequence[Cells]) -> str:
    """Plain text in columns; the first is a name, the others are numbers."""
    widths = [max(len(line[column]) for line in (header, *lines)) for column in range(len(header))]

    def padded(line: Cells) -> str:
        numbers = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        return "  ".join([line[0].ljust(widths[0]), *numbers]).rstrip()

    return "\n".join([padded(header), "  ".join("-" * width for width in widths), *map(padded, lines)])
