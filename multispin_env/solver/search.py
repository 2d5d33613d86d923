"""Branch and bound over latency and lengths, all instances of a batch in step (ours).

An instance starts as one part, or as one for each piece of its law of verification (`roots`). Parts are bounded
(`windows`), split or listed (`branching`); the decisions met on the way replace the incumbent. Every instance works on
its most promising parts first and never sees the others of the batch, so that its result is the same in any batch.
"""

from dataclasses import replace
from time import monotonic
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.rounds import largest
from multispin_env.solver.branching import (
    Listing,
    branch_on_pass,
    branch_on_user,
    decisions_of,
    few_decisions,
    improvements,
    split,
)
from multispin_env.solver.pace import in_time, timely_windows
from multispin_env.solver.problem import Problem
from multispin_env.solver.relaxed import Relaxed
from multispin_env.solver.roots import roots
from multispin_env.solver.segments import slope_range
from multispin_env.solver.windows import Bounds, Nodes, bound_nodes, joined_nodes

BREADTH = 64  # Parts of an instance that are split in a round
BLOCK = 32_768  # Numbers of a table of lengths that are worked on together: they stay in the core's cache


class Search(NamedTuple):
    """The best decision of a search, and what no decision exceeds."""

    lengths: FloatArray  # (n, K)
    value: FloatArray  # (n,) tokens/s
    bound: FloatArray  # (n,) tokens/s


class _Incumbent:
    """Best decision of each instance so far."""

    def __init__(self, problem: Problem, lengths: FloatArray) -> None:
        self.problem = problem
        self.lengths = lengths.copy()
        self.value = problem.value(lengths[:, None])[:, 0]
        if problem.tpot < np.inf:
            self.value[~in_time(problem, lengths)] = 0.0

    def offer(self, listing: Listing) -> None:
        best = improvements(self.problem, listing, self.value)
        if len(best.instance):
            self.lengths[best.instance] = best.lengths
            part = self.problem.rows(best.instance)
            self.value[best.instance] = part.value(best.lengths[:, None])[:, 0]


def branch_and_bound(
    problem: Problem, lengths: FloatArray, relaxed: Relaxed, tolerance: float, rounds: int, deadline: float = np.inf
) -> Search:
    """Close the gap between the best decision and the bound to ``tolerance``, or as far as the effort goes.

    Parameters
    ----------
    problem, relaxed
        n instances, and their relaxed optimum, on which only how well the search starts depends.
    lengths
        Start (n, K), whole numbers; in time wherever any lengths are.
    tolerance
        Relative gap, at least `windows.SAFETY`: closed where bound ≤ (1 + tolerance) value.
    rounds
        Most rounds; each splits up to `BREADTH` parts of an instance.
    deadline
        `time.monotonic()` at which to stop; one round is always played, so that there is a bound.
    """
    problem = problem.tabulated()
    incumbent = _Incumbent(problem, lengths)
    waiting = roots(problem, relaxed, incumbent.value * (1.0 + tolerance))
    if problem.tpot < np.inf:
        waiting = waiting.rows(np.asarray(in_time(problem, lengths))[waiting.instance])
    for _ in range(rounds):
        if not len(waiting):
            break
        chosen = _most_promising(waiting)
        waiting = joined_nodes(waiting.rows(~chosen), _expand(incumbent, waiting.rows(chosen), tolerance))
        waiting = waiting.rows(waiting.bound > (incumbent.value * (1.0 + tolerance))[waiting.instance])
        if monotonic() > deadline:
            break
    bound = incumbent.value * (1.0 + tolerance)
    np.maximum.at(bound, waiting.instance, waiting.bound)
    return Search(incumbent.lengths, incumbent.value, bound)


def _most_promising(nodes: Nodes) -> BoolArray:
    """The `BREADTH` parts of each instance with the highest bounds."""
    order = np.lexsort((-nodes.bound, nodes.instance))
    instance = nodes.instance[order]
    first = np.searchsorted(instance, instance, side="left")
    chosen = np.empty(len(nodes), dtype=bool)
    chosen[order] = np.arange(len(nodes)) - first < BREADTH
    return chosen


def _expand(incumbent: _Incumbent, nodes: Nodes, tolerance: float) -> Nodes:
    """Bound parts; list the small ones and return the halves of the others that are still open."""
    before = nodes.bound
    nodes, candidate, critical = _bounded(incumbent, nodes, tolerance)
    few = few_decisions(nodes)
    incumbent.offer(decisions_of(nodes.rows(few & (nodes.bound > 0.0))))
    incumbent.offer(Listing(nodes.instance[~few], candidate[~few]))
    target = (incumbent.value * (1.0 + tolerance))[nodes.instance]
    rest = np.flatnonzero(~few & (nodes.bound > target))
    nodes, critical = nodes.rows(rest), critical[rest]
    by_user = branch_on_user(nodes, before[rest], target[rest], critical)
    by_pass = branch_on_pass(incumbent.problem.rows(nodes.instance), nodes)
    return split(nodes, candidate[rest], critical, by_user, by_pass)


def _bounded(incumbent: _Incumbent, nodes: Nodes, tolerance: float) -> tuple[Nodes, FloatArray, IntArray]:
    """Parts with their bounds and narrower windows, the candidates, and the users to branch on."""
    target = (incumbent.value * (1.0 + tolerance))[nodes.instance]
    part = incumbent.problem.rows(nodes.instance)
    if part.tpot < np.inf:
        nodes = timely_windows(part, nodes)
    at = _evaluate_by_width(part, nodes, target)
    bound = np.where(at.bound > target, np.minimum(at.bound, nodes.bound), 0.0)
    law = nodes.law.steered(at.candidate, slope_range(incumbent.problem))
    nodes = replace(nodes, low=at.low, high=at.high, left=at.left, right=at.right, bound=bound, law=law)
    return nodes, at.candidate, at.critical


def _evaluate_by_width(problem: Problem, nodes: Nodes, target: FloatArray) -> Bounds:
    """`bound_nodes`, narrow nodes first, in blocks: a table is as wide as its widest node."""
    width = largest(nodes.high - nodes.low) + 1.0
    if (width.max() if len(nodes) else 0.0) * len(nodes) * problem.low.shape[-1] <= BLOCK:
        return bound_nodes(problem, nodes, target)
    order = np.argsort(width, kind="stable")
    blocks = (width[order].cumsum() * problem.low.shape[-1] // BLOCK).astype(np.int64)
    groups = np.split(order, np.flatnonzero(np.diff(blocks)) + 1)
    parts = [bound_nodes(problem.rows(rows), nodes.rows(rows), target[rows]) for rows in groups]
    back = np.argsort(order, kind="stable")
    return Bounds(*(np.concatenate(arrays)[back] for arrays in zip(*parts, strict=True)))
