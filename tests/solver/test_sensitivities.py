"""Derivatives against finite differences."""

from functools import partial

import numpy as np
import pytest

from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import upper_bound
from multispin_env.solver.sensitivities import sensitivities


@pytest.fixture(params=[("llama2", 4, 5e6, False), ("qwen3.5", 8, 1e7, True), ("llama2", 20, 5e7, False)])
def case(request):
    name, num_users, bandwidth, weighted = request.param
    scenario = Scenario.preset(name, num_users=num_users, total_bandwidth=bandwidth)
    weights = np.linspace(0.5, 2.0, num_users) if weighted else None
    return scenario, sample_state(scenario, np.random.default_rng(0), 6), partial(sensitivities, weights=weights)


def slope(up, down, step):
    return (up.goodput - down.goodput) / (2.0 * step)


def test_bandwidth_and_server_time(case):
    scenario, state, of = case
    at = of(scenario, state)
    step = 1e-4 * scenario.total_bandwidth
    wide, narrow = (scenario.replace(total_bandwidth=scenario.total_bandwidth + s) for s in (step, -step))
    found = slope(of(wide, state), of(narrow, state), step)
    np.testing.assert_allclose(at.total_bandwidth, found, rtol=1e-4)
    step = 1e-4 * scenario.verification_fixed_time
    slow, fast = (scenario.replace(verification_fixed_time=scenario.verification_fixed_time + s) for s in (step, -step))
    found = slope(of(slow, state), of(fast, state), step)
    np.testing.assert_allclose(at.verification_time, found, rtol=1e-4)


def test_each_device(case):
    scenario, state, of = case
    at = of(scenario, state)
    for k in range(0, scenario.num_users, 3):
        unit = np.arange(scenario.num_users) == k
        snr = 2.0**state.spectral_efficiency - 1.0
        moved = [
            SystemState(state.draft_time, np.log2(1.0 + snr * 10.0 ** (unit * s / 10.0)), state.acceptance_rate)
            for s in (1e-3, -1e-3)
        ]
        found = slope(*(of(scenario, m) for m in moved), 1e-3)
        np.testing.assert_allclose(at.snr_db[:, k], found, rtol=1e-3, atol=1e-7)
        moved = [
            SystemState(state.draft_time + unit * s, state.spectral_efficiency, state.acceptance_rate)
            for s in (1e-6, -1e-6)
        ]
        found = slope(*(of(scenario, m) for m in moved), 1e-6)
        np.testing.assert_allclose(at.draft_time[:, k], found, rtol=1e-3, atol=1e-3)


def test_the_relaxed_optimum_is_above_the_integers(case):
    scenario, state, of = case
    goodput = of(scenario, state).goodput
    assert (goodput * (1.0 + 2e-6) >= upper_bound(scenario, state, of.keywords["weights"])).all()
    if of.keywords["weights"] is not None:
        assert sensitivities(scenario, state, 2.0 * of.keywords["weights"]).goodput == pytest.approx(2.0 * goodput)
        assert (abs(sensitivities(scenario, state).goodput / goodput - 1.0) > 0.01).all()
