"""Passes that are to be measured, and the file that keeps each as it is done."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from multispin_env.checks import check_integer, check_name, check_real, shown
from multispin_env.models.journal import Journal

VERIFY, DRAFT = "verify", "draft"
"""A pass of the target over a batch; tokens of the draft model, one after the other."""

HEADER = "what,batch,length,seconds"


class PassCell(NamedTuple):
    """What is measured."""

    what: str  # `VERIFY` or `DRAFT`
    batch: int  # K, texts
    length: int  # L, drafted tokens of each

    @property
    def tokens(self) -> int:
        """n of a verification: the drafted tokens, and one more position of each text."""
        return self.batch * (self.length + 1)


Setting = Mapping[str, str | int]
"""All that the time of a cell depends on, by name."""


class Passes:
    """Seconds of measured passes, by cell, in a CSV file with a line for each; raises as `Journal`."""

    def __init__(self, path: Path, setting: Setting) -> None:
        self.journal = Journal(path, "profile", setting, _pass, HEADER)
        self.seconds: dict[PassCell, list[float]] = {}
        for cell, seconds in self.journal.parts:
            self.seconds.setdefault(cell, []).append(seconds)

    def add(self, cell: PassCell, seconds: float) -> None:
        """Write a pass that was measured."""
        _, kept = self.journal.add(f"{cell.what},{cell.batch},{cell.length},{seconds:.9f}")
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
    cell = PassCell(what, check_integer("batch", batch, 1, 1_000_000), check_integer("length", length, 0, 1_000_000))
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
    """Measure what is missing of so many ``repeats`` of each cell; each pass is added as it is done.

    ``seconds_of`` does a pass, ``rng`` draws their order, and ``report`` is called with how many are done, and of how
    many. ``MemoryError`` says for which batch and length, and what is kept.
    """
    counts = [passes.count(cell) for cell in cells]
    total = sum(repeats - count + 1 for count in counts if count < repeats)  # one to warm up
    for done, (cell, counts_too) in enumerate(rounds(cells, passes, repeats, rng), 1):
        try:
            seconds = seconds_of(cell)
        except MemoryError as error:
            raise MemoryError(
                f"batch {cell.batch} with draft length {cell.length}: {error}; leave such cells out, what was measured "
                f"is kept in {str(passes.journal.path)!r}"
            ) from None
        if counts_too:
            passes.add(cell, seconds)
        report(done, total)
