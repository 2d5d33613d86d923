"""Lines of the core, the agents and the lab, by room: ``python -m tools.sizes``."""

import ast
import io
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CORE, AGENTS, LAB = ROOT / "multispin_env", ROOT / "agents" / "multispin_agents", ROOT / "lab" / "multispin_lab"

_LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


class Lines(NamedTuple):
    """Numbers of files and of their lines; each line is of one kind."""

    files: int
    code: int
    docstrings: int  # strings that are statements, also below a constant or a field
    comments: int  # lines with a comment only
    blank: int


def count_lines(source: str) -> Lines:
    """Count the lines of the source text of a module."""
    docstrings, comments, code = set[int](), set[int](), set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _LAYOUT:
            lines = comments if token.type == tokenize.COMMENT else code
            lines.update(range(token.start[0], token.end[0] + 1))
    code -= docstrings
    comments -= code | docstrings
    blank = len(source.splitlines()) - len(code) - len(docstrings) - len(comments)
    return Lines(1, len(code), len(docstrings), len(comments), blank)


def total(parts: Iterable[Lines]) -> Lines:
    """Return the sums of all numbers."""
    return Lines(*map(sum, zip(*parts, strict=True)))


def count_rooms(package: Path) -> dict[str, Lines]:
    """Count the lines of each room of a package: its folders, and its single files together, ``*.py``."""
    rooms: dict[str, list[Lines]] = {}
    for file in sorted(package.rglob("*.py")):
        folder, *inner = file.relative_to(package).parts
        room = f"{package.name}/{f'{folder}/' if inner else '*.py'}"
        rooms.setdefault(room, []).append(count_lines(file.read_text(encoding="utf-8")))
    return {room: total(files) for room, files in rooms.items()}


def sizes() -> dict[str, Lines]:
    """Count the lines of all rooms, and of the core with the agents and all packages together."""
    core, agents, lab = map(count_rooms, (CORE, AGENTS, LAB))
    inner = total((core | agents).values())
    return {**core, **agents, **lab, "core and agents": inner, "core, agents and lab": total([inner, *lab.values()])}


def size_table() -> str:
    """Return the table of `sizes`."""
    cells = [("room", *Lines._fields), *((room, *(f"{number:,}" for number in row)) for room, row in sizes().items())]
    return "\n".join(f"{room:30}" + "".join(f"{cell:>12}" for cell in row) for room, *row in cells)


if __name__ == "__main__":
    print(size_table())
