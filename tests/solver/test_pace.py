"""The optimum where every device must get its tokens in time, against trying every decision."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import equal_latency, expected_tokens, server_time

import multispin_env as ms
from multispin_env.solver.pace import least_tpot, timely_windows
from multispin_env.solver.problem import make_problem
from multispin_env.solver.windows import FixedPass, Nodes, make_laws
from tests.solver.test_optimum import weighted
from tests.strategies import KINDS, instances


def cases(kind):
    return st.integers(2, 4).flatmap(lambda users: instances(kind, users, most=130))


def every_round(scenario, state, fixed=None):
    """E[N_k] (m, K) and T_e2e (m,) of every decision."""
    token_time = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
    fixed = [-1] * scenario.num_users if fixed is None else fixed
    ranges = [range(scenario.min_draft_length, scenario.max_draft_length + 1) if f < 0 else [int(f)] for f in fixed]
    tokens, times = [], []
    for lengths in product(*ranges):
        tokens.append([expected_tokens(n, a) for n, a in zip(lengths, state.acceptance_rate, strict=True)])
        times.append(equal_latency(lengths, state.draft_time, token_time) + server_time(scenario, lengths))
    return np.array(tokens), np.array(times)


def waits(scenario, state, decision):
    """Seconds for a token of the slowest device."""
    outcome = ms.expected_outcome(scenario, state, decision)
    return float((outcome.round_latency / outcome.tokens).max())


def check(scenario, state, weights, tpot, fixed=None):
    """Compare with every decision; say what was found."""
    tokens, times = every_round(scenario, state, fixed)
    timely = times <= tpot * (1.0 + 1e-12) * tokens.min(-1)
    options = {"weights": weights, "fixed_length": fixed}
    found = ms.make_controller("optimal", scenario, certify=1e-8, tpot=tpot, **options)(state)
    quick = ms.make_controller("optimal", scenario, tpot=tpot, **options)(state)
    bound = ms.upper_bound(scenario, state, weights, fixed, tpot=tpot)
    assert found.certified
    assert bool(found.feasible) == timely.any()
    if not timely.any():
        assert found.value == found.bound == bound == 0.0
        least = (times / tokens.min(-1)).min()
        for decision in (found, quick):
            assert waits(scenario, state, decision) == pytest.approx(least, rel=1e-9)
        return "none in time"
    best = ((weights * tokens).sum(-1) / times)[timely].max()
    assert min(found.bound, bound) >= best * (1.0 - 1e-14)
    for decision, error in ((found, 1e-8), (quick, 1e-3)):
        assert waits(scenario, state, decision) <= tpot * (1.0 + 1e-9)
        assert weighted(scenario, state, weights, decision) == pytest.approx(best, rel=error)
    free = ms.make_controller("optimal", scenario, **options)(state)
    return "free" if waits(scenario, state, free) <= tpot else "binds"


def paces(scenario, state, weights, fixed=None):
    """The least TPOT, and that of the optimum without one."""
    tokens, times = every_round(scenario, state, fixed)
    free = ms.make_controller("optimal", scenario, weights=weights, fixed_length=fixed)(state)
    return (times / tokens.min(-1)).min(), waits(scenario, state, free)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5)
@given(data=st.data(), part=st.sampled_from([0.02, 0.3, 0.6, 0.9, 1.1]))
def test_certified_in_time_equals_brute_force(kind, data, part):
    scenario, state, weights = data.draw(cases(kind))
    least, free = paces(scenario, state, weights)
    check(scenario, state, weights, least + part * (free - least) + 1e-3 * least)
    assert check(scenario, state, weights, 0.97 * least) == "none in time"
    assert check(scenario, state, weights, 1.01 * free) == "free"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=4)
@given(data=st.data())
def test_fixed_lengths_in_time(kind, data):
    scenario, state, weights = data.draw(cases(kind))
    some = data.draw(st.tuples(*[st.booleans()] * scenario.num_users))
    fixed = np.where(some, scenario.max_draft_length, -1)
    least, free = paces(scenario, state, weights, fixed)
    check(scenario, state, weights, least + 0.4 * (free - least), fixed)
    check(scenario, state, weights, 0.9 * least, fixed)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5)
@given(data=st.data())
def test_the_least_time_for_a_token(kind, data):
    scenario, state, _ = data.draw(cases(kind))
    tokens, times = every_round(scenario, state)
    least = (times / tokens.min(-1)).min()
    assert least_tpot(make_problem(scenario, state)).tpot[0] == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("kind", ["paper", "one piece", "two pieces"])
@settings(max_examples=16)
@given(data=st.data())
def test_parts_keep_what_is_in_time(kind, data):
    problem = replace(data.draw(cases(kind).map(lambda case: make_problem(*case))), tpot=1.0)
    ranges = [range(low, high + 1) for low, high in zip(problem.low[0], problem.high[0], strict=True)]
    lengths = np.array(list(product(*ranges)), dtype=float)
    latency = problem.latency(lengths[None])[0]
    time = latency + problem.verification_time(lengths[None])[0]
    waits = time / problem.longest_round(lengths[None])[0]
    problem = replace(problem, tpot=float(np.quantile(waits, 0.3)))
    ends = [np.array([np.quantile(latency, part)]) for part in (0.2, 0.9)]
    shape = problem.low.astype(float), problem.high.astype(float)
    for law in make_laws(problem, np.zeros(1)):
        left = timely_windows(problem, Nodes(np.array([0]), *ends, *shape, np.array([np.inf]), np.array([False]), law))
        x = lengths.sum(-1)
        held = (ends[0] <= latency) & (latency <= ends[1]) & (waits <= problem.tpot)
        if not isinstance(law, FixedPass):
            held &= (law.fewest <= x) & (x <= law.most)
            assert ((left.law.fewest <= x) & (x <= left.law.most))[held].all()
        if held.any():
            assert left.bound[0] == np.inf
            assert (left.low <= lengths[held]).all()
            assert (lengths[held] <= left.high).all()
            assert ((left.left <= latency) & (latency <= left.right))[held].all()


def test_twenty_devices_in_time():
    for law in ({}, {"server": "a100-32b", "payload": "ids", "min_draft_length": 0}, {"server": "cpu-1.5b"}):
        scenario = ms.Scenario.preset("qwen3.5", **law)
        state = ms.sample_state(scenario, np.random.default_rng(1), 4)
        free = ms.upper_bound(scenario, state)
        least = least_tpot(make_problem(scenario, state)).tpot
        tpot = float(np.median(least))
        found = ms.make_controller("optimal", scenario, certify=1e-6, tpot=tpot)(state)
        assert found.certified.all()
        assert (found.feasible == (least <= tpot)).all()
        assert 0 < found.feasible.sum() < 4
        outcome = ms.expected_outcome(scenario, state, found)
        assert (
            (outcome.round_latency[:, None] <= tpot * (1.0 + 1e-9) * outcome.tokens).all(-1) == found.feasible
        ).all()
        assert (found.bound < 0.999 * free).all()
        alone = ms.make_controller("optimal", scenario, certify=1e-6, tpot=tpot)(state[3])
        assert (alone.draft_length == found.draft_length[3]).all()


def test_a_wide_tpot_changes_nothing(scenario, rng):
    state = ms.sample_state(scenario, rng, 8)
    for options in ({}, {"certify": 1e-6}):
        one, two = (ms.make_controller("optimal", scenario, tpot=tpot, **options)(state) for tpot in (None, 1e3))
        assert (one.draft_length == two.draft_length).all()
    assert one.feasible is None
    assert two.feasible.all()


@pytest.mark.parametrize("tpot", [5e-324, 1e-9, 1.0, 1e308])
@pytest.mark.filterwarnings("error")
def test_absurd_times(tpot, rng):
    numbers = np.array([5e-324, 1e-100, 1e-3, 1.0, 1e100, 1e308])
    for pieces in ((), ((0.0, 5e-324), (1.0, 1e-9)), ((1e300, 1e-100),)):
        scenario = ms.Scenario.preset("llama2", num_users=3, verification_pieces=pieces, min_draft_length=0)
        for _ in range(2):
            state = ms.SystemState(rng.choice(numbers, 3), rng.choice(numbers, 3), rng.random(3))
            found = ms.make_controller("optimal", scenario, certify=1e-6, tpot=tpot)(state)
            assert np.isfinite(found.bound)
            assert found.value <= found.bound
            assert (found.value > 0.0) == found.feasible


def test_no_states_and_no_tpot_that_is_none():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    none = ms.SystemState(*(np.ones((0, 3)),) * 3)
    assert ms.make_controller("optimal", scenario, certify=1e-6, tpot=0.1)(none).feasible.shape == (0,)
    for tpot in (0.0, -1.0, np.nan, "slow"):
        with pytest.raises(ValueError, match="tpot: expected a finite number"):
            ms.make_controller("optimal", scenario, tpot=tpot)
        with pytest.raises(ValueError, match="tpot: expected a finite number"):
            ms.upper_bound(scenario, none, tpot=tpot)
