"""Passes of a server: measured ones, kept in a journal as they are done, and the law of verification that fits them.

A law is T = K T_lin + max_j (a_j + b_j n) for the K drafts and n tokens of a pass, T_lin, a_j, b_j ≥ 0, and it is to be
the one whose largest relative error is least. A given piece for each pass makes that a linear program: a pass must be
reached by its own piece, and no piece may be above a pass by more than the error. Pieces rule consecutive n, so all
ways to give consecutive n to pieces are tried. What the largest error leaves open is settled by the mean error.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from scipy.optimize import linprog

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_integer, check_name, check_real, shown
from multispin_env.files import MIB, name_file_in_errors, parse_json, read_bytes, write_text
from multispin_env.server import line_time

_SLACK = 1e-8  # of the largest error where the mean error is reduced: what a solver may be off


@dataclass(frozen=True, eq=False)
class Fit:
    """A law of verification that was fitted; times have the unit of the measured ones."""

    time_per_draft: float  # T_lin
    pieces: FloatArray  # rows (a_j, b_j), (J, 2)
    errors: FloatArray  # relative errors of the measured passes, law / measured − 1, (m,)

    @property
    def error(self) -> float:
        """Largest relative error."""
        return float(np.abs(self.errors).max())


def law_times(time_per_draft: float, pieces: FloatArray, drafts: FloatArray, tokens: FloatArray) -> FloatArray:
    """Times of passes of so many drafts and tokens, each (m,), by T_lin and pieces (J, 2)."""
    return drafts * time_per_draft + line_time(pieces, tokens)


def fit_law(tokens: FloatArray, times: FloatArray, pieces: int, drafts: FloatArray | None = None) -> Fit:
    """The law of so many pieces whose largest relative error is least.

    Passes of n ``tokens`` and K ``drafts`` took ``times``, each (m,); without ``drafts`` T_lin is 0.
    """
    unit = np.median(times)
    counts = np.zeros_like(tokens) if drafts is None else drafts
    programs = [_Program(tokens, times / unit, counts, owner, pieces) for owner in _owners(tokens, pieces)]
    errors = [one.least_error() for one in programs]
    limit = min(errors) * (1.0 + _SLACK) + _SLACK
    close = [one for one, error in zip(programs, errors, strict=True) if error <= limit]
    _, best = min((one.least_mean(limit) for one in close), key=lambda found: found[0])
    most = np.array([counts.max(), *(1.0, tokens.max()) * pieces])
    best = np.where(best * most > 1e-6, best, 0.0) * unit  # a solver leaves a little where nothing is meant
    per_draft, lines = float(best[0]), best[1:].reshape(pieces, 2)
    return Fit(per_draft, lines, law_times(per_draft, lines, counts, tokens) / times - 1.0)


def fit_cells(drafts: FloatArray, tokens: FloatArray, times: FloatArray) -> Fit:
    """The law of measured cells, K drafts, n tokens and T > 0 of each, (m,); ``ValueError`` as of `check_cells`."""
    check_cells(drafts, tokens)
    return fit_pieces(tokens, times, drafts)


def fit_pieces(tokens: FloatArray, times: FloatArray, drafts: FloatArray | None = None) -> Fit:
    """`fit_law` of one piece, or of two (flat while weights are read, then a slope) where they halve an error > 1 %."""
    first = fit_law(tokens, times, 1, drafts)
    if first.error <= 0.01 or len(times) < 6:
        return first
    second = fit_law(tokens, times, 2, drafts)
    return second if second.error <= 0.5 * first.error else first


def check_cells(drafts: FloatArray, tokens: FloatArray) -> None:
    """``ValueError`` for too few cells: they must tell a draft's time from a token's, and one more gives the error."""
    if len(tokens) < 4:
        raise ValueError(f"cells: expected at least 4 for 1 pieces, got {len(tokens)}")
    if np.linalg.matrix_rank(np.stack([np.ones_like(tokens), drafts, tokens])) < 3:
        batches, passes = (sorted({int(number) for number in one}) for one in (drafts, tokens))
        raise ValueError(
            "cells: expected at least two batch sizes and two lengths, to tell a draft's time from a token's, "
            f"got batch sizes {batches} and passes of {passes} tokens"
        )


def _owners(tokens: FloatArray, pieces: int) -> Iterator[IntArray]:
    """Every way to give consecutive n to pieces: the piece of each pass, (m,)."""
    values, rank = np.unique(tokens, return_inverse=True)
    for cuts in combinations(range(1, len(values)), min(pieces, len(values)) - 1):
        yield np.searchsorted(np.array(cuts, dtype=np.int64), rank, side="right")


class _Program:
    """Laws (T_lin, a_1, b_1, ...) of which ``owner`` says the piece of each pass, as a linear program.

    (1 − e) t ≤ own piece, and each piece ≤ (1 + e) t. Rows are divided by t, so that a solver's tolerance is relative.
    """

    def __init__(self, tokens: FloatArray, times: FloatArray, drafts: FloatArray, owner: IntArray, pieces: int) -> None:
        self.size, self.pieces, self.numbers = len(tokens), pieces, 2 * pieces + 1
        piece, each = np.arange(pieces)[:, None], np.arange(self.size)
        values = np.zeros((pieces, self.size, self.numbers))  # of each piece at each pass, by the numbers of a law
        values[..., 0] = drafts / times
        values[piece, each, 1 + 2 * piece] = 1.0 / times
        values[piece, each, 2 + 2 * piece] = tokens / times
        self.rows = np.concatenate([-values[owner, each], values.reshape(-1, self.numbers)])
        self.limits = np.concatenate([-np.ones(self.size), np.ones(pieces * self.size)])

    def least_error(self) -> float:
        """The largest error, where it is least; infinite where there is no law."""
        rows = np.hstack([self.rows, -np.ones((len(self.rows), 1))])
        answer = linprog(np.eye(self.numbers + 1)[-1], A_ub=rows, b_ub=self.limits, bounds=(0.0, None))
        return float(answer.fun) if answer.success else np.inf

    def least_mean(self, error: float) -> tuple[float, FloatArray]:
        """The mean error, where it is least among laws of at most this largest error, and the law."""
        rows = np.hstack([self.rows, -np.tile(np.eye(self.size), (self.pieces + 1, 1))])
        goal = np.repeat((0.0, 1.0 / self.size), (self.numbers, self.size))
        bounds = [(0.0, None)] * self.numbers + [(0.0, error)] * self.size
        answer = linprog(goal, A_ub=rows, b_ub=self.limits, bounds=bounds)
        if not answer.success:
            raise ArithmeticError(f"a linear program of {self.size} passes failed: {answer.message}")
        return float(answer.fun), answer.x[: self.numbers]


LARGEST = 256 * MIB  # bytes of a file: the largest record needs fewer, also a prompt at a time

T = TypeVar("T")


class Journal(Generic[T]):
    """A file of lines: the ``setting`` that all else depends on, perhaps a header, then a line for each part done.

    A file of the same command and setting is continued; half a line, which a killed process leaves, is cut off.
    ``parse`` reads the line of a part. ``ValueError`` for a file of another setting or with anything else in it, which
    is left as it is.
    """

    def __init__(
        self, path: Path, command: str, setting: Mapping[str, Any], parse: Callable[[str], T], header: str = ""
    ) -> None:
        self.path, self._parse = path, parse
        self.parts: list[T] = []
        mark = f"# multispin {command} "
        begin = [f"{mark}{json.dumps(dict(setting))}", *([header] if header else [])]
        new = "".join(f"{line}\n" for line in begin)
        try:
            text = read_bytes(path, LARGEST).decode() if path.exists() else ""
        except ValueError as error:
            raise ValueError(f"{path}: can't be read as a file of this command ({error})") from None
        if new.startswith(text):
            write_text(path, new)
            return
        *lines, rest = text.split("\n")
        self._check_setting((lines or [rest])[0], mark, setting)
        if lines[1 : len(begin)] != begin[1:]:
            raise ValueError(f"{path}, line 2: expected {header!r}, got {shown((lines[1:] or [rest])[0])}")
        for number, line in enumerate(lines[len(begin) :], len(begin) + 1):
            try:
                self.parts.append(parse(line))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
        if rest:
            with name_file_in_errors(path), path.open("r+b") as file:
                file.truncate(len(text.removesuffix(rest).encode()))

    def _check_setting(self, line: str, mark: str, setting: Mapping[str, Any]) -> None:
        try:
            found = parse_json(line.removeprefix(mark)) if line.startswith(mark) else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise ValueError(
                f"{self.path}: expected a new file or one of this command, got one that begins with {shown(line)}"
            )
        for name in dict.fromkeys((*setting, *found)):
            if found.get(name) != setting.get(name):
                raise ValueError(
                    f"{self.path}: expected a file with {name} = {setting.get(name)!r}, got {shown(found.get(name))}; "
                    "choose another name for the new one, or delete the file"
                )

    def add(self, line: str) -> T:
        """Write the line of a part that is done; returns the part as it will be read."""
        part = self._parse(line)
        with name_file_in_errors(self.path), self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{line}\n")
        self.parts.append(part)
        return part


VERIFY, DRAFT = "verify", "draft"  # A pass of the target over a batch; tokens of the draft model, one after the other

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


Setting = Mapping[str, str | int]  # all that the time of a cell depends on, by name


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
