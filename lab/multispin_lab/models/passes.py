"""Measured passes of a server, their journal file, and the fit of the verification time.

The verification time is T = K T_lin + max_j (a_j + b_j n) for K drafts and n tokens, T_lin, a_j, b_j ≥ 0. The fit has
the least maximal relative error. For a given active piece of each pass this is a linear program: the active piece may
be below the time of its pass, and any piece above it, by at most the error. A piece is active on consecutive n, so all
partitions into consecutive n are tried. Among fits with the least maximal error, one with the least mean error is
returned.
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
from multispin_env.checks import check_integer, check_name, check_real, located, shown
from multispin_env.files import MIB, name_file_in_errors, parse_json, read_bytes, write_text
from multispin_env.server import line_time

_SLACK = 1e-8  # tolerance of the maximal error while the mean error is minimised


@dataclass(frozen=True, eq=False)
class Fit:
    """Fitted verification time, in the unit of the measured times."""

    time_per_draft: float  # T_lin
    pieces: FloatArray  # rows (a_j, b_j), (J, 2)
    errors: FloatArray  # relative errors, fit / measured − 1, (m,)

    @property
    def error(self) -> float:
        """Largest relative error."""
        return float(np.abs(self.errors).max())


def law_times(time_per_draft: float, pieces: FloatArray, drafts: FloatArray, tokens: FloatArray) -> FloatArray:
    """Return times (m,) of passes with K ``drafts`` (m,) and n ``tokens`` (m,), by T_lin and ``pieces`` (J, 2)."""
    return drafts * time_per_draft + line_time(pieces, tokens)


def fit_law(tokens: FloatArray, times: FloatArray, pieces: int, drafts: FloatArray | None = None) -> Fit:
    """Fit the verification time with a number of pieces, with the least maximal relative error.

    Passes with n ``tokens`` and K ``drafts`` took ``times``, each (m,); without ``drafts`` T_lin is 0.
    """
    unit = np.median(times)
    counts = np.zeros_like(tokens) if drafts is None else drafts
    programs = [_Program(tokens, times / unit, counts, active, pieces) for active in _partitions(tokens, pieces)]
    errors = [program.least_error() for program in programs]
    limit = min(errors) * (1.0 + _SLACK) + _SLACK
    candidates = [program for program, error in zip(programs, errors, strict=True) if error <= limit]
    _, best = min((program.least_mean(limit) for program in candidates), key=lambda result: result[0])
    largest = np.array([counts.max(), *(1.0, tokens.max()) * pieces])
    best = np.where(best * largest > 1e-6, best, 0.0) * unit  # remove numerical noise of the solver
    per_draft, lines = float(best[0]), best[1:].reshape(pieces, 2)
    return Fit(per_draft, lines, law_times(per_draft, lines, counts, tokens) / times - 1.0)


def fit_cells(drafts: FloatArray, tokens: FloatArray, times: FloatArray) -> Fit:
    """Fit cells with K drafts, n tokens and T > 0, each (m,); ``ValueError`` as `check_cells`."""
    check_cells(drafts, tokens)
    return fit_pieces(tokens, times, drafts)


def fit_pieces(tokens: FloatArray, times: FloatArray, drafts: FloatArray | None = None) -> Fit:
    """Fit one piece, or two (flat while weights are read, then a slope) if they halve an error above 1 %."""
    first = fit_law(tokens, times, 1, drafts)
    if first.error <= 0.01 or len(times) < 6:
        return first
    second = fit_law(tokens, times, 2, drafts)
    return second if second.error <= 0.5 * first.error else first


def check_cells(drafts: FloatArray, tokens: FloatArray) -> None:
    """Raise ``ValueError`` unless cells determine the three parameters of a piece, and one more cell its error."""
    if len(tokens) < 4:
        raise ValueError(f"cells: expected at least 4, got {len(tokens)}")
    if np.linalg.matrix_rank(np.stack([np.ones_like(tokens), drafts, tokens])) < 3:
        batches, passes = (sorted({int(number) for number in counts}) for counts in (drafts, tokens))
        raise ValueError(
            "cells: expected at least two batch sizes and two lengths, to separate the times per draft and per token, "
            f"got batch sizes {batches} and passes of {passes} tokens"
        )


def _partitions(tokens: FloatArray, pieces: int) -> Iterator[IntArray]:
    """Yield every partition into consecutive n, as the active piece of each pass, (m,)."""
    values, rank = np.unique(tokens, return_inverse=True)
    for cuts in combinations(range(1, len(values)), min(pieces, len(values)) - 1):
        yield np.searchsorted(np.array(cuts, dtype=np.int64), rank, side="right")


class _Program:
    """Linear program (1 − e) t ≤ active piece, and each piece ≤ (1 + e) t, of the parameters (T_lin, a_1, b_1, ...).

    Rows are divided by t, so that the solver's tolerance is relative.
    """

    def __init__(
        self, tokens: FloatArray, times: FloatArray, drafts: FloatArray, active: IntArray, pieces: int
    ) -> None:
        self.size, self.pieces, self.numbers = len(tokens), pieces, 2 * pieces + 1
        piece, index = np.arange(pieces)[:, None], np.arange(self.size)
        values = np.zeros((pieces, self.size, self.numbers))  # coefficients of each piece at each pass
        values[..., 0] = drafts / times
        values[piece, index, 1 + 2 * piece] = 1.0 / times
        values[piece, index, 2 + 2 * piece] = tokens / times
        self.rows = np.concatenate([-values[active, index], values.reshape(-1, self.numbers)])
        self.limits = np.concatenate([-np.ones(self.size), np.ones(pieces * self.size)])

    def least_error(self) -> float:
        """Minimise the maximal error; infinite if there is no solution."""
        rows = np.hstack([self.rows, -np.ones((len(self.rows), 1))])
        result = linprog(np.eye(self.numbers + 1)[-1], A_ub=rows, b_ub=self.limits, bounds=(0.0, None))
        return float(result.fun) if result.success else np.inf

    def least_mean(self, error: float) -> tuple[float, FloatArray]:
        """Minimise the mean error subject to a maximal error; return it and the parameters."""
        rows = np.hstack([self.rows, -np.tile(np.eye(self.size), (self.pieces + 1, 1))])
        goal = np.repeat((0.0, 1.0 / self.size), (self.numbers, self.size))
        bounds = [(0.0, None)] * self.numbers + [(0.0, error)] * self.size
        result = linprog(goal, A_ub=rows, b_ub=self.limits, bounds=bounds)
        if not result.success:
            raise ArithmeticError(f"a linear program of {self.size} passes failed: {result.message}")
        return float(result.fun), result.x[: self.numbers]


LARGEST_FILE = 256 * MIB  # bytes of a file

T = TypeVar("T")


class Journal(Generic[T]):
    """File of finished parts of a long command, which can be continued.

    The first line holds the ``setting``, then comes the ``header``, if any, and a line for each part, which ``parse``
    reads. A file of the same command and setting is continued; an incomplete last line of a killed process is removed.
    ``ValueError`` for a file of another setting or with other contents, which is not changed.
    """

    def __init__(
        self, path: Path, command: str, setting: Mapping[str, Any], parse: Callable[[str], T], header: str = ""
    ) -> None:
        self.path, self._parse = path, parse
        self.parts: list[T] = []
        prefix = f"# multispin {command} "
        begin = [f"{prefix}{json.dumps(dict(setting))}", *([header] if header else [])]
        new = "".join(f"{line}\n" for line in begin)
        try:
            text = read_bytes(path, LARGEST_FILE).decode() if path.exists() else ""
        except ValueError as error:
            raise ValueError(f"{path}: expected a readable file of this command, got an error ({error})") from None
        if new.startswith(text):
            write_text(path, new)
            return
        *lines, rest = text.split("\n")
        self._check_setting((lines or [rest])[0], prefix, setting)
        if lines[1 : len(begin)] != begin[1:]:
            raise ValueError(f"{path}, line 2: expected {header!r}, got {shown((lines[1:] or [rest])[0])}")
        for number, line in enumerate(lines[len(begin) :], len(begin) + 1):
            with located(f"{path}, line {number}"):
                self.parts.append(parse(line))
        if rest:
            with name_file_in_errors(path), path.open("r+b") as file:
                file.truncate(len(text.removesuffix(rest).encode()))

    def _check_setting(self, line: str, prefix: str, setting: Mapping[str, Any]) -> None:
        try:
            stored = parse_json(line.removeprefix(prefix)) if line.startswith(prefix) else None
        except ValueError:
            stored = None
        if not isinstance(stored, dict):
            raise ValueError(
                f"{self.path}: expected a new file or a file of this command, got a file that begins with {shown(line)}"
            )
        for name in dict.fromkeys((*setting, *stored)):
            if stored.get(name) != setting.get(name):
                raise ValueError(
                    f"{self.path}: expected a file with {name} = {setting.get(name)!r}, got {shown(stored.get(name))}; "
                    "choose another file name, or delete the file"
                )

    def add(self, line: str) -> T:
        """Append the line of a finished part; return the parsed part."""
        part = self._parse(line)
        with name_file_in_errors(self.path), self.path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{line}\n")
        self.parts.append(part)
        return part


VERIFY, DRAFT, LONG_DRAFT = "verify", "draft", "long-draft"
"""Pass of the target over a batch; consecutive tokens of the draft model; the same after a longer context."""

HEADER = "what,batch,length,seconds"


class PassCell(NamedTuple):
    """Kind and size of a measured pass."""

    what: str  # `VERIFY`, `DRAFT` or `LONG_DRAFT`
    batch: int  # K, texts
    length: int  # L, drafted tokens of each text

    @property
    def tokens(self) -> int:
        """n of a verification: the drafted tokens, and one more position of each text."""
        return self.batch * (self.length + 1)


Setting = Mapping[str, str | int]  # names and values of everything that affects the times


class Passes:
    """Seconds of measured passes by cell, in a CSV file; errors as `Journal`."""

    def __init__(self, path: Path, setting: Setting) -> None:
        self.journal = Journal(path, "profile", setting, _pass, HEADER)
        self.seconds: dict[PassCell, list[float]] = {}
        for cell, seconds in self.journal.parts:
            self.seconds.setdefault(cell, []).append(seconds)

    def add(self, cell: PassCell, seconds: float) -> None:
        """Store a measured pass."""
        _, rounded = self.journal.add(f"{cell.what},{cell.batch},{cell.length},{seconds:.9f}")
        self.seconds.setdefault(cell, []).append(rounded)

    def count(self, cell: PassCell) -> int:
        """Return the number of measured passes of a cell."""
        return len(self.seconds.get(cell, ()))

    def medians(self, cells: Sequence[PassCell]) -> FloatArray:
        """Return the median seconds of measured cells, (m,)."""
        return np.array([np.median(self.seconds[cell]) for cell in cells])


def _pass(line: str) -> tuple[PassCell, float]:
    parts = line.split(",")
    if len(parts) != 4:
        raise ValueError(f"passes: expected {HEADER!r}, got {shown(line)}")
    try:
        kind, batch, length, seconds = parts[0], int(parts[1]), int(parts[2]), float(parts[3])
    except ValueError:
        raise ValueError(f"passes: expected {HEADER!r} with numbers, got {shown(line)}") from None
    check_name("what", kind, (VERIFY, DRAFT, LONG_DRAFT))
    cell = PassCell(kind, check_integer("batch", batch, 1, 1_000_000), check_integer("length", length, 0, 1_000_000))
    return cell, check_real("seconds", seconds, 0.0, open_low=True)


def schedule_passes(
    cells: Sequence[PassCell], passes: Passes, repeats: int, rng: np.random.Generator
) -> Iterator[tuple[PassCell, bool]]:
    """Yield the missing passes and whether to store each: a warm-up pass of each cell, then several rounds.

    A round measures each cell once, in a new random order, so that slow changes, such as of temperature or load, affect
    all cells alike.
    """
    missing = [cell for cell in cells if passes.count(cell) < repeats]
    for index in rng.permutation(len(missing)):
        yield missing[index], False
    for done in range(repeats):
        remaining = [cell for cell in missing if passes.count(cell) <= done]
        for index in rng.permutation(len(remaining)):
            yield remaining[index], True


def measure(
    cells: Sequence[PassCell],
    passes: Passes,
    repeats: int,
    rng: np.random.Generator,
    seconds_of: Callable[[PassCell], float],
    report: Callable[[float, float], None],
) -> None:
    """Measure the missing passes of ``repeats`` per cell, and store each pass at once.

    ``seconds_of`` performs a pass, ``rng`` draws the order, and ``report`` is called with the numbers of finished and
    of all passes. ``MemoryError`` names batch, length and the file.
    """
    counts = [passes.count(cell) for cell in cells]
    total = sum(repeats - count + 1 for count in counts if count < repeats)  # with a warm-up pass
    for done, (cell, is_stored) in enumerate(schedule_passes(cells, passes, repeats, rng), 1):
        try:
            seconds = seconds_of(cell)
        except MemoryError as error:
            raise MemoryError(
                f"batch {cell.batch} with draft length {cell.length}: {error}; leave out such cells (finished passes "
                f"are in {str(passes.journal.path)!r})"
            ) from None
        if is_stored:
            passes.add(cell, seconds)
        report(done, total)
