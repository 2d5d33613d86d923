"""Windows of draft lengths, and a bound on the goodput of each (not in the paper; docs/reference/derivations.md, 5).

The bound is N(φ) / (φ + T_ver) at the ends of the latency interval; its error is of second order in the width. Where
T_ver grows with the tokens along a line of slope b, a further token costs G b tokens, where G is the goodput to exceed.
With ω e(l) − G b (l − low) in place of ω e(l), and T_ver of the shortest lengths, N(φ) / (φ + T_ver) remains a bound
where it exceeds G. Between two kinks, any line below the law may price a part (`Segment`): a steeper one through the
right end, or a flatter one through the left. If the best lengths hold too many tokens, the slope is increased.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.types import Batched
from multispin_env.solver.problem import TINY, Problem, kinks

SAFETY = 1e-11  # Relative margin added to every bound, above the rounding error of its sums
_STEEP = 0.9  # Slope of a replaced line, relative to that on which the round would take no time
_ROUNDING = 1e-13  # Relative margin subtracted from a time, so that rounding cannot lift it above the law


class _ChargedPass(NamedTuple):
    tokens: FloatArray  # (W, m, K) for every length of every window, less its cost in the pass
    charged: FloatArray | float  # (m,) tokens, largest cost of the lengths of a part
    time: FloatArray  # (m,) s on the bounding line for the shortest lengths; no decision inside takes less
    empty: BoolArray | bool  # (m,) whether no decision of the part belongs to the segment


_TrimmedPart = tuple["FixedPass | Segment", FloatArray, FloatArray, BoolArray]  # law, low, high, whether it is empty


@dataclass(frozen=True, eq=False)
class FixedPass(Batched):
    """Passes of m parts, each of which takes the same time for all decisions inside."""

    start: FloatArray  # (m,) s

    def shortest_time(self, low: FloatArray) -> FloatArray:
        """Return the least time (m,) in s of a pass with lengths ≥ ``low`` (m, K)."""
        return self.start

    def charge(self, tokens: FloatArray, nodes: "Nodes", target: FloatArray) -> _ChargedPass:
        """Return tokens (W, m, K) unchanged."""
        return _ChargedPass(tokens, 0.0, self.start, False)

    def trim(self, low: FloatArray, high: FloatArray, longest: FloatArray) -> _TrimmedPart:
        """Return the whole part; latencies alone exclude passes that are too long."""
        return self, low, high, np.zeros(len(low), dtype=bool)

    def halve(self, rows: BoolArray) -> tuple["FixedPass", "FixedPass"]:
        """Return the passes twice, since they have no x to split."""
        return self, self

    def steer(self, lengths: FloatArray, slopes: tuple[float, float]) -> "FixedPass":
        """Return the passes unchanged."""
        return self


@dataclass(frozen=True, eq=False)
class Segment(Batched):
    """Piece of the law for each of m parts, as a line in the tokens x, and the slope of the bounding line."""

    start: FloatArray  # (m,) s at x = 0, constant times included
    rise: FloatArray  # (m,) s per unit of x
    fewest: FloatArray  # (m,) smallest x of the part
    most: FloatArray  # (m,) largest x of the part
    slope: FloatArray  # (m,) s per unit of x, of the bounding line
    step: FloatArray  # (m,) size of the next change of the slope, with the sign of the last change

    def shortest_time(self, low: FloatArray) -> FloatArray:
        """Return the least time (m,) in s of a pass with lengths ≥ ``low`` (m, K)."""
        return self.start + self.rise * np.maximum(self.fewest, low.sum(-1))

    def charge(self, tokens: FloatArray, nodes: "Nodes", target: FloatArray) -> _ChargedPass:
        """Charge the tokens of windows along the line of `slope` through an end of the remaining segment.

        A token costs the slope times the goodput ``target`` (m,). If the shortest round of a node took a time ≤ 0
        on it, a flatter one that is also below the law replaces it: a clipped time could be above the law.
        """
        least, largest, left = nodes.low.sum(-1), nodes.high.sum(-1), nodes.left
        fewest, most, slope = np.maximum(self.fewest, least), np.minimum(self.most, largest), self.slope
        for _ in range(3):
            anchor = np.where(slope >= self.rise, most, fewest)
            above, below = self.start + self.rise * anchor, slope * (anchor - least)
            time = above - below - _ROUNDING * (above + np.abs(below))
            if not (bad := left + time <= 0.0).any():
                break
            steepest = _STEEP * (left + above) / np.maximum(anchor - least, 1.0)
            flatter = np.where(slope > self.rise, np.maximum(self.rise, steepest), 0.0)
            slope = np.where(bad, flatter, slope)
        charge = target * slope
        tokens = tokens - charge[:, None] * np.arange(len(tokens))[:, None, None]
        return _ChargedPass(tokens, charge * (largest - least), np.maximum(time, TINY - left), fewest > most)

    def trim(self, low: FloatArray, high: FloatArray, longest: FloatArray) -> _TrimmedPart:
        """Remove passes longer than ``longest`` (m,) seconds from the segment and the windows (m, K)."""
        left = longest - self.start
        room = np.where(
            self.rise > 0.0, left / np.where(self.rise > 0.0, self.rise, 1.0), np.where(left >= 0.0, np.inf, -np.inf)
        )
        fewest, most = low.sum(-1), high.sum(-1)
        largest = np.clip(np.floor(room * (1.0 + SAFETY) + SAFETY), -1.0, most)
        law = replace(self, fewest=np.maximum(self.fewest, fewest), most=np.minimum(self.most, largest))
        # the length of each device is limited by those of the others
        ends, least = high, np.maximum(low, law.fewest[:, None] - (most[:, None] - high))
        high = np.minimum(high, law.most[:, None] - (fewest[:, None] - low))
        none = (law.fewest > law.most) | (least > high).any(-1)
        low = np.minimum(least, ends)  # where no lengths are left, any lengths in range are valid
        return law, low, np.maximum(high, low), none

    def halve(self, rows: BoolArray) -> tuple["Segment", "Segment"]:
        """Split segments at the middle of x where ``rows`` (m,) is True; elsewhere return the whole segment twice."""
        middle = np.floor(0.5 * (np.where(rows, self.fewest, 0.0) + np.where(rows, self.most, 0.0)))
        below = replace(self, most=np.where(rows, middle, self.most))
        return below, replace(self, fewest=np.where(rows, middle + 1.0, self.fewest))

    def steer(self, lengths: FloatArray, slopes: tuple[float, float]) -> "Segment":
        """Adapt the slopes to the tokens of the best lengths (m, K), within the two limits ``slopes``."""
        x, size = lengths.sum(-1), np.abs(self.step)
        tight = ((x == self.most) & (self.slope >= self.rise)) | ((x == self.fewest) & (self.slope <= self.rise))
        back = np.where(tight, 0.0, np.clip(self.rise - self.slope, -size, size))
        change = np.where(x > self.most, size, np.where(x < self.fewest, -size, back))
        slope = np.clip(self.slope + change, *slopes)
        longer = np.where(change * self.step > 0.0, 1.3, 0.5) * size  # shorter if the direction has changed
        return replace(self, slope=slope, step=np.where(change == 0.0, self.step, np.copysign(longer, change)))


_Law = FixedPass | Segment


def slope_range(problem: Problem) -> tuple[float, float]:
    """Return the range of slopes that can give the least bound: that of the law; with a TPOT, 0 to 8 times the largest.

    A TPOT favours shorter rounds with fewer tokens, as if every token took longer.
    """
    if problem.tpot < np.inf:
        return 0.0, 8.0 * float(problem.lines[-1, 1])
    return float(problem.lines[0, 1]), float(problem.lines[-1, 1])


def make_laws(problem: Problem, slope: FloatArray) -> list[_Law]:
    """Return one segment for each line of the law, with the slopes (n,) of the first bounding lines of n instances.

    A flat law has one `FixedPass`, which needs fewer operations than a segment.
    """
    if problem.flat:
        return [FixedPass(problem.constant_time + problem.lines[0, 0])]
    ends = kinks(problem.lines)
    fewest, most = np.concatenate([[-np.inf], np.ceil(ends)]), np.concatenate([np.floor(ends), [np.inf]])
    flattest, steepest = slope_range(problem)
    step = 0.25 * (steepest - flattest)
    even = np.ones(len(problem))
    return [
        Segment(problem.constant_time + start, rise * even, first * even, last * even, slope, step * even)
        for (start, rise), first, last in zip(problem.lines, fewest, most, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Nodes(Batched):
    """Parts (m,) of the problem: an interval of latency and a window of lengths for each user."""

    instance: IntArray  # (m,) row of the problem
    left: FloatArray  # φ₁ (m,) s
    right: FloatArray  # φ₂ (m,) s
    low: FloatArray  # (m, K) shortest length that can be best
    high: FloatArray  # (m, K) longest length that can be best
    bound: FloatArray  # (m,) tokens/s, upper bound on the decisions inside
    by_user: BoolArray  # (m,) whether the last split was that of a window, not of the interval
    law: _Law  # time of the pass

    def __len__(self) -> int:
        return len(self.instance)


class Bounds(NamedTuple):
    """Result of one evaluation of a set of nodes."""

    bound: FloatArray  # (m,) tokens/s; 0 where no decision is inside
    low: FloatArray  # (m, K) shortest length that can be best
    high: FloatArray  # (m, K) longest length that can be best
    candidate: FloatArray  # lengths (m, K) that fit at φ₂
    critical: IntArray  # (m,) user whose next token no longer fits
    left: FloatArray  # latencies (m,) s between which a decision can be best
    right: FloatArray


class _Table(NamedTuple):
    """Every length of every window, (W, m, K) with the largest width W."""

    inside: BoolArray
    tokens: FloatArray  # ω e(l), less the cost of l in the pass
    share: FloatArray  # w(l; φ₂); 0 where not inside
    slope: FloatArray  # −∂w/∂φ at φ₂


@np.errstate(over="ignore")  # −∞ is intended where a tangent is that steep
def bound_nodes(problem: Problem, nodes: Nodes, target: FloatArray) -> Bounds:
    """Bound the goodput inside each of m nodes and narrow their windows; row i of the problem belongs to node i.

    Windows keep all lengths of all decisions whose goodput exceeds ``target`` (m,).
    """
    table = _tabulate(problem, nodes)
    tokens, charged, server, empty = nodes.law.charge(table.tokens, nodes, target)
    scale, table = table.tokens[-1].sum(-1) + charged, table._replace(tokens=tokens)
    if problem.token_price is not None:
        scale = scale + problem.cost(nodes.high).sum(-1)
    # any λ ≥ 0 is valid, but a large λ loses digits
    price, candidate, critical = _shadow_price(table, nodes.low, 1e3 * scale)
    dead = empty | ~table.inside[0].all(-1) | (table.share[0].sum(-1) > 1.0 + SAFETY)
    right = np.where(table.inside, table.tokens - price[:, None] * table.share, -np.inf)
    left = right - (price * (nodes.right - nodes.left))[:, None] * table.slope
    best_right, best_left = (np.maximum(terms.max(0), -1e300) for terms in (right, left))
    rounding = SAFETY * (price + scale)
    most_right = price + best_right.sum(-1) + rounding
    most_left = price + best_left.sum(-1) + rounding
    time_right = nodes.right + server
    time_left = nodes.left + server
    bound = np.maximum(most_right / time_right, most_left / time_left)
    slack_right, slack_left = most_right - target * time_right, most_left - target * time_left
    wins = right >= best_right - slack_right[:, None]
    wins |= left >= best_left - slack_left[:, None]
    low, high, some = find_ends(wins)
    low, high = nodes.low + low, np.minimum(nodes.low + high, nodes.high)
    dead |= ~some.all(-1)
    ends = _winning(nodes, slack_left, slack_right)
    return Bounds(np.where(dead, 0.0, bound), low, high, candidate, critical, *ends)


def find_ends(wins: BoolArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return the first and last true position in each column (m, K) of (W, m, K), and whether one is true.

    If none is true, the positions are 0 and W − 1.
    """
    kind = np.uint8 if len(wins) <= 255 else np.int64  # narrow integers are faster
    position = np.arange(len(wins), dtype=kind)[:, None, None]
    some: BoolArray = np.logical_or.reduce(wins, 0)
    first = np.where(wins, position, kind(len(wins) - 1)).min(0)
    last = np.where(wins, position, kind(0)).max(0)
    return np.where(some, first, 0.0), np.where(some, last, len(wins) - 1.0), some


