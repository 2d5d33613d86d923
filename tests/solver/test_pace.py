"""Optimum with a TPOT, against brute force."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.solver.pace import least_tpot, timely_windows
from multispin_env.solver.problem import make_problem
from multispin_env.solver.windows import FixedPass, Nodes, make_laws
from tests.hostile import hostile_tpot_instance, unchecked
from tests.reference import every_round
from tests.solver.test_optimum import weighted
from tests.strategies import KINDS, instances

WRONG = [62, 802, 2191, 2238, 4032, 5433, 5483, 9224, 9653, 9783, 2631, 5254, 5361, 5847]
"""Seeds of instances for which an earlier search proved a bound below the optimum, or (the last four) none."""


def cases(kind):
    return st.integers(2, 4).flatmap(lambda users: instances(kind, users, most=130))


def waits(scenario, state, decision):
    outcome = ms.expected_outcome(scenario, state, decision)
    return float((outcome.round_latency / outcome.tokens).max())


def check(scenario, state, weights, tpot, fixed, rounds):
    """Compare with every decision, of tokens and times ``rounds``, and return which case it is."""
    tokens, times = rounds
    timely = times <= tpot * (1.0 + 1e-12) * tokens.min(-1)
    options = {"weights": weights, "fixed_length": fixed}
    free = ms.make_controller("optimal", scenario, **options)
    fast = unchecked(free, tpot=tpot)
    certified = unchecked(fast, certify=1e-8)(state)
    bound = ms.upper_bound(scenario, state, weights, fixed, tpot=tpot)
    assert certified.certified
    assert bool(certified.feasible) == timely.any()
    if not timely.any():
        assert certified.value == certified.bound == bound == 0.0
        least = (times / tokens.min(-1)).min()
        assert waits(scenario, state, certified) == pytest.approx(least, rel=1e-9)
        with pytest.raises(ValueError, match=r"tpot: expected at least .* s, the minimum for these devices") as refused:
            fast(state)
        assert float(str(refused.value).split()[4]) == pytest.approx(least, rel=1e-5)
        return "none in time"
    best = ((weights * tokens).sum(-1) / times)[timely].max()
    assert min(certified.bound, bound) >= best * (1.0 - 1e-14)
    for decision, error in ((certified, 1e-8), (fast(state), 1e-3)):
        assert waits(scenario, state, decision) <= tpot * (1.0 + 1e-9)
        assert weighted(scenario, state, weights, decision) == pytest.approx(best, rel=error)
    return "free" if waits(scenario, state, free(state)) <= tpot else "binds"


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5)
@given(data=st.data(), part=st.sampled_from([0.02, 0.3, 0.6, 0.9, 1.1]), some=st.booleans())
def test_certified_in_time_equals_brute_force(kind, data, part, some):
    scenario, state, weights = data.draw(cases(kind))
    is_fixed = data.draw(st.tuples(*[st.booleans()] * scenario.num_users)) if some else False
    fixed = np.where(is_fixed, scenario.max_draft_length, np.full(scenario.num_users, -1))
    tokens, times = rounds = every_round(scenario, state, fixed)
    least = (times / tokens.min(-1)).min()
    assert least_tpot(make_problem(scenario, state, None, fixed)).tpot[0] == pytest.approx(least, rel=1e-9)
    free = waits(scenario, state, ms.make_controller("optimal", scenario, weights=weights, fixed_length=fixed)(state))
    check(scenario, state, weights, least + part * (free - least) + 1e-3 * least, fixed, rounds)
    assert check(scenario, state, weights, 0.97 * least, fixed, rounds) == "none in time"
    assert check(scenario, state, weights, 1.01 * free, fixed, rounds) == "free"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seeds", [WRONG, range(50), pytest.param(range(50, 200), marks=pytest.mark.slow)], ids=str)
def test_no_certificate_is_wrong_where_tokens_of_a_pass_are_slow(seeds):
    for seed in seeds:
        scenario, state, weights, part = hostile_tpot_instance(np.random.default_rng(seed))
        tokens, times = every_round(scenario, state)
        goodput, waits = (weights * tokens).sum(-1) / times, times / tokens.min(-1)
        tpot = (waits.min() + part * (waits[goodput.argmax()] - waits.min())) * (1.0 + 1e-6)
        best = goodput[waits <= tpot * (1.0 + 1e-12)].max()
        decision = ms.make_controller("optimal", scenario, certify=1e-6, tpot=tpot, weights=weights)(state)
        assert decision.certified, seed
        assert decision.bound >= best * (1.0 - 1e-9), seed
        assert weighted(scenario, state, weights, decision) * (1.0 + decision.gap) >= best * (1.0 - 1e-9), seed


def steep_tokens():
    """Scenario, state and TPOT in which a line of the law reaches no time."""
    h = float.fromhex
    scenario = ms.Scenario.preset(
        "llama2",
        num_users=3,
        total_bandwidth=h("0x1.a6d13a144a62ep+20"),
        kept_probabilities=64,
        min_draft_length=0,
        max_draft_length=6,
        verification_fixed_time=0.0,
        verification_time_per_draft=0.0,
        verification_pieces=((h("0x1.b7df48e721809p-2"), h("0x1.116b43a94c936p-1")),),
    )
    draft_time = [h("0x1.78bd7ffbf3ca6p-3"), h("0x1.0e5416f871fcdp-6"), h("0x1.c4bbef1cb8672p-3")]
    efficiency = [h("0x1.6928bd7f0439dp-2"), h("0x1.c70de3fe66f69p+2"), h("0x1.32086b69f957dp-1")]
    state = ms.SystemState(*map(np.array, (draft_time, efficiency, [0.99, 0.0, 0.99])))
    return scenario, state, 7.389599357336987


def test_a_line_that_reaches_no_time_is_not_clipped_above_the_law():
    scenario, state, tpot = steep_tokens()
    decision = ms.make_controller("optimal", scenario, certify=1e-6, tpot=tpot)(state)
    assert decision.draft_length.tolist() == [4, 0, 3]
    assert decision.certified


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
        node = Nodes(np.array([0]), *ends, *shape, np.array([np.inf]), np.array([False]), law)
        left = timely_windows(problem, node)
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


@pytest.mark.parametrize(
    "law", [{}, {"server": "a100-32b", "payload": "ids", "min_draft_length": 0}, {"server": "cpu-1.5b"}]
)
def test_twenty_devices_in_time(law):
    scenario = ms.Scenario.preset("qwen3.5", **law)
    state = ms.sample_state(scenario, np.random.default_rng(1), 4)
    least = least_tpot(make_problem(scenario, state)).tpot
    tpot = float(np.median(least))
    controller = ms.make_controller("optimal", scenario, certify=1e-6, tpot=tpot)
    decision = controller(state)
    assert decision.certified.all()
    assert (decision.feasible == (least <= tpot)).all()
    assert 0 < decision.feasible.sum() < 4
    outcome = ms.expected_outcome(scenario, state, decision)
    timely = (outcome.round_latency[:, None] <= tpot * (1.0 + 1e-9) * outcome.tokens).all(-1)
    assert (timely == decision.feasible).all()
    assert (decision.bound < 0.999 * ms.upper_bound(scenario, state)).all()
    assert (controller(state[3]).draft_length == decision.draft_length[3]).all()


def test_no_states():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    empty = ms.SystemState(*(np.ones((0, 3)),) * 3)
    assert ms.make_controller("optimal", scenario, certify=1e-6, tpot=0.1)(empty).feasible.shape == (0,)
    assert ms.make_controller("optimal", scenario, certify=1e-6)(empty).feasible is None
    with pytest.raises(ValueError, match="tpot: expected a finite number"):
        ms.upper_bound(scenario, empty, tpot=0.0)
