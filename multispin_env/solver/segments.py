"""Law of verification inside branch and bound: how the pass of a part of the problem is priced (ours).

Between two kinks the law is one line, and there a part of the problem may be priced by any line that stays below it:
one through its right end that is steeper, or one through its left end that is flatter. Which slope gives the least
bound depends on the part. Too many tokens in the best lengths ask for a steeper one, too few for a flatter one.

By a flat law, and in passes padded to a given length, all decisions of a part take the same time (`FixedPass`). It has
the methods of a `Segment`, so that who asks need not know which it is.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.solver.problem import Problem
from multispin_env.solver.server import kinks

FIRST_STEP = 0.25  # First change of a slope, as a share of the difference between the slopes of the law
STEEPER = 8.0  # How much more than its time a token may cost where a TPOT limits the round
LONGER, SHORTER = 1.3, 0.5  # Factors of the next step, after one to the same side and one to the other
SAFETY = 1e-11  # Relative amount added to every bound, above the rounding of its sums
LEAST_TIME = 1e-300  # Stands in for a pass of no time
ROUNDING = 1e-13  # Share of the terms of a time by which it is lowered, so that rounding can't lift it above the law


class PricedPass(NamedTuple):
    """What the passes of m parts cost against a goodput to beat."""

    tokens: FloatArray  # (W, m, K) of every length of every window, less what it costs in the pass
    charged: FloatArray | float  # (m,) tokens, most that the lengths of a part cost
    time: FloatArray  # (m,) s, of the shortest lengths by the line; no decision inside has a shorter one
    empty: BoolArray | bool  # (m,) no decision of the part belongs to the segment


class Timely(NamedTuple):
    """What is left of m parts if passes may not last too long."""

    law: "Law"
    low: FloatArray  # (m, K) shortest lengths
    high: FloatArray  # (m, K) longest
    none: BoolArray  # (m,) whether nothing is


@dataclass(frozen=True, eq=False)
class FixedPass:
    """Passes of m parts that take the same time for every decision inside."""

    start: FloatArray  # (m,) s

    def rows(self, rows: IntArray | BoolArray) -> "FixedPass":
        """Some of the parts."""
        return FixedPass(self.start[rows])

    @property
    def longest_time(self) -> FloatArray:
        """Seconds (m,) that no pass is longer than."""
        return self.start

    @property
    def spread(self) -> FloatArray:
        """Seconds (m,) between the longest and the shortest pass."""
        return np.zeros(len(self.start))

    def shortest_time(self, low: FloatArray) -> FloatArray:
        """Seconds (m,) that no pass of lengths ≥ ``low`` (m, K) is shorter than."""
        return self.start

    def priced(self, tokens: FloatArray, low: FloatArray, high: FloatArray, target: FloatArray) -> PricedPass:
        """Tokens (W, m, K) as they are."""
        return PricedPass(tokens, 0.0, self.start, False)

    def timely(self, low: FloatArray, high: FloatArray, longest: FloatArray) -> Timely:
        """All of the part: that the pass is too long is seen without it."""
        return Timely(self, low, high, np.zeros(len(low), dtype=bool))

    def halves(self, rows: BoolArray) -> tuple["FixedPass", "FixedPass"]:
        """The same twice."""
        return self, self

    def steered(self, lengths: FloatArray, slopes: tuple[float, float]) -> "FixedPass":
        """The same."""
        return self


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

    @property
    def longest_time(self) -> FloatArray:
        """Seconds (m,) that no pass is longer than."""
        return self.start + self.rise * self.most

    @property
    def spread(self) -> FloatArray:
        """Seconds (m,) between the longest and the shortest pass."""
        return np.where(self.most > self.fewest, self.rise * (self.most - self.fewest), 0.0)

    def shortest_time(self, low: FloatArray) -> FloatArray:
        """Seconds (m,) that no pass of lengths ≥ ``low`` (m, K) is shorter than."""
        return self.start + self.rise * np.maximum(self.fewest, low.sum(-1))

    def priced(self, tokens: FloatArray, low: FloatArray, high: FloatArray, target: FloatArray) -> PricedPass:
        """Charge windows (m, K) by the line of `slope` through an end of what is left of the segment.

        A token costs the time of the line at the goodput ``target`` (m,).
        """
        least, largest = low.sum(-1), high.sum(-1)
        fewest, most = np.maximum(self.fewest, least), np.minimum(self.most, largest)
        anchor = np.where(self.slope >= self.rise, most, fewest)
        above, below = self.start + self.rise * anchor, self.slope * (anchor - least)
        time = above - below - ROUNDING * (above + np.abs(below))
        charge = target * self.slope
        tokens = tokens - charge[:, None] * np.arange(len(tokens))[:, None, None]
        return PricedPass(tokens, charge * (largest - least), np.maximum(time, LEAST_TIME), fewest > most)

    def timely(self, low: FloatArray, high: FloatArray, longest: FloatArray) -> Timely:
        """Windows (m, K) and segment without passes of more than ``longest`` (m,) seconds."""
        left = longest - self.start
        room = np.where(
            self.rise > 0.0, left / np.where(self.rise > 0.0, self.rise, 1.0), np.where(left >= 0.0, np.inf, -np.inf)
        )
        fewest, most = low.sum(-1), high.sum(-1)
        largest = np.minimum(most, np.floor(room * (1.0 + SAFETY) + SAFETY))
        law = replace(self, fewest=np.maximum(self.fewest, fewest), most=np.minimum(self.most, largest))
        # what one device drafts, the others do not
        ends, least = high, np.maximum(low, law.fewest[:, None] - (most[:, None] - high))
        high = np.minimum(high, law.most[:, None] - (fewest[:, None] - low))
        none = (law.fewest > law.most) | (least > high).any(-1)
        low = np.minimum(least, ends)  # where none is left, any lengths in range will do
        return Timely(law, low, np.maximum(high, low), none)

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


Law = FixedPass | Segment


def slope_range(problem: Problem) -> tuple[float, float]:
    """The slopes that may give the least bound: those of the law, and any up to `STEEPER` times them for a TPOT.

    A round that may not last longer holds fewer tokens than are best, as if each of them took longer.
    """
    if problem.tpot < np.inf:
        return 0.0, STEEPER * float(problem.lines[-1, 1])
    return float(problem.lines[0, 1]), float(problem.lines[-1, 1])


def laws_of(problem: Problem, slope: FloatArray) -> list[Law]:
    """One segment for each line of the law, of all n instances, with the slope (n,) of their relaxed optimum.

    A flat law needs none: a bound costs a few more operations with a segment.
    """
    if problem.flat:
        return [FixedPass(problem.verification_time + problem.lines[0, 0])]
    ends = kinks(problem.lines)
    fewest, most = np.concatenate([[-np.inf], np.ceil(ends)]), np.concatenate([np.floor(ends), [np.inf]])
    flattest, steepest = slope_range(problem)
    step = FIRST_STEP * (steepest - flattest)
    even = np.ones(len(problem))
    return [
        Segment(problem.verification_time + start, rise * even, first * even, last * even, slope, step * even)
        for (start, rise), first, last in zip(problem.lines, fewest, most, strict=True)
    ]
