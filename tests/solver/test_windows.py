"""Bounds of single nodes, in NumPy and as compiled, against all decisions inside."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from importlib.util import find_spec, module_from_spec
from multiprocessing import get_context

import numpy as np
import pytest

from multispin_env.solver.certify import compiled_rounds
from multispin_env.solver.windows import Bounds, FixedPass, Nodes, Segment, bound_nodes, make_laws
from tests.solver.test_exact import every_decision, random_problem, with_option


def drawn_nodes(rng, law, option, users, size=40):
    """Nodes with a problem, its decisions, their goodput and latency, and which are inside; an end is a latency."""
    problem = with_option(rng, random_problem(rng, law, users, size, longest=4), option)
    every, rows = every_decision(problem), np.arange(size)
    value, latency = problem.value(every), problem.latency(every)
    ends = np.clip(every[rows, rng.integers(0, every.shape[1], (2, size))], problem.low, problem.high)
    low, high = ends.min(0), ends.max(0)
    inside = ((every >= low[:, None]) & (every <= high[:, None])).all(-1)
    left = problem.latency(low[:, None])[:, 0]
    right = latency[rows, np.where(inside, rng.random(inside.shape), -1.0).argmax(-1)]
    left = left + rng.choice([0.0, 0.5, 0.99, 1.0], size) * (right - left)
    inside &= (latency >= left[:, None]) & (latency <= right[:, None])
    x = every.sum(-1)
    for piece in make_laws(problem, rng.uniform(*problem.lines[[0, -1], 1], size)):
        held = inside
        if isinstance(piece, Segment):
            held = inside & (x >= piece.fewest[:, None]) & (x <= piece.most[:, None])
        nodes = Nodes(rows, left, right, low, high, np.full(size, np.inf), np.zeros(size, bool), piece)
        yield nodes, problem, every, value, latency, held


@cache
def uncompiled():
    """The compiled search in Python."""
    spec = find_spec("multispin_env.solver.exact")
    module = module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("compiled", "compiled_part"):
            patch.setattr(f"multispin_env.compiling.{name}", lambda function: function)
        spec.loader.exec_module(module)
    return module


def bound_one_by_one(exact, problem, nodes, target):
    """`bound_nodes` by `exact`, with fields of records as attributes."""

    def records(array):
        return array.view(np.recarray)

    rounds, (count, users) = compiled_rounds(problem), nodes.low.shape
    parts = records(np.zeros(count, exact._NODE))
    parts.left, parts.right, parts.most, parts.fewest = nodes.left, nodes.right, np.inf, -np.inf
    for name in ("start",) if isinstance(nodes.law, FixedPass) else ("start", "rise", "fewest", "most", "slope"):
        parts[name] = getattr(nodes.law, name)
    work = exact._Work(
        records(np.zeros(users, exact._DEVICE)), records(np.zeros((users, rounds.tokens.shape[-1]), exact._ENTRY)), None
    )
    tree = exact._Nodes(nodes.low.astype(np.int64), nodes.high.astype(np.int64), parts)
    bound = np.zeros(count)
    for i in range(count):
        users, lines, numbers = records(rounds.users[i]), records(rounds.lines), records(rounds.numbers)[i]
        state = exact._State(rounds.tokens[i], rounds.tokens[i], users, lines, numbers)
        if (len(lines) == 1 or exact._trim(tree, i, np.inf)) and exact._tabulate(state, work, tree, i):
            bound[i], _ = exact._bound(state, work, tree, i, target[i])
    return Bounds(bound, tree.low, tree.high, None, None, parts.left, parts.right)


@pytest.mark.parametrize("option", ["none", "price", "delay", "table"])
@pytest.mark.parametrize("law", ["flat", "line", "kinks"])
@pytest.mark.parametrize("search", ["NumPy", "compiled"])
def test_no_decision_exceeds_the_bound_or_is_lost_above_the_target(search, law, option, alone):
    if search == "NumPy":
        check_bounds(search, law, option)
    else:
        alone.submit(check_bounds, search, law, option).result()


@pytest.fixture(scope="module")
def alone():
    """A process of its own: in a worker that had run many other tests, NumPy crashed on these records."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def check_bounds(search, law, option):
    rng = np.random.default_rng([len(law), len(option)])
    for users in (1, 2, 3) * 2:
        size = 40 if search == "NumPy" else 8
        for nodes, problem, every, value, latency, held in drawn_nodes(rng, law, option, users, size):
            best = np.where(held, value, 0.0).max(-1)
            target = best * rng.choice([0.5, 0.9, 1.0 - 1e-6], size)
            if search == "NumPy":
                at = bound_nodes(problem, nodes, target)
            else:
                at = bound_one_by_one(uncompiled(), problem, nodes, target)
            assert (at.bound >= best)[best > 0.0].all()
            kept = ((every >= at.low[:, None]) & (every <= at.high[:, None])).all(-1)
            kept &= (latency >= at.left[:, None]) & (latency <= at.right[:, None])
            assert kept[held & (value > target[:, None])].all()


@pytest.mark.parametrize("option", ["none", "price"])
def test_no_other_price_of_the_band_gives_a_smaller_bound(option):
    rng = np.random.default_rng(len(option))
    for users in (1, 2, 3) * 2:
        for nodes, problem, *_ in drawn_nodes(rng, "flat", option, users):
            nodes = replace(nodes, left=nodes.right)
            length = np.arange(nodes.high.max() + 1.0)[:, None, None]
            room = nodes.right[:, None] - problem.drafting(length)
            share = problem.token_time * length / np.where(room > 0.0, room, 1.0)
            inside = (length >= nodes.low) & (length <= nodes.high) & (room >= 0.0) & (share <= 1.0 + 1e-11)
            tokens = np.where(inside, problem.expected(length), -np.inf)
            gains = np.diff(problem.expected(length), axis=0) / np.diff(share, axis=0)
            prices = np.where(inside[1:] & (gains > 0.0), gains, 0.0).swapaxes(1, 2).reshape(-1, 1, len(problem), 1)
            sums = prices[:, 0, :, 0] + (tokens - prices * share).max(1).sum(-1)
            best = np.minimum(sums.min(0), tokens.max(0).sum(-1))  # with the price 0
            time = nodes.right + problem.constant_time
            at = bound_nodes(problem, nodes, np.zeros(len(problem)))
            assert at.bound == pytest.approx(np.maximum(best, 0.0) / time, rel=1e-7)
