"""Rounds in which every device gets its tokens in time (not in the paper; docs/reference/derivations.md, 8).

The least TPOT is the minimum of T(L(v)) / v over the values v = E[N_k | l], where L(v) are the shortest lengths with
which every device gains v tokens. As T increases with v, the ends of a block of values bound the ratios in the block,
which excludes most blocks at once.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.draft import expected_tokens
from multispin_env.solver.problem import ROUNDING, Problem, in_blocks, in_chunks
from multispin_env.solver.windows import SAFETY, Nodes

NUM_BLOCKS, NUM_PIECES = 64, 8
"""Blocks of values v that are evaluated first, and pieces into which a remaining block is divided."""

MAX_ENTRIES = 500_000  # Entries of an array that are processed together


class _LeastTpot(NamedTuple):
    tpot: FloatArray  # (n,) s
    length: FloatArray  # (n, K) tokens that achieve it


def count_shorter(ladder: FloatArray, rows: IntArray, needs: FloatArray) -> IntArray:
    """Count lengths of each device that gain less than ``needs`` (m,) in ``rows`` (m,) of the ladder, (m, K)."""
    bar = (needs * (1.0 - ROUNDING))[:, None]
    short = np.zeros((len(rows), ladder.shape[1]), dtype=np.int16)  # less memory: half the time
    for column in np.ascontiguousarray(np.moveaxis(ladder, -1, 0)):  # over lengths
        short += column.take(rows, 0) < bar
    return short.astype(np.int64)


def least_tpot(problem: Problem, enough: float = 0.0) -> _LeastTpot:
    """Return the shortest TPOT that all devices can get, or the first one found that is ≤ ``enough`` seconds."""
    return _LeastTpot(*in_chunks(lambda part: _least_tpot(part, enough), problem))


def _least_tpot(problem: Problem, enough: float) -> _LeastTpot:
    length = problem.low[..., None] + np.arange(int((problem.high - problem.low).max()) + 1)
    tokens = expected_tokens(length, problem.acceptance_rate[..., None])
    inside = length <= problem.high[..., None]
    ladder, reach = np.where(inside, tokens, np.inf), np.where(inside, tokens, 0.0).max(-1).min(-1)
    needs = np.sort(np.minimum(ladder.reshape(len(ladder), -1), reach[:, None]))  # values v that every device reaches
    best = _LeastTpot(np.full(len(problem), np.inf), problem.low.astype(np.float64))
    edges = np.linspace(0, needs.shape[1], NUM_BLOCKS + 1).astype(np.int64)
    rows, block = (index.ravel() for index in np.indices((len(problem), NUM_BLOCKS)))
    first, last = edges[block], edges[block + 1]
    while len(rows):
        offer = partial(_offer, problem, ladder, needs, best)
        (time,) = in_blocks(offer, max(1, MAX_ENTRIES // problem.low.shape[1]), rows, first)
        hopeful = (time < best.tpot[rows] * needs[rows, last - 1]) & (last - first > 1) & (best.tpot[rows] > enough)
        rows, first, last = rows[hopeful], first[hopeful] + 1, last[hopeful]
        bounds = first[:, None] + (last - first)[:, None] * np.arange(NUM_PIECES + 1) // NUM_PIECES
        first, last = bounds[:, :-1], bounds[:, 1:]
        some = last > first
        rows, first, last = np.broadcast_to(rows[:, None], some.shape)[some], first[some], last[some]
    return best


def _offer(
    problem: Problem, ladder: FloatArray, needs: FloatArray, best: _LeastTpot, rows: IntArray, position: IntArray
) -> tuple[FloatArray]:
    """Return T (m,) of the shortest lengths for values at ``position`` (m,) of ``rows`` (m,), and update ``best``."""
    required = needs[rows, position]
    part = problem[rows]
    length = (part.low + count_shorter(ladder, rows, required)).astype(np.float64)
    time = part.round_time(length)
    order = np.lexsort((time / required, rows))
    winner = order[np.unique(rows[order], return_index=True)[1]]
    winner = winner[time[winner] < best.tpot[rows[winner]] * required[winner]]
    best.tpot[rows[winner]] = time[winner] / required[winner]
    best.length[rows[winner]] = length[winner]
    return (time,)


def timely_windows(problem: Problem, nodes: Nodes) -> Nodes:
    """Remove latencies and lengths with which no decision of a part is in time; row i of the problem is that of part i.

    The shortest round of a part implies a shortest length for every device, and the longest lengths limit the round.
    Where nothing is left, the bound becomes 0.
    """
    length = nodes.low[..., None] + np.arange(int((nodes.high - nodes.low).max(initial=0)) + 1)
    tokens = expected_tokens(length, problem.acceptance_rate[..., None])
    needs = (nodes.left + nodes.law.shortest_time(nodes.low)) / problem.tpot * (1.0 - SAFETY)
    low = nodes.low + (tokens < needs[:, None, None]).sum(-1)
    reach = expected_tokens(nodes.high, problem.acceptance_rate).min(-1)
    late = np.asarray((low > nodes.high).any(-1))
    low = np.minimum(low, nodes.high)
    nodes = replace(nodes, low=low, bound=np.where(late, 0.0, nodes.bound))
    latency = problem.latency(low[:, None])[:, 0]
    left = np.maximum(nodes.left, latency * (1.0 - SAFETY))
    longest = reach * problem.tpot * (1.0 + SAFETY)
    right = np.minimum(nodes.right, longest - nodes.law.shortest_time(low))
    nodes = replace(nodes, left=left, right=np.maximum(right, left), bound=np.where(right < left, 0.0, nodes.bound))
    law, low, high, none = nodes.law.trim(nodes.low, nodes.high, longest - nodes.left)
    return replace(nodes, low=low, high=high, law=law, bound=np.where(none, 0.0, nodes.bound))


def is_in_time(problem: Problem, length: FloatArray) -> BoolArray:
    """Return whether all devices get their tokens in time with lengths (n, K), (n,)."""
    return problem.round_time(length) <= problem.longest_round(length[:, None])[:, 0]
