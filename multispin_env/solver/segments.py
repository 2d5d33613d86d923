"""Pieces of the law of verification inside branch and bound (ours).

Between two kinks the law is one line, and there a part of the problem may be priced by any line that stays below it:
one through its right end that is steeper, or one through its left end that is flatter. Which slope gives the least
bound depends on the part. Too many tokens in the best lengths ask for a steeper one, too few for a flatter one.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.server import line_time
from multispin_env.solver.problem import Problem
from multispin_env.solver.server import kinks

FIRST_STEP = 0.25
"""First change of a slope, as a share of the difference between the slopes of the law."""

STEEPER = 8.0
"""How much more than its time a token may cost where a TPOT limits the round."""

LONGER, SHORTER = 1.3, 0.5
"""Factors of the next step, after one to the same side and one to the other."""

LEAST_TIME = 1e-300
"""Stands in for a pass of no time."""

ROUNDING = 1e-13
"""Share of the terms of a time by which it is lowered, so that rounding can't lift it above the law."""


class ShortestPass(NamedTuple):
    """What a segment says about m parts."""

    time: FloatArray  # (m,) s, of the shortest lengths by the line; no decision inside has a shorter one
    tokens: FloatArray  # (m,) x by which the longest lengths exceed the shortest
    empty: BoolArray  # (m,) no decision of the part belongs to the segment


@dataclass(frozen=True, eq=False)
class Segment:
    """The line of the law that holds for each of m parts, and the slope its bound uses."""

    start: FloatArray  # (m,) s at x = 0, constant times included
    rise: FloatArray  # (m,) s for each x
    fewest: FloatArray  # (m,) least x the part answers for
    most: FloatArray  # (m,) largest
    slope: FloatArray  # (m,) s for each x, of the line that bounds
    step: FloatArray  # (m,) next change of the slope; its sign is that of the last one

    def rows(self, rows: IntArray | BoolArray) -> "Segment":
        """Some of the parts."""
        return Segment(**{name: array[rows] for name, array in vars(self).items()})

    def shortest(self, low: FloatArray, high: FloatArray) -> ShortestPass:
        """Price windows (m, K) by the line of `slope` through an end of what is left of the segment."""
        least, largest = low.sum(-1), high.sum(-1)
        fewest, most = np.maximum(self.fewest, least), np.minimum(self.most, largest)
        anchor = np.where(self.slope >= self.rise, most, fewest)
        above, below = self.start + self.rise * anchor, self.slope * (anchor - least)
        time = above - below - ROUNDING * (above + np.abs(below))
        return ShortestPass(np.maximum(time, LEAST_TIME), largest - least, fewest > most)

    def between(self, fewest: FloatArray, most: FloatArray) -> "Segment":
        """The part of it between two x (m,)."""
        return replace(self, fewest=np.maximum(self.fewest, fewest), most=np.minimum(self.most, most))

    def halves(self, rows: BoolArray) -> tuple["Segment", "Segment"]:
        """Cut in the middle of its x where ``rows`` (m,) says so; elsewhere both are the whole."""
        middle = np.floor(0.5 * (np.where(rows, self.fewest, 0.0) + np.where(rows, self.most, 0.0)))
        below = replace(self, most=np.where(rows, middle, self.most))
        return below, replace(self, fewest=np.where(rows, middle + 1.0, self.fewest))

    def steered(self, lengths: FloatArray, slopes: tuple[float, float]) -> "Segment":
        """Change slopes, within two ends, by the tokens of the best lengths (m, K)."""
        x, size = lengths.sum(-1), np.abs(self.step)
        tight = ((x == self.most) & (self.slope >= self.rise)) | ((x == self.fewest) & (self.slope <= self.rise))
        back = np.where(tight, 0.0, np.clip(self.rise - self.slope, -size, size))
        change = np.where(x > self.most, size, np.where(x < self.fewest, -size, back))
        slope = np.clip(self.slope + change, *slopes)
        longer = np.where(change * self.step > 0.0, LONGER, SHORTER) * size
        return replace(self, slope=slope, step=np.where(change == 0.0, self.step, np.copysign(longer, change)))


def joined_segments(parts: list[Segment]) -> Segment:
    """All parts of several sets."""
    return Segment(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


def slope_range(problem: Problem) -> tuple[float, float]:
    """The slopes that may give the least bound: those of the law, and any up to `STEEPER` times them for a TPOT.

    A round that may not last longer holds fewer tokens than are best, as if each of them took longer.
    """
    if problem.tpot < np.inf:
        return 0.0, STEEPER * float(problem.lines[-1, 1])
    return float(problem.lines[0, 1]), float(problem.lines[-1, 1])


def segments(problem: Problem, slope: FloatArray) -> list[Segment]:
    """One segment for each line of the law, of all n instances, with the slope (n,) of their relaxed optimum."""
    ends = kinks(problem.lines)
    fewest, most = np.concatenate([[-np.inf], np.ceil(ends)]), np.concatenate([np.floor(ends), [np.inf]])
    flattest, steepest = slope_range(problem)
    step = FIRST_STEP * (steepest - flattest)
    even = np.ones(len(problem))
    return [
        Segment(problem.verification_time + start, rise * even, first * even, last * even, slope, step * even)
        for (start, rise), first, last in zip(problem.lines, fewest, most, strict=True)
    ]


def longest_drafts(problem: Problem) -> list[tuple[int, Segment]]:
    """Each longest draft of padded passes, with a segment of constant time for all n instances."""
    n, users = problem.low.shape
    even = np.ones(n)
    parts = []
    for longest in range(int(problem.low.max(-1).min()), int(problem.high.max()) + 1):
        time = problem.verification_time + line_time(problem.lines, np.array(float(users * longest)))
        parts.append((longest, Segment(time, 0.0 * even, -np.inf * even, np.inf * even, 0.0 * even, 0.0 * even)))
    return parts
