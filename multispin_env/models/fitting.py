"""Laws of verification fitted to measured passes.

A law is T = K T_lin + max_j (a_j + b_j n) for the K drafts and n tokens of a pass, T_lin, a_j, b_j ≥ 0, and it is to be
the one whose largest relative error is least. A given piece for each pass makes that a linear program: a pass must be
reached by its own piece, and no piece may be above a pass by more than the error. Pieces rule consecutive n, so all
ways to give consecutive n to pieces are tried. What the largest error leaves open is settled by the mean error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.optimize import linprog

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_integer
from multispin_env.server import line_time

_SLACK = 1e-8
"""Of the largest error where the mean error is reduced: what a solver may be off."""


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

    Examples
    --------
    >>> import numpy as np
    >>> from multispin_env.models.fitting import fit_law
    >>> tokens = np.array([1.0, 10.0, 50.0, 100.0])
    >>> found = fit_law(tokens, np.maximum(9.0 + 0.0 * tokens, 3.0 + 0.2 * tokens), 2)
    >>> found.pieces.round(6).tolist()
    [[9.0, 0.0], [3.0, 0.2]]
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


def fit_cells(drafts: FloatArray, tokens: FloatArray, times: FloatArray, pieces: int | None = None) -> Fit:
    """The law of measured cells, K drafts, n tokens and T > 0 of each, (m,).

    It has 1 or 2 ``pieces``, by default 2 where they halve a largest error of one that is above 1 %. ``ValueError`` for
    too few cells: two batch sizes and two lengths are needed to tell a draft from a token, and one cell more than a law
    has numbers for an error that means something.
    """
    check_cells(drafts, tokens, pieces)
    first = fit_law(tokens, times, pieces or 1, drafts)
    if pieces is not None or first.error <= 0.01 or len(times) < 6:
        return first
    second = fit_law(tokens, times, 2, drafts)
    return second if second.error <= 0.5 * first.error else first


def check_cells(drafts: FloatArray, tokens: FloatArray, pieces: int | None = None) -> None:
    """``ValueError`` where `fit_cells` has too few cells, or no such number of pieces."""
    if pieces is not None:
        check_integer("pieces", pieces, 1, 2)  # flat while weights are read, then a slope
    needed = 2 * (pieces or 1) + 2
    if len(tokens) < needed:
        raise ValueError(f"cells: expected at least {needed} for {pieces or 1} pieces, got {len(tokens)}")
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
