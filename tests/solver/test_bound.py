"""Bounds of parts of the problem against every decision inside them."""

from itertools import product

import numpy as np

from multispin_env.solver import search
from multispin_env.solver.problem import ARRAYS, Problem, make_problem
from multispin_env.solver.search import decisions_of, split
from multispin_env.solver.windows import FixedPass, Nodes, bound_nodes, ends_of, joined_nodes, laws_of
from tests.hostile import hostile_instance, hostile_law


def case(seed):
    rng = np.random.default_rng(seed)
    scenario, state, weights = hostile_instance(rng, max_decisions=300)
    problem = make_problem(scenario, state, weights)
    ranges = [range(low, high + 1) for low, high in zip(problem.low[0], problem.high[0], strict=True)]
    lengths = np.array(list(product(*ranges)), dtype=float)
    ends = np.sort(rng.uniform(0.0, 1.0, 2)) ** 2
    latency = problem.latency(lengths[None])[0]
    left, right = latency.min() + ends * (latency.max() - latency.min())
    node = Nodes(
        instance=np.array([0]),
        left=np.array([left]),
        right=np.array([right]),
        low=problem.low.astype(float),
        high=problem.high.astype(float),
        bound=np.array([np.inf]),
        by_user=np.array([False]),
        law=FixedPass(problem.verification_time),
    )
    inside = (latency >= left) & (latency <= right)
    return problem, node, lengths[inside], problem.value(lengths[None])[0][inside]


def test_bound_is_above_and_windows_keep_every_winner():
    tight = []
    for seed in range(100):
        problem, node, lengths, value = case(seed)
        if not len(value):
            continue
        target = np.array([np.quantile(value, 0.8)])
        at = bound_nodes(problem, node, target)
        assert at.bound[0] >= value.max()
        winners = lengths[value > target[0]]
        assert (winners >= at.low[0]).all()
        assert (winners <= at.high[0]).all()
        tight.append(at.bound[0] / max(value.max(), 1e-300))
    assert len(tight) > 60
    assert np.median(tight) < 1.5  # a bound that is always huge would pass the rest


def test_bounds_of_laws_by_tokens_hold_for_the_decisions_of_their_segment():
    tight, cut = [], 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        scenario, state, weights = hostile_instance(rng, max_decisions=300)
        scenario = hostile_law(rng, scenario, pieces=1 + seed % 2)
        problem = make_problem(scenario, state, weights)
        ranges = [range(low, high + 1) for low, high in zip(problem.low[0], problem.high[0], strict=True)]
        lengths = np.array(list(product(*ranges)), dtype=float)
        latency, value = problem.latency(lengths[None])[0], problem.value(lengths[None])[0]
        left, right = latency.min(), np.quantile(latency, rng.uniform(0.2, 1.0))
        slope = np.array([rng.uniform(problem.lines[0, 1], problem.lines[-1, 1])])  # none of them breaks a bound
        found, covered = [], np.zeros(len(lengths), dtype=bool)
        for law in laws_of(problem, slope):
            low, high = problem.low.astype(float), problem.high.astype(float)
            node = Nodes(*map(np.array, ([0], [left], [right])), low, high, np.array([np.inf]), np.array([False]), law)
            drafted = lengths.sum(-1)
            inside = (latency <= right) & (drafted >= law.fewest[0]) & (drafted <= law.most[0])
            covered |= inside
            if not inside.any():
                continue
            target = np.array([np.quantile(value[inside], 0.8)])
            at = bound_nodes(problem, node, target)
            assert max(at.bound[0], target[0]) >= value[inside].max()
            wins = value[inside] > target[0]
            winners = lengths[inside][wins]
            assert (winners >= at.low[0]).all()
            assert (winners <= at.high[0]).all()
            assert (at.left[0] * (1.0 - 1e-12) <= latency[inside][wins]).all()
            assert (latency[inside][wins] <= at.right[0] * (1.0 + 1e-12)).all()
            cut += at.right[0] - at.left[0] < 0.9 * (right - left)
            found.append(at.bound[0] / max(value[inside].max(), 1e-300))
        assert covered[latency <= right].all()
        tight += found
    assert np.median(tight) < 1.5
    assert cut >= 10  # latencies at which nothing can win are left out


def test_halves_hold_what_the_whole_holds():
    looked_at = 0
    for seed in range(40):
        problem, node, lengths, value = case(seed)
        if not len(value):
            continue
        for by_user in (False, True):
            at = bound_nodes(problem, node, np.zeros(1))
            if by_user and node.high[0, at.critical[0]] == node.low[0, at.critical[0]]:
                continue
            halves = split(node, at.candidate, at.critical, np.array([by_user]), np.array([False]))
            latency = problem.latency(lengths[None])[0]
            looked_at += 1
            for row, phi in zip(lengths, latency, strict=True):
                held = [
                    h.left[0] * (1 - 1e-12) <= phi <= h.right[0] * (1 + 1e-12)
                    and (h.low[0] <= row).all()
                    and (row <= h.high[0]).all()
                    for h in (halves.rows(np.array([0])), halves.rows(np.array([1])))
                ]
                assert any(held)
    assert looked_at > 60


def test_listing_is_complete():
    node = case(3)[1]
    two = joined_nodes(node, node)
    low, high = two.low[0], two.high[0]
    expected = sorted(product(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True))))
    found = decisions_of(two)
    assert sorted(map(tuple, found.lengths[: len(expected)])) == expected
    assert len(found.lengths) == 2 * len(expected)


def test_bounds_do_not_depend_on_the_blocks_of_parts(monkeypatch):
    """Tables are as wide as the widest part of a block, and narrow parts come first."""
    cases = [case(seed)[:2] for seed in range(60)]
    cases = [one for one in cases if one[0].low.shape[1] == cases[0][0].low.shape[1]]
    problems = [problem for problem, _ in cases]
    many = Problem(*(np.concatenate([getattr(problem, name) for problem in problems]) for name in ARRAYS))
    nodes = joined_nodes(*(node for _, node in cases))
    target = many.value(many.low[:, None])[:, 0]
    assert len(nodes) > 5
    whole = search._evaluate_by_width(many, nodes, target)
    monkeypatch.setattr(search, "BLOCK", 40)
    for one, other in zip(whole, search._evaluate_by_width(many, nodes, target), strict=True):
        assert (one == other).all()


def test_ends_of_what_wins():
    rng = np.random.default_rng(0)
    for width in (1, 3, 300):
        wins = rng.random((width, 5, 4)) < 0.3
        wins[:, 0] = False
        first, last, some = ends_of(wins)
        for m, k in np.ndindex(5, 4):
            places = np.flatnonzero(wins[:, m, k])
            assert some[m, k] == (len(places) > 0)
            assert first[m, k] == (places[0] if len(places) else 0)
            assert last[m, k] == (places[-1] if len(places) else width - 1)
