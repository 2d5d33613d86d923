"""Derivatives against finite differences."""

from functools import partial
from itertools import product

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.solver.problem import make_problem
from tests.hostile import hostile_instance


@pytest.fixture(params=[("llama2", 4, 5e6, False), ("qwen3.5", 8, 1e7, True), ("llama2", 20, 5e7, False)])
def case(request):
    name, num_users, bandwidth, weighted = request.param
    scenario = ms.Scenario.preset(name, num_users=num_users, total_bandwidth=bandwidth)
    weights = np.linspace(0.5, 2.0, num_users) if weighted else None
    return scenario, ms.sample_state(scenario, np.random.default_rng(0), 6), partial(ms.sensitivities, weights=weights)


LAWS = {
    "paper": ({}, 1),
    "one piece": ({"server": "a100-32b"}, 1),
    "at a kink": ({"verification_pieces": ((0.607, 0.0001), (0.01, 0.02))}, 2),  # 30 tokens
    "padded": ({"server": "cpu-1.5b"}, 1),
}


@pytest.mark.parametrize("law", LAWS)
def test_time_of_a_token_and_bandwidth_under_each_law(law):
    fields, pieces = LAWS[law]
    scenario = ms.Scenario.preset("qwen3.5", num_users=4, total_bandwidth=5e6, min_draft_length=0).replace(**fields)
    state = ms.sample_state(scenario, np.random.default_rng(0), 6)
    at = ms.sensitivities(scenario, state)
    tokens = scenario.law.tokens(at.draft_length, at.draft_length.shape[-1])
    if pieces == 2:
        assert tokens == pytest.approx(np.full(6, 30.0), rel=1e-6)

    def moved(seconds, hertz=0.0):
        law = scenario.verification_pieces or ((0.0, 0.0),)
        law = tuple((a, b + seconds) for a, b in law)
        other = scenario.replace(verification_pieces=law, total_bandwidth=scenario.total_bandwidth + hertz)
        return ms.sensitivities(other, state)

    back = 0.0 if law == "paper" else -1e-6  # no slope is negative
    change = (moved(1e-6).goodput - moved(back).goodput) / (1e-6 - back)
    np.testing.assert_allclose(at.token_time, change, rtol=1e-3)
    np.testing.assert_allclose(at.total_bandwidth, slope(moved(0.0, 1e2), moved(0.0, -1e2), 1e2), rtol=1e-3)
    np.testing.assert_allclose(at.token_time, at.verification_time * tokens, rtol=1e-12)


def slope(up, down, step):
    return (up.goodput - down.goodput) / (2.0 * step)


def test_each_device(case):
    scenario, state, of = case
    at, snr = of(scenario, state), 2.0**state.spectral_efficiency - 1.0
    for k in range(0, scenario.num_users, 3):
        unit = np.arange(scenario.num_users) == k
        louder = (np.log2(1.0 + snr * 10.0 ** (unit * s / 10.0)) for s in (1e-3, -1e-3))
        change = slope(*(of(scenario, state.changed(spectral_efficiency=r)) for r in louder), 1e-3)
        np.testing.assert_allclose(at.snr_db[:, k], change, rtol=1e-3, atol=1e-7)
        slower = (state.draft_time + unit * s for s in (1e-6, -1e-6))
        change = slope(*(of(scenario, state.changed(draft_time=t)) for t in slower), 1e-6)
        np.testing.assert_allclose(at.draft_time[:, k], change, rtol=1e-3, atol=1e-3)


def test_weights_scale_the_goodput(case):
    scenario, state, of = case
    goodput, weights = of(scenario, state).goodput, of.keywords["weights"]
    assert (goodput * (1.0 + 2e-6) >= ms.upper_bound(scenario, state, weights)).all()
    if weights is not None:
        assert ms.sensitivities(scenario, state, 2.0 * weights).goodput == pytest.approx(2.0 * goodput)


FAST = {"verification_fixed_time": 1e-6, "verification_time_per_draft": 1e-9}


@pytest.mark.parametrize(
    ("users", "alpha", "law"), [(1, 0.0, FAST), (3, 0.0, FAST), (3, 0.7, {"server": "a100-7b-gemm"})]
)
def test_derivatives_are_zero_where_no_device_drafts(users, alpha, law):
    scenario = ms.Scenario.preset("llama2", num_users=users, min_draft_length=0, **law)
    state = ms.sample_state(scenario, np.random.default_rng(0), 4)
    at = ms.sensitivities(scenario, state.changed(acceptance_rate=np.full((4, users), alpha)))
    assert at.goodput == pytest.approx(np.full(4, scenario.autoregressive_goodput))
    for derivative in (at.draft_length, at.bandwidth_price, at.total_bandwidth, at.snr_db, at.draft_time):
        assert (derivative == 0.0).all()


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 104, 124, 128])
def test_no_whole_lengths_are_better(seed):
    # of the last ones the optimum is at ends of ranges, next to which real lengths are known to few digits
    scenario, state, weights = hostile_instance(np.random.default_rng(seed), max_decisions=150)
    if seed < 4:
        scenario, weights = scenario.replace(min_draft_length=0), None
    problem = make_problem(scenario, state, weights)
    ranges = (range(low, high + 1) for low, high in zip(problem.low[0], problem.high[0], strict=True))
    best = problem.value(np.array([list(product(*ranges))])).max()
    assert ms.sensitivities(scenario, state, weights).goodput >= best * (1.0 - 1e-12)
