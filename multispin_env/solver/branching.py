"""Branching: parts that are still open are split, or listed once few decisions are left in them (ours)."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.solver.moves import pays
from multispin_env.solver.problem import Problem
from multispin_env.solver.windows import Nodes, joined_nodes

LISTED = 32  # Parts with at most this many decisions are listed
NARROWEST = 1e-14  # Relative width of an interval that is not split any further


class Listing(NamedTuple):
    """Decisions, and the instance each belongs to."""

    instance: IntArray  # (j,)
    lengths: FloatArray  # (j, K)


def few_decisions(nodes: Nodes) -> BoolArray:
    """Whether the windows of each node (m,) hold at most `LISTED` decisions."""
    digits = np.log2(nodes.high - nodes.low + 1.0).sum(-1)  # the product itself may overflow
    return digits <= np.log2(LISTED) + 1e-9


def decisions_of(nodes: Nodes) -> Listing:
    """Every decision of every node, by counting in mixed radix."""
    size = (nodes.high - nodes.low + 1.0).astype(np.int64)
    stride = np.cumprod(size, -1)
    count = stride[:, -1]
    node = np.repeat(np.arange(len(nodes)), count)
    number = np.arange(len(node)) - np.repeat(np.cumsum(count) - count, count)
    digits = number[:, None] // (stride // size)[node] % size[node]
    return Listing(nodes.instance[node], nodes.low[node] + digits)


def split(nodes: Nodes, candidate: FloatArray, critical: IntArray, by_user: BoolArray, by_pass: BoolArray) -> Nodes:
    """Halve m nodes, to 2 m: the interval, the window of the ``critical`` user (m,) where ``by_user``, or the passes.

    A window is split above the length of ``candidate`` (m, K); ``by_pass`` (m,) counts where ``by_user`` (m,) is false.
    """
    rows, verification_time = np.arange(len(nodes)), nodes.law.start  # about
    # the geometric mean of the round's latency, which the goodput divides by, for any number of decades
    rounds = np.sqrt(nodes.left + verification_time) * np.sqrt(nodes.right + verification_time)
    middle = np.clip(rounds - verification_time, nodes.left, nodes.right)
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
    smaller, larger = nodes.law.halves(by_pass)
    return joined_nodes(
        replace(nodes, right=middle, high=shorter, law=smaller),
        replace(nodes, left=np.where(whole, nodes.left, middle), low=longer, law=larger),
    )


def branch_on_pass(problem: Problem, nodes: Nodes) -> BoolArray:
    """Whether to halve the passes of each node: their times differ by more than its latencies, and some are late."""
    law = nodes.law
    if problem.tpot == np.inf:
        return np.zeros(len(nodes), dtype=bool)
    wide = law.spread > nodes.right - nodes.left
    late: BoolArray = nodes.right + law.longest_time > problem.longest_round(nodes.low[:, None])[:, 0]
    return wide & late


def branch_on_user(nodes: Nodes, before: FloatArray, target: FloatArray, critical: IntArray) -> BoolArray:
    """Whether to split a window: keep to the kind of split that worked, change from one that did not.

    ``before``: bounds (m,) of the nodes they come from; ``target``: goodput to beat (m,); ``critical``: users (m,).
    """
    worked = nodes.bound - target < 0.7 * (before - target)
    rows = np.arange(len(nodes))
    possible = nodes.high[rows, critical] > nodes.low[rows, critical]
    exhausted = nodes.right - nodes.left <= NARROWEST * nodes.right
    return possible & (np.where(worked, nodes.by_user, ~nodes.by_user) | exhausted)


def improvements(problem: Problem, listing: Listing, value: FloatArray) -> Listing:
    """The best decision of each instance among those listed, where it is better than ``value`` (n,)."""
    part = problem.rows(listing.instance)
    better = pays(part, listing.lengths[:, None], value[listing.instance][:, None])[:, 0]
    instance, lengths = listing.instance[better], listing.lengths[better]
    values = problem.rows(instance).value(lengths[:, None])[:, 0]
    order = np.lexsort((-values, instance))
    instance, first = np.unique(instance[order], return_index=True)
    return Listing(instance, lengths[order][first])
