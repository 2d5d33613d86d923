"""Branch and bound over latency and lengths, for all instances of a batch together (not in the paper).

An instance starts as one part: all latencies between those of the shortest and the longest lengths, and for each user
the lengths that a linear bound leaves. If the time of a pass depends on tokens, there is one such part for each line of
the law; if drafts are padded, one for each maximum length. Parts are bounded (`windows`), then split, or enumerated
once they hold few decisions; better decisions replace the incumbent. The most promising parts of an instance are
processed first, independently of the other instances, so that its result is the same in any batch.
"""

from dataclasses import replace
from time import monotonic
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.solver.pace import is_in_time, timely_windows
from multispin_env.solver.problem import Problem, kinks, support_start
from multispin_env.solver.windows import (
    SAFETY,
    Bounds,
    FixedPass,
    Nodes,
    bound_nodes,
    find_ends,
    make_laws,
    slope_range,
)

_LISTED = 32  # Parts with at most this many decisions are enumerated
_BREADTH = 64  # Parts of an instance that are split in a round
_LEAST_VALUE = 1e-150  # Replaces zero in divisors; numerators reach 1e100 (`problem.MAX_WEIGHT`)
_ROUNDING = 1e-13  # Relative improvement that may be rounding error
BLOCK_ENTRIES = 32_768  # Entries of a table of lengths that are processed together and stay in the core's cache


class Listing(NamedTuple):
    """Decisions with their instances."""

    instance: IntArray  # (j,)
    lengths: FloatArray  # (j, K)


class Search(NamedTuple):
    """Best decision of a search, and an upper bound on every decision."""

    lengths: FloatArray  # (n, K)
    value: FloatArray  # (n,) tokens/s
    bound: FloatArray  # (n,) tokens/s


class _Incumbent:
    def __init__(self, problem: Problem, lengths: FloatArray) -> None:
        self.problem = problem
        self.lengths = lengths.copy()
        self.value = problem.value(lengths[:, None])[:, 0]
        if problem.tpot < np.inf:
            self.value[~is_in_time(problem, lengths)] = 0.0

    def offer(self, listing: Listing) -> None:
        best = best_improvements(self.problem, listing, self.value)
        if len(best.instance):
            self.lengths[best.instance] = best.lengths
            part = self.problem[best.instance]
            self.value[best.instance] = part.value(best.lengths[:, None])[:, 0]


def branch_and_bound(
    problem: Problem, lengths: FloatArray, tolerance: float, rounds: int, deadline: float = np.inf
) -> Search:
    """Search until the gap between the best decision and the bound is ≤ ``tolerance``, or the effort is used up.

    The search starts from integer ``lengths`` (n, K), which must be in time where any lengths are; they affect only the
    speed. The gap is relative, and closed when bound ≤ (1 + tolerance) value; a ``tolerance`` below `windows.SAFETY`
    cannot be reached. There are at most ``rounds`` rounds, each of which splits up to `_BREADTH` parts of an instance.
    The search stops after the first round that ends later than ``deadline`` by `time.monotonic()`, so that there always
    is a bound.
    """
    incumbent = _Incumbent(problem, lengths)
    waiting = _roots(problem, lengths, incumbent.value * (1.0 + tolerance))
    if problem.tpot < np.inf:
        waiting = waiting[np.asarray(is_in_time(problem, lengths))[waiting.instance]]
    for _ in range(rounds):
        if not len(waiting):
            break
        selected = _most_promising(waiting)
        waiting = Nodes.joined([waiting[~selected], _expand(incumbent, waiting[selected], tolerance)])
        waiting = waiting[waiting.bound > (incumbent.value * (1.0 + tolerance))[waiting.instance]]
        if monotonic() > deadline:
            break
    bound = incumbent.value * (1.0 + tolerance)
    np.maximum.at(bound, waiting.instance, waiting.bound)
    return Search(incumbent.lengths, incumbent.value, bound)


