import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms

CERTIFICATE = 1e-9


def value(scenario, state, **options):
    return ms.expected_outcome(scenario, state, ms.make_controller("optimal", scenario, **options)(state)).goodput


@pytest.mark.parametrize(("users", "longest", "count"), [(2, 12, 40), (3, 7, 20), (4, 5, 8)])
@pytest.mark.parametrize("bandwidth", [5e5, 5e6])
def test_equals_brute_force(preset, users, longest, count, bandwidth):
    scenario = ms.Scenario.preset(preset, num_users=users, max_draft_length=longest, total_bandwidth=bandwidth)
    state = ms.sample_state(scenario, np.random.default_rng(users), count)
    found = value(scenario, state)
    for i in range(count):
        best = reference.best_goodput(scenario, state[i])
        assert found[i] == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("users", [1, 8, 20])
@pytest.mark.parametrize("bandwidth", [2.5e6, 2e7])
def test_never_below_any_other_controller(preset, users, bandwidth):
    scenario = ms.Scenario.preset(preset, num_users=users, total_bandwidth=bandwidth)
    state = ms.sample_state(scenario, np.random.default_rng(9), 40)
    found = value(scenario, state, certify=CERTIFICATE)
    for name in ms.controller_names("rounds"):
        options = {"phi_points": 30, "lambda_points": 30} if name == "algorithm1" else {}
        other = ms.make_controller(name, scenario, **options)(state)
        assert (ms.expected_outcome(scenario, state, other).goodput <= found * (1 + CERTIFICATE)).all(), name


def draw_state(seed, users):
    rng = np.random.default_rng(seed)
    return ms.SystemState(rng.uniform(5e-3, 3e-2, users), rng.uniform(0.05, 9, users), rng.uniform(0, 1, users))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), users=st.integers(1, 7))
def test_permuting_users_permutes_the_decision(seed, users):
    scenario = ms.Scenario.preset("llama2", num_users=users)
    state = draw_state(seed, users)
    order = np.random.default_rng(seed + 1).permutation(users)
    controller = ms.make_controller("optimal", scenario)
    direct, permuted = controller(state), controller(state[order])
    assert (permuted.draft_length == direct.draft_length[order]).all()
    assert permuted.bandwidth == pytest.approx(direct.bandwidth[order], rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), users=st.integers(1, 4), factor=st.floats(1, 10))
def test_more_bandwidth_never_lowers_the_optimum(seed, users, factor):
    scenario = ms.Scenario.preset("qwen3.5", num_users=users, total_bandwidth=3e6)
    state = draw_state(seed, users)
    wider = scenario.replace(total_bandwidth=3e6 * factor)
    assert value(wider, state) >= value(scenario, state) * (1 - 1e-12)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32), factor=st.floats(0.1, 10))
def test_scaling_all_times_scales_goodput_inversely(seed, factor):
    scenario = ms.Scenario.preset("llama2", num_users=3)
    state = draw_state(seed, 3)
    slower = scenario.replace(
        verification_fixed_time=factor * scenario.verification_fixed_time,
        verification_time_per_draft=factor * scenario.verification_time_per_draft,
    )
    scaled = ms.SystemState(factor * state.draft_time, state.spectral_efficiency / factor, state.acceptance_rate)
    assert value(slower, scaled) == pytest.approx(value(scenario, state) / factor, rel=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("users", [1, 200])
@pytest.mark.parametrize("bandwidth", [1e3, 1e11])
@pytest.mark.parametrize("alpha", [0.0, 1e-9, 1 - 1e-12, 1.0])
def test_extremes(users, bandwidth, alpha):
    scenario = ms.Scenario.preset("llama2", num_users=users, total_bandwidth=bandwidth)
    draft_time = np.full(users, 0.01)
    draft_time[0] *= 1000
    state = ms.SystemState(draft_time, np.linspace(1e-3, 20, users), np.full(users, alpha))
    decision = ms.make_controller("optimal", scenario)(state)
    found = ms.expected_outcome(scenario, state, decision).goodput
    common = ms.make_controller("homogeneous", scenario)(state)
    assert found >= ms.expected_outcome(scenario, state, common).goodput * (1 - 1e-9)
    assert np.isfinite(found)


def test_weights_favour_their_users(rng):
    scenario = ms.Scenario.preset("llama2", num_users=4)
    state = ms.sample_state(scenario, rng, 50)
    weights = np.array([100.0, 1, 1, 1])
    controller = ms.make_controller("optimal", scenario)
    plain, weighted = controller(state), ms.make_controller("optimal", scenario, weights=weights)(state)

    def weighted_goodput(decision):
        outcome = ms.expected_outcome(scenario, state, decision)
        return (weights * outcome.tokens).sum(-1) / outcome.round_latency

    assert (weighted_goodput(weighted) >= weighted_goodput(plain) * (1 - 1e-12)).all()
    assert weighted.draft_length[:, 0].mean() > plain.draft_length[:, 0].mean()
    fixed = ms.make_controller("optimal", scenario, weights=weights)(state)
    assert (fixed.draft_length == weighted.draft_length).all()
    for bad, message in (
        (-1.0, r"weights: expected numbers ≥ 0, got -1\.0"),
        (np.ones(3), r"weights: expected a shape that broadcasts to \(.*\), got \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            ms.make_controller("optimal", scenario, weights=bad)(state)


def test_a_short_time_limit_is_one():
    scenario = ms.Scenario.preset("llama2", num_users=2)
    assert ms.make_controller("optimal", scenario, certify=1e-6, time_limit=0.25).time_limit == 0.25
    with pytest.raises(ValueError, match=r"time_limit: expected .*, got -0.25"):
        ms.make_controller("optimal", scenario, certify=1e-6, time_limit=-0.25)
