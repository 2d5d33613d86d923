"""The best of several starts that moves improve (ours)."""

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.solver.moves import improve
from multispin_env.solver.problem import Problem


def improve_best(
    problem: Problem, candidates: FloatArray, latency: FloatArray, value: FloatArray, starts: int
) -> FloatArray:
    """Improve the best distinct candidates of each instance, and return the best that comes of them, (n, K).

    Parameters
    ----------
    problem
        The batch, n instances.
    candidates
        Whole numbers (n, m, K).
    latency, value
        Their φ in s and goodput, (n, m).
    starts
        How many are improved.
    """
    rows = np.arange(len(problem))
    if starts == 1:
        best = value.argmax(-1)
        return improve(problem, candidates[rows, best], latency[rows, best][:, None])
    start = _distinct_best(value, starts)
    many = np.repeat(rows, starts)
    lengths = improve(problem.rows(many), candidates[many, start.ravel()], latency[many, start.ravel()][:, None])
    ends = lengths.reshape(*start.shape, -1)
    chosen: FloatArray = ends[rows, problem.value(ends).argmax(-1)]
    return chosen


def _distinct_best(value: FloatArray, count: int) -> IntArray:
    """Positions (n, count) of the largest values (n, m); of equal ones the first counts as large."""
    order = np.argsort(-value, -1, kind="stable")
    ranked = np.take_along_axis(value, order, -1)
    repeated: BoolArray = np.zeros(value.shape, dtype=bool)
    repeated[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    first = np.argsort(repeated, -1, kind="stable")[:, :count]
    positions: IntArray = np.take_along_axis(order, first, -1)
    return positions