def _most_promising(nodes: Nodes) -> BoolArray:
    order = np.lexsort((-nodes.bound, nodes.instance))
    instance = nodes.instance[order]
    first = np.searchsorted(instance, instance, side="left")
    selected = np.empty(len(nodes), dtype=bool)
    selected[order] = np.arange(len(nodes)) - first < _BREADTH
    return selected


def _expand(incumbent: _Incumbent, nodes: Nodes, tolerance: float) -> Nodes:
    before = nodes.bound
    nodes, candidate, critical = _bounded(incumbent, nodes, tolerance)
    few = has_few_decisions(nodes)
    incumbent.offer(list_decisions(nodes[few & (nodes.bound > 0.0)]))
    incumbent.offer(Listing(nodes.instance[~few], candidate[~few]))
    target = (incumbent.value * (1.0 + tolerance))[nodes.instance]
    rest = np.flatnonzero(~few & (nodes.bound > target))
    nodes, critical = nodes[rest], critical[rest]
    by_user = _branch_on_user(nodes, before[rest], target[rest], critical)
    by_pass = _branch_on_pass(incumbent.problem[nodes.instance], nodes)
    return split(nodes, candidate[rest], critical, by_user, by_pass)


def _bounded(incumbent: _Incumbent, nodes: Nodes, tolerance: float) -> tuple[Nodes, FloatArray, IntArray]:
    target = (incumbent.value * (1.0 + tolerance))[nodes.instance]
    part = incumbent.problem[nodes.instance]
    if part.tpot < np.inf:
        nodes = timely_windows(part, nodes)
    at = _evaluate_by_width(part, nodes, target)
    bound = np.where(at.bound > target, np.minimum(at.bound, nodes.bound), 0.0)
    law = nodes.law.steer(at.candidate, slope_range(incumbent.problem))
    nodes = replace(nodes, low=at.low, high=at.high, left=at.left, right=at.right, bound=bound, law=law)
    return nodes, at.candidate, at.critical