def _winning(nodes: Nodes, slack_left: FloatArray, slack_right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return latencies between which the slack may be positive: it is convex, so at most the chord of both ends."""
    width = nodes.right - nodes.left
    crosses = (slack_left > 0.0) != (slack_right > 0.0)
    part = slack_left / np.where(crosses, slack_left - slack_right, 1.0)
    crossing = nodes.left + width * np.clip(part, 0.0, 1.0)
    left = np.where(crosses & (slack_right > 0.0), crossing * (1.0 - SAFETY), nodes.left)
    right = np.where(crosses & (slack_left > 0.0), crossing * (1.0 + SAFETY), nodes.right)
    return np.maximum(left, nodes.left), np.minimum(right, nodes.right)


def _tabulate(problem: Problem, nodes: Nodes) -> _Table:
    width = int((nodes.high - nodes.low).max()) + 1
    length = nodes.low + np.arange(float(width))[:, None, None]
    room = nodes.right[:, None] - problem.drafting(length)
    inside = length <= nodes.high
    inside &= problem.fits(length, room, 1.0 + SAFETY)  # no decision has a share above one
    room[~(inside & (room > 0.0))] = np.inf
    share, growth = problem.allocate(length, room)
    return _Table(inside, problem.expected(np.minimum(length, nodes.high)), share, growth / room)


def _shadow_price(table: _Table, low: FloatArray, highest: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return λ of the best bound at φ₂, its lengths, and the user of the first token by gain that does not fit."""
    possible = table.inside[1:]
    extra_lengths, m, users = possible.shape
    if not extra_lengths:
        return np.zeros(m), low, np.zeros(m, dtype=np.int64)
    extra = np.where(possible, table.share[1:] - table.share[:-1], 0.0)
    gain = table.tokens[1:] - table.tokens[:-1]
    rate = np.where(possible, gain / np.where(extra > 0.0, extra, 1.0), -1.0)
    by_node = rate.swapaxes(0, 1).reshape(m, -1)
    order = np.argsort(-by_node, -1)
    used = np.take_along_axis(extra.swapaxes(0, 1).reshape(m, -1), order, -1).cumsum(-1)
    used += table.share[0].sum(-1)[:, None]
    first = np.minimum(np.count_nonzero(used <= 1.0, -1), used.shape[1] - 1)
    rows = np.arange(m)
    last = by_node[rows, order[rows, first]]
    price = np.where(used[rows, first] > 1.0, np.maximum(last, 0.0), 0.0)
    taken = np.add.reduce((rate > price[:, None]) & possible, 0, dtype=np.float64)
    token = (by_node == last[:, None]).argmax(-1)  # the first of equal tokens, independent of the sort
    return np.minimum(price, highest), low + taken, token % users
