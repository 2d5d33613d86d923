import numpy as np
import pytest
from scipy.stats import kstest

import multispin_env as ms
from multispin_env.physics.rounds import users_from_uniforms


def test_states_have_the_stated_distribution(scenario):
    state = ms.sample_state(scenario, np.random.default_rng(0), 2000)
    low, high = 0.85 * scenario.mean_draft_time, 1.15 * scenario.mean_draft_time
    assert kstest(state.draft_time.ravel(), "uniform", (low, high - low)).pvalue > 1e-3
    rates, counts = np.unique(state.acceptance_rate, return_counts=True)
    assert rates == pytest.approx(sorted(task.acceptance_rate for task in scenario.tasks))
    assert counts == pytest.approx(np.full(4, 10_000), rel=0.05)
    gain = (2**state.spectral_efficiency - 1) / scenario.transmit_snr
    assert gain.mean() == pytest.approx(0.35, rel=0.02)


def test_rayleigh_power_is_exponential():
    scenario = ms.Scenario.preset("llama2", mean_gain_low=0.3, mean_gain_high=0.3)
    state = ms.sample_state(scenario, np.random.default_rng(1), 1000)
    gain = (2**state.spectral_efficiency - 1) / scenario.transmit_snr
    assert kstest(gain.ravel() / 0.3, "expon").pvalue > 1e-3


def test_one_state_has_no_batch_axis(scenario, rng):
    assert ms.sample_state(scenario, rng).draft_time.shape == (20,)


def test_users_from_uniforms_at_the_ends(scenario):
    zero = users_from_uniforms(scenario, np.zeros((3, 20)))
    one = users_from_uniforms(scenario, np.full((3, 20), np.nextafter(1, 0)))
    assert (zero.task == 0).all()
    assert (one.task == 3).all()
    assert zero.draft_time == pytest.approx(0.85 * scenario.mean_draft_time)
    assert one.draft_time == pytest.approx(1.15 * scenario.mean_draft_time)
    assert zero.mean_gain == pytest.approx(0.2)
    assert one.mean_gain == pytest.approx(0.5)
