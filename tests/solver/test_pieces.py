"""Pieces of the search against loops over few lengths, and its gap after few rounds."""

from dataclasses import replace
from itertools import product
from time import monotonic

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.server import line_time
from multispin_env.solver import search
from multispin_env.solver.certify import certified_lengths
from multispin_env.solver.problem import (
    Problem,
    in_chunks,
    kinks,
    lengths_in_chunks,
    make_problem,
    support_start,
)
from multispin_env.solver.search import Listing, branch_and_bound, is_better
from multispin_env.solver.windows import FixedPass, Nodes, bound_nodes, find_ends, make_laws
from tests.strategies import problems

USERS = 3


def law(seed):
    rng = np.random.default_rng(seed)
    pieces = [(rng.uniform(0.0, 1.0), rng.choice([0.0, 0.01, 0.02, 0.1])) for _ in range(rng.integers(1, 6))]
    return ms.Scenario.preset("llama2", num_users=USERS, verification_pieces=tuple(pieces))


@pytest.mark.parametrize("seed", range(30))
def test_lines_give_the_time_of_the_law_and_each_is_somewhere_the_largest(seed):
    scenario = law(seed)
    lines = scenario.law.lines_of_drafts(USERS, 1e-130, 1e130)
    x = np.arange(400.0)
    expected = [max(a + b * (n + USERS) for a, b in scenario.verification_pieces) for n in x]
    assert line_time(lines, x) == pytest.approx(expected, rel=1e-13)
    for rising in (lines[:, 1], np.append(0.0, kinks(lines))):
        assert (np.diff(rising) > 0.0).all()
    for slope in (lines[0, 1], 0.5 * (lines[0, 1] + lines[-1, 1]), lines[-1, 1]):
        start = support_start(lines, np.array(slope), np.array(0.0), np.array(300.0))
        slack = line_time(lines, x[:301]) - (start + slope * x[:301])
        assert -1e-12 <= slack.min() <= 0.1 + 1e-12  # a kink between two integers


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_problem_prices_lengths_as_the_server_does(padded, seed, rng):
    scenario = law(seed).replace(padded_verification=padded, round_trip_time=0.25)
    problem = make_problem(scenario, ms.sample_state(scenario, rng, 4))
    lengths = rng.integers(0, 26, (4, 7, USERS)).astype(float)
    expected = scenario.law.pass_time(lengths) + 0.25
    assert np.broadcast_to(problem.verification_time(lengths), (4, 7)) == pytest.approx(expected, rel=1e-13)


@st.composite
def parts(draw, kind="paper"):
    """A problem, a node of each line of its law, and the lengths, latencies and values of all decisions."""
    problem = draw(problems(kind, most=300))
    ranges = [range(low, high + 1) for low, high in zip(problem.low[0], problem.high[0], strict=True)]
    lengths = np.array(list(product(*ranges)), dtype=float)
    ends = np.sort(draw(st.tuples(*[st.floats(0.0, 1.0)] * 2))) ** 2
    latency = problem.latency(lengths[None])[0]
    left, right = latency.min() + ends * (latency.max() - latency.min())
    slope = draw(st.floats(0.0, 1.0)) * np.ptp(problem.lines[:, 1]) + problem.lines[:1, 1]  # any gives a bound
    nodes = [nodes_of(problem, left, right, law=law) for law in make_laws(problem, slope)]
    return problem, nodes, lengths, latency, problem.value(lengths[None])[0]


@pytest.mark.parametrize("kind", ["paper", "one piece", "two pieces"])
@settings(max_examples=60)
@given(data=st.data())
def test_bound_is_above_and_windows_keep_every_winner(kind, data):
    problem, nodes, lengths, latency, value = data.draw(parts(kind))
    covered = np.zeros(len(lengths), dtype=bool)
    for node in nodes:
        inside = (latency >= node.left) & (latency <= node.right)
        if not isinstance(node.law, FixedPass):
            inside &= (lengths.sum(-1) >= node.law.fewest) & (lengths.sum(-1) <= node.law.most)
        covered |= inside
        if inside.any():
            target = np.array([np.quantile(value[inside], 0.8)])
            at = bound_nodes(problem, node, target)
            assert max(at.bound[0], target[0]) >= value[inside].max()
            wins = inside & (value > target)
            assert ((lengths >= at.low[0]) & (lengths <= at.high[0]))[wins].all()
            assert (at.left * (1.0 - 1e-12) <= latency)[wins].all()
            assert (latency <= at.right * (1.0 + 1e-12))[wins].all()
    assert covered[(latency >= nodes[0].left) & (latency <= nodes[0].right)].all()


