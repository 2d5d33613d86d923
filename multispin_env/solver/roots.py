"""Parts that branch and bound starts from (ours).

One part holds every latency between those of the shortest and the longest lengths, and for each user the lengths that
a linear bound leaves. Laws by tokens start with a part for each of their lines, and those of padded passes with one for
each longest draft, in which the pass takes a constant time.
"""

from dataclasses import replace

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.solver.equalization import equal_latency
from multispin_env.solver.problem import Problem
from multispin_env.solver.relaxed import Relaxed
from multispin_env.solver.segments import SAFETY, FixedPass, laws_of
from multispin_env.solver.server import support
from multispin_env.solver.windows import Nodes, ends_of, joined_nodes

OVERLAP = 1e-12  # Relative margin of the outermost latencies, for rounding


def roots(problem: Problem, relaxed: Relaxed, target: FloatArray) -> Nodes:
    """Parts that hold every decision of n instances that is better than ``target`` (n,)."""
    if problem.padded:
        every = range(int(problem.low.max(-1).min()), int(problem.high.max()) + 1)
        return joined_nodes(*(_of_longest(problem, relaxed, target, longest) for longest in every))
    whole, _ = _root(problem, relaxed, target)
    return joined_nodes(*(replace(whole, law=law) for law in laws_of(problem, relaxed.slope)))


def _of_longest(problem: Problem, relaxed: Relaxed, target: FloatArray, longest: int) -> Nodes:
    """The part in which no draft is longer than ``longest`` and a pass takes as long as if one were so long."""
    rows = np.flatnonzero((problem.low.max(-1) <= longest) & (problem.high.max(-1) >= longest))
    part = problem.rows(rows).of_longest(np.full(len(rows), longest))
    nodes, wins = _root(part, Relaxed(*(array[rows] for array in relaxed)), target[rows])
    return replace(nodes, instance=rows).rows(wins)


def _root(problem: Problem, relaxed: Relaxed, target: FloatArray) -> tuple[Nodes, BoolArray]:
    """One part for each instance: all latencies, and the windows a linear bound leaves; whether it leaves any, (n,)."""
    low, high, wins = _linear_windows(problem, relaxed, target)
    shortest = equal_latency(low, problem.draft_time, problem.token_time).latency
    longest = equal_latency(high, problem.draft_time, problem.token_time).latency
    left, right, law = shortest * (1.0 - OVERLAP), longest * (1.0 + OVERLAP), FixedPass(problem.verification_time)
    every, no_bound, no_split = np.arange(len(problem)), np.full(len(problem), np.inf), np.zeros(len(problem), bool)
    return Nodes(every, left, right, low, high, no_bound, no_split, law), wins


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # for absurd numbers
def _linear_windows(problem: Problem, relaxed: Relaxed, target: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Lengths that can win by the tangent of φ(L) at the relaxed optimum, and the instances (n,) that have any.

    φ(L) is convex and homogeneous, so φ(L) ≥ Σ a_k L_k with its gradient a, and L wins against G only if
    Σ (ω e(L_k) − G a_k L_k) ≥ G T_ver: the terms are separate, and each may lose at most what the best leave over.
    The law lies above a line of any slope, which is added to the gradient.
    """
    gradient = problem.latency_slopes(relaxed.length) + relaxed.slope[:, None]
    ends = problem.low.sum(-1).astype(np.float64), problem.high.sum(-1).astype(np.float64)
    time = problem.verification_time + support(problem.lines, relaxed.slope, *ends)
    width = int((problem.high - problem.low).max()) + 1
    length = problem.low + np.arange(width)[:, None, None]
    tokens = problem.expected(np.minimum(length, problem.high))
    worth = tokens - (target[:, None] * gradient) * length
    worth = np.where(length <= problem.high, worth, -np.inf)
    best = worth.max(0)
    slack = best.sum(-1) - target * time
    wins = worth >= best - (slack + SAFETY * tokens[-1].sum(-1))[:, None]
    low, high, some = ends_of(wins)
    high = np.minimum(problem.low + high, problem.high)  # where nothing wins the range stays as it is
    return problem.low + low, high, np.logical_or.reduce(some, -1)
