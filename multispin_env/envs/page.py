"""The page of an environment: its docstring, with a table of its observation that is made from the entries."""

from collections.abc import Mapping, Sequence
from inspect import cleandoc
from typing import Any
from unicodedata import combining

from gymnasium import spaces

from multispin_env.envs.observations import SHARED, Entry, ObservationCodec, Shared

MARK = "{observation}"
"""Where the docstring of an environment wants the table."""

HEAD = ("entry", "shape", "value", "meaning", "unit before scaling", "min", "max")


def page(docstring: str | None, codec: ObservationCodec, arguments: Mapping[str, str]) -> str:
    """Return the docstring of a variant, with the table of its entries in the place of `MARK`.

    The codec shows every entry, and ``arguments`` says which argument does; empty for those that are always there.
    """
    space = codec.space
    words: dict[str, Entry | Shared] = {**codec.entries, SHARED: codec.shared}
    rows = (_line(key, entry, space[key], arguments.get(key, "")) for key, entry in words.items())
    return cleandoc(docstring or "").replace(MARK, _aligned([HEAD, *rows]))


def _line(key: str, entry: Entry | Shared, box: spaces.Space[Any], argument: str) -> tuple[str, ...]:
    assert isinstance(box, spaces.Box)
    meaning = entry.meaning + (f" (`{argument}`)" if argument else "")
    bounds = (f"{bound:.3g}" for bound in (box.low.min(), box.high.max()))
    return (f"`{key}`", entry.shape, entry.symbol, meaning, entry.unit, *bounds)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, so that the table can be read as it is."""
    widths = [max(_width(cell) for cell in column) for column in zip(*lines, strict=True)]
    rows = [[cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)] for line in lines]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _width(text: str) -> int:
    """Letters as they are seen: the bar of T̄ takes no place of its own."""
    return sum(not combining(letter) for letter in text)