@settings(max_examples=40)
@given(part=parts(), by_user=st.booleans())
def test_halves_hold_what_the_whole_holds(part, by_user):
    problem, (node,), lengths, latency, _ = part
    at = bound_nodes(problem, node, np.zeros(1))
    assume(not by_user or node.high[0, at.critical[0]] > node.low[0, at.critical[0]])
    halves = search.split(node, at.candidate, at.critical, np.array([by_user]), np.array([False]))
    left, right = halves.left[:, None] * (1 - 1e-12), halves.right[:, None] * (1 + 1e-12)
    inside = (left <= latency) & (latency <= right)
    inside &= ((halves.low[:, None] <= lengths) & (lengths <= halves.high[:, None])).all(-1)
    assert inside.any(0)[(latency >= node.left) & (latency <= node.right)].all()


def test_listing_is_complete():
    node = nodes_of(small_problem(3, users=3), 0.1, 0.2)
    expected = sorted(product(*(np.arange(a, b + 1) for a, b in zip(node.low[0], node.high[0], strict=True))))
    decisions = search.list_decisions(Nodes.joined([node, node])).lengths
    assert sorted(map(tuple, decisions[: len(expected)])) == expected
    assert len(decisions) == 2 * len(expected)
    highs = np.array([(4.0, 7.0), (4.0, 8.0), (33.0, 0.0)])
    nodes = nodes_of(small_problem(0, users=2, count=3), 1.0, 4.0, low=np.tile([1.0, 0.0], (3, 1)), high=highs)
    assert search.has_few_decisions(nodes).tolist() == [True, False, False]


def test_bounds_do_not_depend_on_the_blocks_of_parts(monkeypatch):
    problems = [small_problem(seed, users=3, longest=2 + seed) for seed in range(9)]
    many = Problem.joined(problems)
    shortest, longest = (many.latency(ends[:, None])[:, 0] for ends in (many.low, many.high))
    nodes = nodes_of(many, 0.7 * shortest + 0.3 * longest, 0.2 * shortest + 0.8 * longest)
    target = many.value(many.low[:, None])[:, 0]
    whole = search._evaluate_by_width(many, nodes, target)
    monkeypatch.setattr(search, "BLOCK_ENTRIES", 40)
    for array, other in zip(whole, search._evaluate_by_width(many, nodes, target), strict=True):
        assert (array == other).all()


def test_ends_of_windows():
    rng = np.random.default_rng(0)
    for width in (1, 3, 300):
        wins = rng.random((width, 5, 4)) < 0.3
        wins[:, 0] = False
        first, last, some = find_ends(wins)
        for m, k in np.ndindex(5, 4):
            positions = np.flatnonzero(wins[:, m, k])
            assert some[m, k] == (len(positions) > 0)
            assert first[m, k] == (positions[0] if len(positions) else 0)
            assert last[m, k] == (positions[-1] if len(positions) else width - 1)


def small_problem(seed, users=4, count=1, longest=5):
    rng = np.random.default_rng(seed)
    shape = (count, users)
    return Problem(
        draft_time=rng.uniform(0.005, 0.02, shape),
        token_time=rng.uniform(0.002, 0.02, shape),
        acceptance_rate=rng.uniform(0.3, 0.95, shape),
        weights=rng.uniform(0.5, 2.0, shape),
        low=np.ones(shape, dtype=np.int64),
        high=np.full(shape, longest),
        constant_time=np.full(count, 0.1),
    )


def test_candidates_that_are_better_than_a_goodput():
    problem = small_problem(1, users=3, count=2)
    candidates = np.array([list(product(range(6), repeat=3))] * 2, dtype=float)
    values = problem.value(candidates)
    goal = np.quantile(values, 0.7, axis=-1)[:, None]
    assert (is_better(problem, candidates, goal) == (values > goal)).all()
    best = values.max(-1, keepdims=True)
    assert not is_better(problem, candidates, best).any()  # more than rounding


