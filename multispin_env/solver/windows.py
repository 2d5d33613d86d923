"""Bounds over intervals of latency, with the lengths that can still win in each of them (ours).

Take φ in [φ₁, φ₂] and any price λ ≥ 0. A decision of latency φ uses shares that sum to at most one, so its tokens are
at most

    N(φ) = λ + Σ_k max_l [ω e(l) − λ w_k(l; φ)].

w is convex in φ, so its tangent at φ₂ stays below it. With the tangent N is a maximum of affine functions, hence
convex, and N(φ) / (φ + T_ver) is largest at an end of the interval: two evaluations bound the goodput of every
decision in it, with an error of second order in the width. A length whose own term falls short of the best one by
more than the slack to the goodput to beat, at both ends, cannot win and leaves the window of its user.

Where T_ver grows with the tokens, by a line of slope b, a token more costs G b tokens at the goodput G to beat. With
ω e(l) − G b (l − low) in place of ω e(l), and T_ver of the shortest lengths, N(φ) / (φ + T_ver) is still a bound
wherever it exceeds G.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.solver.problem import Problem
from multispin_env.solver.segments import SAFETY, Law

DEAREST = 1e3  # Largest λ, in expected tokens of the instance: any λ gives a bound, a larger one would cancel digits


@dataclass(frozen=True, eq=False)
class Nodes:
    """m parts of the problem: an interval of latency and a window of lengths for each user."""

    instance: IntArray  # (m,) row of the problem
    left: FloatArray  # φ₁ (m,) s
    right: FloatArray  # φ₂ (m,) s
    low: FloatArray  # (m, K) shortest length that can win
    high: FloatArray  # (m, K) longest
    bound: FloatArray  # (m,) tokens/s, no decision inside is better
    by_user: BoolArray  # (m,) the last split was of a window, not of the interval
    law: Law  # how the pass is priced

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.instance)

    def rows(self, rows: IntArray | BoolArray) -> "Nodes":
        """Some of the nodes."""
        fields = {name: array[rows] for name, array in vars(self).items() if name != "law"}
        return Nodes(**fields, law=self.law.rows(rows))


def joined_nodes(*parts: Nodes) -> Nodes:
    """All nodes of several sets."""
    names = [name for name in vars(parts[0]) if name != "law"]
    fields = {name: np.concatenate([vars(part)[name] for part in parts]) for name in names}
    laws = [vars(part.law) for part in parts]
    law = type(parts[0].law)(**{name: np.concatenate([one[name] for one in laws]) for name in laws[0]})
    return Nodes(**fields, law=law)


class Bounds(NamedTuple):
    """What one evaluation of a set of nodes tells."""

    bound: FloatArray  # (m,) tokens/s; 0 where no decision is inside
    low: FloatArray  # windows of the lengths that can win, (m, K)
    high: FloatArray
    candidate: FloatArray  # lengths (m, K) that fit at φ₂
    critical: IntArray  # (m,) user whose next token no longer fits
    left: FloatArray  # latencies (m,) s between which a decision can win
    right: FloatArray


class _Table(NamedTuple):
    """Every length of every window, (W, m, K) with the widest W; what is beyond a window is not ``inside``."""

    inside: BoolArray
    tokens: FloatArray  # ω e(l), less what l costs in the pass
    share: FloatArray  # w(l; φ₂); 0 where not inside
    slope: FloatArray  # −∂w/∂φ there


@np.errstate(over="ignore")  # −∞ is meant where a tangent is that steep
def bound_nodes(problem: Problem, nodes: Nodes, target: FloatArray) -> Bounds:
    """Bound the goodput inside each of m nodes, with a row of the problem each, and narrow its windows.

    They keep every length of every decision that is better than the goodput to beat, ``target`` (m,).
    """
    table = _tabulate(problem, nodes)
    tokens, charged, server, empty = nodes.law.priced(table.tokens, nodes.low, nodes.high, target)
    scale, table = table.tokens[-1].sum(-1) + charged, table._replace(tokens=tokens)
    price, candidate, critical = _price(table, nodes.low, DEAREST * scale)
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
    low, high, some = ends_of(wins)
    low, high = nodes.low + low, np.minimum(nodes.low + high, nodes.high)
    dead |= ~some.all(-1)
    ends = _winning(nodes, slack_left, slack_right)
    return Bounds(np.where(dead, 0.0, bound), low, high, candidate, critical, *ends)


def ends_of(wins: BoolArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """The first and the last true entry of each column (m, K) of an array (W, m, K), and whether there is any.

    Where there is none, they are 0 and W − 1.
    """
    kind = np.uint8 if len(wins) <= 255 else np.int64  # small numbers are compared many at once
    place = np.arange(len(wins), dtype=kind)[:, None, None]
    some: BoolArray = np.logical_or.reduce(wins, 0)
    first = np.where(wins, place, kind(len(wins) - 1)).min(0)
    last = np.where(wins, place, kind(0)).max(0)
    return np.where(some, first, 0.0), np.where(some, last, len(wins) - 1.0), some


def _winning(nodes: Nodes, slack_left: FloatArray, slack_right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The latencies at which the slack may be positive: it is convex, so it stays below the chord between the ends."""
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
    room = nodes.right[:, None] - length * problem.draft_time
    share = problem.token_time * length
    inside = length <= nodes.high
    inside &= share <= room * (1.0 + SAFETY)  # a share above one fits in no decision
    room[~(inside & (room > 0.0))] = np.inf
    share /= room
    return _Table(inside, problem.expected(np.minimum(length, nodes.high)), share, share / room)


def _price(table: _Table, low: FloatArray, dearest: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """λ of the best bound at φ₂: tokens in order of gain per share, up to the one that no longer fits."""
    possible = table.inside[1:]
    more, m, users = possible.shape
    if not more:
        return np.zeros(m), low, np.zeros(m, dtype=np.int64)
    extra = np.where(possible, table.share[1:] - table.share[:-1], 0.0)
    gain = table.tokens[1:] - table.tokens[:-1]
    worth = np.where(possible, gain / np.where(extra > 0.0, extra, 1.0), -1.0)
    by_node = worth.swapaxes(0, 1).reshape(m, -1)
    order = np.argsort(-by_node, -1)
    used = np.take_along_axis(extra.swapaxes(0, 1).reshape(m, -1), order, -1).cumsum(-1)
    used += table.share[0].sum(-1)[:, None]
    first = np.minimum(np.count_nonzero(used <= 1.0, -1), used.shape[1] - 1)
    rows = np.arange(m)
    last = by_node[rows, order[rows, first]]
    price = np.where(used[rows, first] > 1.0, np.maximum(last, 0.0), 0.0)
    taken = np.add.reduce((worth > price[:, None]) & possible, 0, dtype=np.float64)
    token = (by_node == last[:, None]).argmax(-1)  # the first of equal ones, whatever the sort makes of them
    return np.minimum(price, dearest), low + taken, token % users
