"""Rounds in which every device gets its tokens in time (ours; docs/reference/derivations.md, 8).

The least TPOT of all lengths is the smallest T(L(v)) / v over the numbers v = E[N_k | l], where L(v) are the least
lengths that reach v. T grows with v, so that the ends of a block of them bound the ratios inside, and most blocks are
ruled out at once.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.tokens import expected_tokens
from multispin_env.solver.equalization import equal_latency
from multispin_env.solver.problem import ROUNDING, Problem, in_chunks
from multispin_env.solver.windows import SAFETY, Nodes

NUM_BLOCKS, NUM_PIECES = 64, 8
"""Blocks of the numbers v that are looked at first, and pieces into which one that is still open is cut."""

MAX_ENTRIES = 500_000  # Numbers of an array that are worked on at once


class _LeastTpot(NamedTuple):
    tpot: FloatArray  # (n,) s
    length: FloatArray  # (n, K) tokens, that give it


def _expected_ladder(problem: Problem) -> FloatArray:
    length = problem.low[..., None] + np.arange(int((problem.high - problem.low).max()) + 1)
    tokens = expected_tokens(length, problem.acceptance_rate[..., None])
    return np.where(length <= problem.high[..., None], tokens, np.inf)


def _useful_needs(ladder: FloatArray) -> FloatArray:
    """All numbers v of the ladder (n, K, W) that every device can reach, rising, (n, K W); the largest is repeated."""
    reach = np.where(np.isfinite(ladder), ladder, 0.0).max(-1).min(-1)
    return np.sort(np.minimum(ladder.reshape(len(ladder), -1), reach[:, None]))


def count_shorter(ladder: FloatArray, rows: IntArray, needs: FloatArray) -> IntArray:
    """How many of a device's lengths give fewer tokens than ``needs`` (m,), (m, K), in ``rows`` (m,) of the ladder."""
    bar = (needs * (1.0 - ROUNDING))[:, None]
    short = np.zeros((len(rows), ladder.shape[1]), dtype=np.int64)
    for column in np.moveaxis(ladder, -1, 0):  # over lengths
        short += column[rows] < bar
    return short


def least_tpot(problem: Problem, enough: float = 0.0) -> _LeastTpot:
    """The shortest TPOT that any lengths give to all devices, or the first that is at most ``enough`` seconds."""
    return _LeastTpot(*in_chunks(lambda part: _least_tpot(part, enough), problem))


def _least_tpot(problem: Problem, enough: float) -> _LeastTpot:
    n = len(problem)
    ladder = _expected_ladder(problem)
    needs = _useful_needs(ladder)
    best = _LeastTpot(np.full(n, np.inf), problem.low.astype(np.float64))
    edges = np.linspace(0, needs.shape[1], NUM_BLOCKS + 1).astype(np.int64)
    rows, block = (index.ravel() for index in np.indices((n, NUM_BLOCKS)))
    first, last = edges[block], edges[block + 1]
    while len(rows):
        most = max(1, MAX_ENTRIES // problem.low.shape[1])
        time = np.concatenate(
            [
                _offer(problem, ladder, needs, best, rows[i : i + most], first[i : i + most])
                for i in range(0, len(rows), most)
            ]
        )
        hopeful = (time < best.tpot[rows] * needs[rows, last - 1]) & (last - first > 1) & (best.tpot[rows] > enough)
        rows, first, last = _cut(rows[hopeful], first[hopeful] + 1, last[hopeful])
    return best


def _offer(
    problem: Problem, ladder: FloatArray, needs: FloatArray, best: _LeastTpot, rows: IntArray, position: IntArray
) -> FloatArray:
    """T (m,) of the least lengths for the numbers at ``position`` (m,) of ``rows`` (m,); ``best`` takes the better."""
    wanted = needs[rows, position]
    part = problem.rows(rows)
    length = (part.low + count_shorter(ladder, rows, wanted)).astype(np.float64)
    time = part.round_time(length)
    order = np.lexsort((time / wanted, rows))
    winner = order[np.unique(rows[order], return_index=True)[1]]
    winner = winner[time[winner] < best.tpot[rows[winner]] * wanted[winner]]
    best.tpot[rows[winner]] = time[winner] / wanted[winner]
    best.length[rows[winner]] = length[winner]
    return time


def _cut(rows: IntArray, first: IntArray, last: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    bounds = first[:, None] + (last - first)[:, None] * np.arange(NUM_PIECES + 1) // NUM_PIECES
    left, right = bounds[:, :-1], bounds[:, 1:]
    some = right > left
    return np.broadcast_to(rows[:, None], some.shape)[some], left[some], right[some]


def timely_windows(problem: Problem, nodes: Nodes) -> Nodes:
    """Parts, with a row of the problem each, without latencies and lengths that are in time for no decision inside.

    The shortest round of a part asks for a least length of every device, and no round lasts longer than the longest
    lengths allow. Where nothing is left the bound becomes 0.
    """
    length = nodes.low[..., None] + np.arange(int((nodes.high - nodes.low).max(initial=0)) + 1)
    tokens = expected_tokens(length, problem.acceptance_rate[..., None])
    needs = (nodes.left + nodes.law.shortest_time(nodes.low)) / problem.tpot * (1.0 - SAFETY)
    low = nodes.low + (tokens < needs[:, None, None]).sum(-1)
    reach = expected_tokens(nodes.high, problem.acceptance_rate).min(-1)
    late = np.asarray((low > nodes.high).any(-1))
    low = np.minimum(low, nodes.high)
    nodes = replace(nodes, low=low, bound=np.where(late, 0.0, nodes.bound))
    latency = equal_latency(low, problem.draft_time, problem.token_time).latency
    left = np.maximum(nodes.left, latency * (1.0 - SAFETY))
    longest = reach * problem.tpot * (1.0 + SAFETY)
    right = np.minimum(nodes.right, longest - nodes.law.shortest_time(low))
    nodes = replace(nodes, left=left, right=np.maximum(right, left), bound=np.where(right < left, 0.0, nodes.bound))
    law, low, high, none = nodes.law.trim(nodes.low, nodes.high, longest - nodes.left)
    return replace(nodes, low=low, high=high, law=law, bound=np.where(none, 0.0, nodes.bound))


def is_in_time(problem: Problem, length: FloatArray) -> BoolArray:
    """Whether each device gets its tokens in time with lengths (n, K), (n,)."""
    return problem.round_time(length) <= problem.longest_round(length[:, None])[:, 0]