def nodes_of(problem, left, right, **fields):
    m = len(problem)
    defaults = {
        "instance": np.arange(m),
        "left": np.full(m, left),
        "right": np.full(m, right),
        "low": problem.low.astype(float),
        "high": problem.high.astype(float),
        "bound": np.full(m, np.inf),
        "by_user": np.zeros(m, dtype=bool),
        "law": FixedPass(np.broadcast_to(problem.constant_time, m)),
    }
    return Nodes(**defaults | fields)


def slow_bounds(problem, left, right, target):
    users = range(problem.low.shape[1])
    ranges = [range(problem.low[0, k], problem.high[0, k] + 1) for k in users]

    def tokens(k, length):
        return problem.weights[0, k] * sum(problem.acceptance_rate[0, k] ** i for i in range(length + 1))

    def share(k, length):
        return problem.token_time[0, k] * length / (right - length * problem.draft_time[0, k])

    def tangent(k, length):
        return share(k, length) * (1.0 + (right - left) / (right - length * problem.draft_time[0, k]))

    fits = [[n for n in ranges[k] if n * problem.draft_time[0, k] < right and share(k, n) <= 1.0] for k in users]
    steps = [
        ((tokens(k, n) - tokens(k, n - 1)) / (share(k, n) - share(k, n - 1)), k, share(k, n) - share(k, n - 1))
        for k in users
        for n in fits[k][1:]
    ]
    used, price, critical, whole = sum(share(k, fits[k][0]) for k in users), 0.0, None, problem.low[0].copy()
    for gain, k, more in sorted(steps, reverse=True):
        used += more
        if used > 1.0:
            price, critical = gain, k
            break
        whole[k] += 1
    terms = [
        [(tokens(k, n) - price * share(k, n), tokens(k, n) - price * tangent(k, n)) for n in fits[k]] for k in users
    ]
    most = [price + sum(max(term[side] for term in row) for row in terms) for side in (0, 1)]
    times = (right + problem.constant_time, left + problem.constant_time)
    slack = [most[side] - target * times[side] for side in (0, 1)]
    wins = [
        [
            n
            for n, term in zip(fits[k], terms[k], strict=True)
            if any(term[side] >= max(t[side] for t in terms[k]) - slack[side] - 1e-9 for side in (0, 1))
        ]
        for k in users
    ]
    bound = max(most[side] / times[side] for side in (0, 1))
    return bound, [w[0] for w in wins], [w[-1] for w in wins], whole, critical


@pytest.mark.parametrize(("width", "constant_time"), [(0.0, 0.1), (0.02, 0.1), (0.02, 2.0)])
def test_bounds_and_windows_are_those_of_a_loop(width, constant_time):
    narrowed = 0
    for seed in range(25):
        highest = np.random.default_rng(seed).integers(2, 6, (1, 3))
        problem = replace(small_problem(seed, users=3), high=highest, constant_time=constant_time)
        middle = 0.5 * (problem.latency(problem.low[:, None]) + problem.latency(problem.high[:, None]))[0, 0]
        left, right = middle - width, middle + width
        target = 0.97 * slow_bounds(problem, left, right, 0.0)[0]
        at = bound_nodes(problem, nodes_of(problem, left, right), np.array([target]))
        bound, low, high, whole, critical = slow_bounds(problem, left, right, target)
        assert at.bound[0] == pytest.approx(bound, rel=1e-9)
        assert (at.low[0].tolist(), at.high[0].tolist()) == (low, high)
        assert at.candidate[0].tolist() == whole.tolist()
        assert critical is None or at.critical[0] == critical
        narrowed += low != problem.low[0].tolist() or high != problem.high[0].tolist()
    assert narrowed > 10


def test_nothing_is_inside_where_the_shortest_lengths_do_not_fit():
    problem = small_problem(0, users=3)
    shortest = problem.latency(problem.low[:, None])[0, 0]
    assert bound_nodes(problem, nodes_of(problem, 0.5 * shortest, 0.99 * shortest), np.zeros(1)).bound[0] == 0.0
    assert bound_nodes(problem, nodes_of(problem, 0.5 * shortest, 1.01 * shortest), np.zeros(1)).bound[0] > 0.0


