"""Branch and bound over latency and lengths, all instances of a batch in step (ours).

An instance starts as one part: every latency between those of its shortest and longest lengths. Parts are bounded
(`windows`), split or listed (`branching`); the decisions met on the way replace the incumbent. Every instance works on
its most promising parts first and never sees the others of the batch, so that its result is the same in any batch.
"""

from dataclasses import replace
from time import monotonic
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.tokens import expected_tokens
from multispin_env.solver.branching import (
    Listing,
    branch_on_user,
    few_decisions,
    improvements,
    listed,
    split,
)
from multispin_env.solver.equalization import equal_latency
from multispin_env.solver.problem import Problem
from multispin_env.solver.relaxed import TINY, Relaxed
from multispin_env.solver.windows import SAFETY, Nodes, evaluate, joined

BREADTH = 64
"""Parts of an instance that are split in a round."""

OVERLAP = 1e-12
"""Relative margin of the outermost latencies, for rounding."""


class Search(NamedTuple):
    """The best decision found, and what no decision exceeds."""

    lengths: FloatArray  # (n, K)
    value: FloatArray  # (n,) tokens/s
    bound: FloatArray  # (n,) tokens/s


class _Incumbent:
    """Best decision of each instance so far."""

    def __init__(self, problem: Problem, lengths: FloatArray) -> None:
        self.problem = problem
        self.lengths = lengths.copy()
        self.value = problem.value(lengths[:, None])[:, 0]

    def offer(self, listing: Listing) -> None:
        best = improvements(self.problem, listing, self.value)
        if len(best.instance):
            self.lengths[best.instance] = best.lengths
            part = self.problem.rows(best.instance)
            self.value[best.instance] = part.value(best.lengths[:, None])[:, 0]


def search(
    problem: Problem,
    lengths: FloatArray,
    relaxed: Relaxed,
    tolerance: float,
    rounds: int,
    deadline: float = np.inf,
) -> Search:
    """Close the gap between the best decision and the bound to ``tolerance``, or as far as the effort goes.

    Parameters
    ----------
    problem
        The batch, n instances.
    lengths
        Start (n, K), whole numbers.
    relaxed
        Relaxed optimum of the batch; only how well the search starts depends on it.
    tolerance
        Relative gap, at least `SAFETY`.
    rounds
        Most rounds; each splits up to `BREADTH` parts of an instance.
    deadline
        `time.monotonic()` at which to stop; one round is always played, so that there is a bound.

    Returns
    -------
    Search
        Lengths, value and bound; closed where bound ≤ (1 + tolerance) value.
    """
    incumbent = _Incumbent(problem, lengths)
    waiting = _root(problem, relaxed, incumbent.value * (1.0 + tolerance))
    for _ in range(rounds):
        if not len(waiting):
            break
        chosen = _most_promising(waiting)
        waiting = joined(waiting.rows(~chosen), _expand(incumbent, waiting.rows(chosen), tolerance))
        waiting = waiting.rows(waiting.bound > (incumbent.value * (1.0 + tolerance))[waiting.instance])
        if monotonic() > deadline:
            break
    bound = incumbent.value * (1.0 + tolerance)
    np.maximum.at(bound, waiting.instance, waiting.bound)
    return Search(incumbent.lengths, incumbent.value, bound)


def _root(problem: Problem, relaxed: Relaxed, target: FloatArray) -> Nodes:
    """One part for each instance: all latencies, and the windows that a linear bound leaves."""
    low, high = _linear_windows(problem, relaxed, target)
    shortest = equal_latency(low, problem.draft_time, problem.token_time).latency
    longest = equal_latency(high, problem.draft_time, problem.token_time).latency
    n = len(problem)
    return Nodes(
        instance=np.arange(n),
        left=shortest * (1.0 - OVERLAP),
        right=longest * (1.0 + OVERLAP),
        low=low,
        high=high,
        bound=np.full(n, np.inf),
        by_user=np.zeros(n, dtype=bool),
    )


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # for absurd numbers
def _linear_windows(problem: Problem, relaxed: Relaxed, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Lengths that can win by the tangent of φ(L) at the relaxed optimum.

    φ(L) is convex and homogeneous, so φ(L) ≥ Σ a_k L_k with its gradient a, and L wins against G only if
    Σ (ω e(L_k) − G a_k L_k) ≥ G T_ver: the terms are separate, and each may lose at most what the best leave over.
    """
    latency, share = equal_latency(relaxed.length, problem.draft_time, problem.token_time)
    uploading = problem.token_time * relaxed.length
    # the shares keep the digits that φ − L T loses where drafting fills φ
    room = np.where(share > 0.0, uploading / np.where(share > 0.0, share, 1.0), np.maximum(latency, TINY)[:, None])
    pull = np.maximum((share / room).sum(-1, keepdims=True), TINY)
    gradient = problem.token_time / room / pull * (latency[:, None] / room)
    gradient = np.where(np.isfinite(gradient), gradient, 0.0)
    width = int((problem.high - problem.low).max()) + 1
    length = problem.low[..., None] + np.arange(width)
    tokens = problem.weights[..., None] * expected_tokens(length, problem.acceptance_rate[..., None])
    worth = tokens - (target[:, None] * gradient)[..., None] * length
    worth = np.where(length <= problem.high[..., None], worth, -np.inf)
    best = worth.max(-1, keepdims=True)
    slack = best.sum((-1, -2)) - target * problem.verification_time
    wins = worth >= best - (slack + SAFETY * tokens.max(-1).sum(-1))[:, None, None]
    low = problem.low + wins.argmax(-1)
    high = problem.low + (width - 1) - wins[..., ::-1].argmax(-1)
    high = np.minimum(high, problem.high)  # where nothing wins the range stays as it is
    return low.astype(np.float64), high.astype(np.float64)


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
    incumbent.offer(listed(nodes.rows(few & (nodes.bound > 0.0))))
    incumbent.offer(Listing(nodes.instance[~few], candidate[~few]))
    target = (incumbent.value * (1.0 + tolerance))[nodes.instance]
    rest = np.flatnonzero(~few & (nodes.bound > target))
    nodes, critical = nodes.rows(rest), critical[rest]
    by_user = branch_on_user(nodes, before[rest], target[rest], critical)
    return split(nodes, candidate[rest], critical, by_user, incumbent.problem.verification_time)


def _bounded(incumbent: _Incumbent, nodes: Nodes, tolerance: float) -> tuple[Nodes, FloatArray, IntArray]:
    """Parts with their bounds and narrower windows, the candidates, and the users to branch on."""
    target = (incumbent.value * (1.0 + tolerance))[nodes.instance]
    at = evaluate(incumbent.problem.rows(nodes.instance), nodes, target)
    bound = np.where(at.bound > target, np.minimum(at.bound, nodes.bound), 0.0)
    return replace(nodes, low=at.low, high=at.high, bound=bound), at.candidate, at.critical
