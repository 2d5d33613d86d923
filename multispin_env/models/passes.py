"""Passes that are to be measured, and the file that keeps each as it is done."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from multispin_env.checks import check_integer, check_name, check_real, shown
from multispin_env.files import MIB, named, parse_json, read_bytes, write_text

VERIFY, DRAFT = "verify", "draft"
"""A pass of the target over a batch; tokens of the draft model, one after the other."""

LARGEST = 4 * MIB
"""Bytes of a file: some hundred thousand passes."""

MARK = "# multispin profile "
"""Begins a file; the setting follows as JSON."""

HEADER = "what,batch,length,seconds"

LONGEST = 1_000_000
"""Texts of a batch, or tokens of a draft."""


class PassCell(NamedTuple):
    """What is measured."""

    what: str
    """`VERIFY` or `DRAFT`."""
    batch: int
    """K, texts."""
    length: int
    """L, drafted tokens of each."""

    @property
    def tokens(self) -> int:
        """n of a verification: the drafted tokens, and one more position of each text."""
        return self.batch * (self.length + 1)


Setting = Mapping[str, str | int]
"""All that the time of a cell depends on, by name."""


class Passes:
    """Seconds of measured passes, in a CSV file with a line for each.

    Parameters
    ----------
    path
        The file. One of the same setting is continued; half a line, which a killed process leaves, is cut off.
    setting
        Of the passes.

    Raises
    ------
    ValueError
        For a file of another setting or with anything else in it, which is left as it is.
    OSError
        If it can't be read or written.
    """

    def __init__(self, path: Path, setting: Setting) -> None:
        self.path = path
        self.seconds: dict[PassCell, list[float]] = {}
        begin = f"{MARK}{json.dumps(dict(setting))}\n{HEADER}\n"
        try:
            text = read_bytes(path, LARGEST).decode() if path.exists() else ""
        except ValueError as error:
            raise ValueError(f"{path}: can't be read as passes of this command ({error})") from None
        if begin.startswith(text):
            write_text(path, begin)
            return
        first, header, *lines, rest = [*text.split("\n"), "", ""][: max(3, text.count("\n") + 1)]
        self._check_setting(first, setting)
        if header != HEADER:
            raise ValueError(f"{path}, line 2: expected {HEADER!r}, got {shown(header)}")
        self._read(lines)
        if rest:
            with named(path), path.open("r+b") as file:
                file.truncate(len(text.removesuffix(rest).encode()))

    def _read(self, lines: Sequence[str]) -> None:
        for number, line in enumerate(lines, 3):
            try:
                cell, seconds = _pass(line)
            except ValueError as error:
                raise ValueError(f"{self.path}, line {number}: {error}") from None
            self.seconds.setdefault(cell, []).append(seconds)

    def _check_setting(self, line: str, setting: Setting) -> None:
        try:
            found = parse_json(line.removeprefix(MARK)) if line.startswith(MARK) else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ValueError(
                f"{self.path}: expected a new file or one with passes of this command, got one that begins with "
                f"{shown(line)}"
            )
        for name in dict.fromkeys((*setting, *found)):
            if found.get(name) != setting.get(name):
                raise ValueError(
                    f"{self.path}: expected passes with {name} = {setting.get(name)!r}, got {shown(found.get(name))}; "
                    "choose another name for the new ones, or delete the file"
                )

    def add(self, cell: PassCell, seconds: float) -> None:
        """Write a pass that was measured."""
        line = f"{cell.what},{cell.batch},{cell.length},{seconds:.9f}"
        kept = _pass(line)[1]
        with named(self.path), self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{line}\n")
        self.seconds.setdefault(cell, []).append(kept)

    def count(self, cell: PassCell) -> int:
        """Passes of a cell."""
        return len(self.seconds.get(cell, ()))

    def median(self, cell: PassCell) -> float:
        """Seconds of a cell that was measured."""
        return float(np.median(self.seconds[cell]))


def _pass(line: str) -> tuple[PassCell, float]:
    """What a line says; ``ValueError`` for anything that `Passes.add` does not write."""
    parts = line.split(",")
    if len(parts) != 4:
        raise ValueError(f"passes: expected {HEADER!r}, got {shown(line)}")
    try:
        what, batch, length, seconds = parts[0], int(parts[1]), int(parts[2]), float(parts[3])
    except ValueError:
        raise ValueError(f"passes: expected {HEADER!r} with numbers, got {shown(line)}") from None
    check_name("what", what, (VERIFY, DRAFT))
    cell = PassCell(what, check_integer("batch", batch, 1, LONGEST), check_integer("length", length, 0, LONGEST))
    return cell, check_real("seconds", seconds, 0.0, open_low=True)


def rounds(
    cells: Sequence[PassCell], passes: Passes, repeats: int, rng: np.random.Generator
) -> Iterator[tuple[PassCell, bool]]:
    """Passes that are missing, and whether each counts: first one of each cell to warm up, then round after round.

    A round has each cell once, in a new order. So what changes in the meantime, such as a machine that becomes hot or
    busy, is spread over all cells and does not look like a law.
    """
    missing = [cell for cell in cells if passes.count(cell) < repeats]
    for index in rng.permutation(len(missing)):
        yield missing[index], False
    for done in range(repeats):
        due = [cell for cell in missing if passes.count(cell) <= done]
        for index in rng.permutation(len(due)):
            yield due[index], True


def measure(
    cells: Sequence[PassCell],
    passes: Passes,
    repeats: int,
    rng: np.random.Generator,
    seconds_of: Callable[[PassCell], float],
    report: Callable[[float, float], None],
) -> None:
    """Measure what is missing.

    Parameters
    ----------
    cells
        What is wanted.
    passes
        What there is; each pass is added as it is done.
    repeats
        Passes of each cell.
    rng
        Of the order.
    seconds_of
        Does a pass and measures it.
    report
        Is called with how many passes are done, and of how many.

    Raises
    ------
    MemoryError
        Says for which batch and length, and what is kept.
    """
    counts = [passes.count(cell) for cell in cells]
    total = sum(repeats - count + 1 for count in counts if count < repeats)  # one to warm up
    for done, (cell, counts_too) in enumerate(rounds(cells, passes, repeats, rng), 1):
        try:
            seconds = seconds_of(cell)
        except MemoryError as error:
            raise MemoryError(
                f"batch {cell.batch} with draft length {cell.length}: {error}; leave such cells out, what was measured "
                f"is kept in {str(passes.path)!r}"
            ) from None
        if counts_too:
            passes.add(cell, seconds)
        report(done, total)