def _evaluate_by_width(problem: Problem, nodes: Nodes, target: FloatArray) -> Bounds:
    """Apply `bound_nodes` to blocks of nodes of similar width, since a table is as wide as its widest node."""
    width = np.maximum.reduce(nodes.high - nodes.low, -1) + 1.0
    if (width.max() if len(nodes) else 0.0) * len(nodes) * problem.low.shape[-1] <= BLOCK_ENTRIES:
        return bound_nodes(problem, nodes, target)
    order = np.argsort(width, kind="stable")
    blocks = (width[order].cumsum() * problem.low.shape[-1] // BLOCK_ENTRIES).astype(np.int64)
    groups = np.split(order, np.flatnonzero(np.diff(blocks)) + 1)
    parts = [bound_nodes(problem[rows], nodes[rows], target[rows]) for rows in groups]
    back = np.argsort(order, kind="stable")
    return Bounds(*(np.concatenate(arrays)[back] for arrays in zip(*parts, strict=True)))


def _roots(problem: Problem, start: FloatArray, target: FloatArray) -> Nodes:
    if problem.padded:
        every = range(int(problem.low.max(-1).min()), int(problem.high.max()) + 1)
        return Nodes.joined([_with_longest_draft(problem, start, target, longest) for longest in every])
    slope = problem.lines[np.searchsorted(kinks(problem.lines), start.sum(-1)), 1]
    whole, _ = _root(problem, start, slope, target)
    return Nodes.joined([replace(whole, law=law) for law in make_laws(problem, slope)])


def _with_longest_draft(problem: Problem, start: FloatArray, target: FloatArray, longest: int) -> Nodes:
    rows = np.flatnonzero((problem.low.max(-1) <= longest) & (problem.high.max(-1) >= longest))
    part = problem[rows].with_longest(np.full(len(rows), longest))
    nodes, wins = _root(part, start[rows], np.zeros(len(rows)), target[rows])
    return replace(nodes, instance=rows)[wins]


def _root(problem: Problem, start: FloatArray, slope: FloatArray, target: FloatArray) -> tuple[Nodes, BoolArray]:
    """Return one part for each instance (all latencies, windows of a linear bound), and whether it holds a decision."""
    low, high, wins = _linear_windows(problem, start, slope, target)
    shortest, longest = problem.latency(low[:, None])[:, 0], problem.latency(high[:, None])[:, 0]
    left, right, law = shortest * (1.0 - 1e-12), longest * (1.0 + 1e-12), FixedPass(problem.constant_time)
    every, no_bound, no_split = np.arange(len(problem)), np.full(len(problem), np.inf), np.zeros(len(problem), bool)
    return Nodes(every, left, right, low, high, no_bound, no_split, law), wins


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # for extreme numbers
def _linear_windows(
    problem: Problem, start: FloatArray, slope: FloatArray, target: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return windows of the lengths that can be best by a linear bound, and whether instances (n,) have any.

    φ(L) is convex and homogeneous, so φ(L) ≥ Σ a_k L_k with its gradient a at any lengths. L exceeds G only if
    Σ (ω e(L_k) − G a_k L_k) ≥ G T_ver: the terms are separate, and each may be below its maximum by at most the slack
    of the sum. Where T_ver depends on tokens, the slope of a line below the law is added to the gradient. With delays φ
    is not homogeneous; then, and for other links, the windows are the whole range.
    """
    if not problem.simple:
        return problem.low.astype(np.float64), problem.high.astype(np.float64), np.ones(len(problem), dtype=bool)
    gradient = problem.latency_slopes(np.maximum(start, 0.5)) + slope[:, None]
    ends = problem.low.sum(-1).astype(np.float64), problem.high.sum(-1).astype(np.float64)
    time = problem.constant_time + support_start(problem.lines, slope, *ends)
    width = int((problem.high - problem.low).max()) + 1
    length = problem.low + np.arange(width)[:, None, None]
    tokens = problem.expected(np.minimum(length, problem.high))
    net = tokens - (target[:, None] * gradient) * length
    net = np.where(length <= problem.high, net, -np.inf)
    best = net.max(0)
    slack = best.sum(-1) - target * time
    wins = net >= best - (slack + SAFETY * np.abs(tokens[-1]).sum(-1))[:, None]
    low, high, some = find_ends(wins)
    high = np.minimum(problem.low + high, problem.high)  # without a winner the range does not change
    return problem.low + low, high, np.logical_or.reduce(some, -1)


def has_few_decisions(nodes: Nodes) -> BoolArray:
    """Return whether the windows of nodes (m,) hold at most `_LISTED` decisions."""
    digits = np.log2(nodes.high - nodes.low + 1.0).sum(-1)  # the product itself may overflow
    return digits <= np.log2(_LISTED) + 1e-9


def list_decisions(nodes: Nodes) -> Listing:
    """Return all decisions of all nodes, by counting in mixed radix."""
    size = (nodes.high - nodes.low + 1.0).astype(np.int64)
    stride = np.cumprod(size, -1)
    count = stride[:, -1]
    node = np.repeat(np.arange(len(nodes)), count)
    number = np.arange(len(node)) - np.repeat(np.cumsum(count) - count, count)
    digits = number[:, None] // (stride // size)[node] % size[node]
    return Listing(nodes.instance[node], nodes.low[node] + digits)


def best_improvements(problem: Problem, listing: Listing, value: FloatArray) -> Listing:
    """Return the best listed decision of each instance in which one is better than ``value`` (n,)."""
    part = problem[listing.instance]
    better = is_better(part, listing.lengths[:, None], value[listing.instance][:, None])[:, 0]
    instance, lengths = listing.instance[better], listing.lengths[better]
    values = problem[instance].value(lengths[:, None])[:, 0]
    order = np.lexsort((-values, instance))
    instance, first = np.unique(instance[order], return_index=True)
    return Listing(instance, lengths[order][first])


def is_better(problem: Problem, candidates: FloatArray, value: FloatArray) -> BoolArray:
    """Return whether candidates (n, m, K) are in time and exceed the goodput ``value`` (n, 1) by more than rounding."""
    round_time = problem.tokens(candidates) / np.maximum(value * (1.0 + _ROUNDING), _LEAST_VALUE)
    if problem.tpot < np.inf:
        round_time = np.minimum(round_time, problem.longest_round(candidates) * (1.0 - _ROUNDING))
    access_time = round_time - problem.verification_time(candidates)
    candidates, access_time = candidates.swapaxes(0, 1), access_time.T
    room = access_time[..., None] - problem.drafting(candidates)
    share, _ = problem.allocate(np.where(room > 0.0, candidates, 0.0), np.where(room > 0.0, room, 1.0))
    return ((room > 0.0).all(-1) & (share.sum(-1) <= 1.0)).T


def _branch_on_user(nodes: Nodes, before: FloatArray, target: FloatArray, critical: IntArray) -> BoolArray:
    """Return whether to split a window: the last kind of split is repeated if it tightened ``before``, else changed."""
    worked = nodes.bound - target < 0.7 * (before - target)
    rows = np.arange(len(nodes))
    possible = nodes.high[rows, critical] > nodes.low[rows, critical]
    exhausted = nodes.right - nodes.left <= 1e-14 * nodes.right
    return possible & (np.where(worked, nodes.by_user, ~nodes.by_user) | exhausted)


def _branch_on_pass(problem: Problem, nodes: Nodes) -> BoolArray:
    law = nodes.law
    if problem.tpot == np.inf or isinstance(law, FixedPass):
        return np.zeros(len(nodes), dtype=bool)
    spread = np.where(law.most > law.fewest, law.rise * (law.most - law.fewest), 0.0)
    wide = spread > nodes.right - nodes.left
    late: BoolArray = nodes.right + (law.start + law.rise * law.most) > problem.longest_round(nodes.low[:, None])[:, 0]
    return wide & late


def split(nodes: Nodes, candidate: FloatArray, critical: IntArray, by_user: BoolArray, by_pass: BoolArray) -> Nodes:
    """Split m nodes into 2 m nodes.

    Where ``by_user`` (m,), the window of the ``critical`` user (m,) is split above the length of ``candidate`` (m, K);
    else the range of x of the law where ``by_pass`` (m,), and the interval of latency in all other nodes.
    """
    rows, server = np.arange(len(nodes)), nodes.law.shortest_time(nodes.low)
    # geometric mean of the round times, since intervals may span decades
    rounds = np.sqrt(nodes.left + server) * np.sqrt(nodes.right + server)
    middle = np.clip(rounds - server, nodes.left, nodes.right)
    stuck = (middle <= nodes.left) | (middle >= nodes.right)
    middle = np.where(stuck, 0.5 * (nodes.left + nodes.right), middle)
    by_pass = by_pass & ~by_user
    whole = by_user | by_pass
    middle = np.where(whole, nodes.right, middle)
    low_end, high_end = nodes.low[rows, critical], nodes.high[rows, critical]
    cut = np.clip(candidate[rows, critical], low_end, np.maximum(high_end - 1.0, low_end))
    shorter, longer = nodes.high.copy(), nodes.low.copy()
    shorter[rows, critical] = np.where(by_user, cut, high_end)
    longer[rows, critical] = np.where(by_user, cut + 1.0, low_end)
    nodes = replace(nodes, by_user=by_user)
    smaller, larger = nodes.law.halve(by_pass)
    parts = [
        replace(nodes, right=middle, high=shorter, law=smaller),
        replace(nodes, left=np.where(whole, nodes.left, middle), low=longer, law=larger),
    ]
    return Nodes.joined(parts)
