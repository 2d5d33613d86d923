"""Tables as text, CSV, JSON and Markdown."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Cells = tuple[str, ...]
"""One line of a table, as short strings."""


def _content(row: "DataclassInstance") -> dict[str, Any]:
    to_dict = getattr(row, "to_dict", None)
    return asdict(row) if to_dict is None else to_dict()


def to_json(rows: "Sequence[DataclassInstance]", about: Mapping[str, Any]) -> str:
    """JSON text with what the table is about beside its rows, which are dataclasses."""
    return json.dumps({"about": dict(about), "rows": list(map(_content, rows))}, indent=2, ensure_ascii=False)


def to_csv(rows: "Sequence[DataclassInstance]") -> str:
    """CSV text with a header; the rows are dataclasses of one class, at least one, and of no nested fields."""
    text = io.StringIO()
    contents = list(map(_content, rows))
    writer = csv.DictWriter(text, list(contents[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(contents)
    return text.getvalue()


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
