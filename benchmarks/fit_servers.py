"""Laws of verification fitted to measured passes: ``python -m benchmarks.fit_servers``.

Each law is a maximum of affine pieces a + b n of the n tokens in a pass, a, b ≥ 0, whose largest relative error is
least. For a given assignment of the measured passes to pieces this is a linear program (the pieces may not be above
any pass by more than the error); all assignments to consecutive passes are tried. Prints the pieces, the error, and
the error of the profile that ships with the package.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.optimize import linprog

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.evaluation.table import aligned
from multispin_env.server import SERVERS
from multispin_env.units import MS


@dataclass(frozen=True)
class Measured:
    """Milliseconds of a pass by its tokens, and how many pieces its law has."""

    tokens: tuple[int, ...]
    milliseconds: tuple[float, ...]
    pieces: int


TOKENS = (128, 256, 384, 512, 640, 768, 896, 1024)

TABLES = {
    "a100-7b-gemm": Measured(
        (1, 64, 96, 128, 160, 256, 384, 512, 768, 1024),
        (9.5, 10.0, 11.3, 11.8, 15.1, 15.5, 26.4, 29.5, 41.9, 54.6),
        pieces=2,
    ),
    "a100-32b": Measured(TOKENS, (48, 66, 84, 104, 124, 144, 164, 188), pieces=1),
    "a100-70b": Measured(TOKENS, (55, 85, 105, 125, 145, 165, 185, 205), pieces=1),
}
"""Sources stand beside the profiles in ``multispin_env/servers``."""


def fit(tokens: FloatArray, times: FloatArray, pieces: int) -> tuple[FloatArray, float]:
    """Pieces (J, 2), rows (a, b), and the largest relative error."""
    solved = [_program(tokens, times, owner, pieces) for owner in _assignments(len(tokens), pieces)]
    error, best = min(solved, key=lambda one: one[0])
    return best, error


def _assignments(size: int, pieces: int) -> Iterator[IntArray]:
    """Every way to give consecutive passes to pieces: the piece of each pass, (size,)."""
    for cuts in combinations(range(1, size), pieces - 1):
        yield np.searchsorted(np.array(cuts, dtype=np.int64), np.arange(size), side="right")


def _program(tokens: FloatArray, times: FloatArray, owner: IntArray, pieces: int) -> tuple[float, FloatArray]:
    """Least largest error e where pass i is at least (1 − e) t_i by its piece and at most (1 + e) t_i by any."""
    size = len(tokens)
    own = np.zeros((size, 2 * pieces + 1))
    own[np.arange(size), 2 * owner], own[np.arange(size), 2 * owner + 1] = -1.0, -tokens
    own[:, -1] = -times
    every = np.zeros((pieces, size, 2 * pieces + 1))
    for piece in range(pieces):
        every[piece, :, 2 * piece], every[piece, :, 2 * piece + 1] = 1.0, tokens
    every[..., -1] = -times
    rows = np.concatenate([own, every.reshape(-1, 2 * pieces + 1)])
    limits = np.concatenate([-times, np.tile(times, pieces)])
    objective = np.eye(2 * pieces + 1)[-1]
    answer = linprog(objective, A_ub=rows, b_ub=limits, bounds=(0.0, None))
    if not answer.success:
        return np.inf, np.zeros((pieces, 2))
    return float(answer.x[-1]), answer.x[:-1].reshape(pieces, 2)


def error_of(pieces: FloatArray, tokens: FloatArray, times: FloatArray) -> float:
    """Largest relative error of a law."""
    law = (pieces[:, 0] + pieces[:, 1] * tokens[:, None]).max(-1)
    return float(np.abs(law / times - 1.0).max())


def main() -> None:
    """Fit every table and print a row for each."""
    lines = []
    for name, table in TABLES.items():
        tokens, times = np.array(table.tokens, dtype=np.float64), np.array(table.milliseconds)
        pieces, error = fit(tokens, times, table.pieces)
        law = " or ".join(f"{start:.3f} + {slope:.5f} n" for start, slope in pieces)
        shipped = np.array(SERVERS.load(name).pieces) / MS
        lines.append((name, law, f"{error:.2%}", f"{error_of(shipped, tokens, times):.2%}"))
    print(aligned(("server", "largest of (ms)", "error of the fit", "error of the profile"), lines))


if __name__ == "__main__":
    main()