def test_best_of_the_listed_decisions():
    problem = small_problem(4, users=2, count=3)
    lengths = np.array(list(product(range(1, 6), repeat=2)), dtype=float)
    listing = Listing(np.repeat([2, 0, 1], 25), np.tile(lengths, (3, 1)))
    values = problem.value(np.repeat(lengths[None], 3, 0))
    best = search.best_improvements(problem, listing, np.array([0.0, 1e9, 0.999 * values[2].max()]))
    assert best.instance.tolist() == [0, 2]
    assert best.lengths.tolist() == [lengths[values[row].argmax()].tolist() for row in (0, 2)]


def test_long_batches_go_in_chunks(monkeypatch):
    sizes = []

    def solve(part):
        sizes.append(len(part.draft_time))
        return np.rint(100 * part.draft_time + part.acceptance_rate).astype(np.int64)

    rng = np.random.default_rng(0)
    state = ms.SystemState(*(rng.random((2, 5, 3)) for _ in range(3)))
    monkeypatch.setattr("multispin_env.solver.problem.CHUNK_ENTRIES", 40)
    assert (lengths_in_chunks(solve, state, 10) == np.rint(100 * state.draft_time + state.acceptance_rate)).all()
    lengths_in_chunks(solve, state, 100)
    assert sizes == [4, 4, 2] + [1] * 10
    monkeypatch.setattr("multispin_env.solver.problem.SOLVER_ENTRIES", 9)
    problem = small_problem(0, users=4, count=5)
    for count, expected in ((5, [2, 2, 1]), (4, [2, 2]), (0, [1])):
        part, sizes = problem[:count], []
        arrays = in_chunks(lambda x, sizes=sizes: (sizes.append(len(x)) or x.draft_time, x.weights.sum(-1)), part)
        assert sizes == expected
        assert (arrays[0] == part.draft_time).all()
        assert (arrays[1] == part.weights.sum(-1)).all()


@pytest.mark.parametrize(
    ("name", "server", "most"),
    [
        ("llama2", "", [0.055, 0.0037, 3.7e-4]),  # 0.0543, 0.00365, 3.68e-4 are measured
        ("qwen2.5", "", [0.15, 0.0103, 6.3e-4]),  # 0.149, 0.0102, 6.21e-4
        ("r1", "", [0.145, 0.009, 8.7e-4]),  # 0.144, 0.00894, 8.67e-4
        ("qwen3.5", "a100-32b", [0.69, 0.068, 6.3e-3]),  # 0.682, 0.0669, 6.25e-3
    ],
)
def test_gap_after_few_rounds(name, server, most):
    scenario = ms.Scenario.preset(name, server=server)
    problem = make_problem(scenario, ms.sample_state(scenario, np.random.default_rng(0), 40))
    lengths = certified_lengths(problem, 1e-9).lengths
    results = [branch_and_bound(problem, lengths, 1e-6, rounds) for rounds in (2, 4, 6, 8)]
    gaps = [(result.bound / result.value - 1.0).max() for result in results]
    assert (np.array(gaps) < [*most, 1.001e-6]).all(), gaps


def preset_problem(count):
    scenario = ms.Scenario.preset("llama2")
    return make_problem(scenario, ms.sample_state(scenario, np.random.default_rng(1), count))


def test_a_deadline_that_has_passed_leaves_the_bound_of_one_round():
    problem = preset_problem(4)
    lengths = certified_lengths(problem, 1e-9).lengths
    cut = branch_and_bound(problem, lengths, 1e-6, 100, monotonic() - 1.0)
    assert (cut.bound > 1.01 * cut.value).any()
    assert (branch_and_bound(problem, lengths, 1e-6, 1).bound == cut.bound).all()
    whole = branch_and_bound(problem, lengths, 1e-6, 100, monotonic() + 60.0)
    assert (whole.bound <= 1.000002 * whole.value).all()


@pytest.mark.parametrize("fixed", [None, 7])
def test_a_poor_start_is_left(fixed):
    problem = preset_problem(5)
    if fixed is not None:
        problem.low[:, 3] = problem.high[:, 3] = fixed
    lengths = certified_lengths(problem, 1e-9).lengths
    start = problem.low.astype(float)
    result = branch_and_bound(problem, start, 1e-6, 60)
    assert (start == problem.low).all()  # not written into
    for other in (lengths, result.lengths):
        assert problem.value(other[:, None])[:, 0] == pytest.approx(result.value, rel=1e-6)
    assert (result.bound <= 1.000002 * result.value).all()
