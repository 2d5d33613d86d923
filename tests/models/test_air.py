"""What is emulated of devices is drawn as the scenario says."""

import numpy as np
import pytest
from scipy.stats import kstest

import multispin_env as ms
from multispin_env.models.air import draw_air
from multispin_env.physics.uplink import channel_gain


def test_devices_differ_as_in_states_of_the_scenario():
    scenario = ms.Scenario.preset("llama2", num_users=4_000)
    air = draw_air(scenario, 2, np.random.default_rng(0))
    state = ms.sample_state(scenario, np.random.default_rng(1))
    assert kstest(air.draft_time, state.draft_time).pvalue > 1e-3
    for one in air.efficiency:
        assert kstest(one, state.spectral_efficiency).pvalue > 1e-3
    assert abs(np.corrcoef(air.efficiency)[0, 1]) < 0.2  # they share mean gains, and nothing else


@pytest.mark.parametrize(("channel", "low", "high"), [("independent", -0.1, 0.1), ("gauss-markov", 0.7, 0.9)])
def test_the_channel_remembers_what_its_model_says(channel, low, high):
    """The correlation of gains is ρ² = .81 for Gauss–Markov fading."""
    scenario = ms.Scenario.preset("llama2", num_users=50, channel=channel)
    gain = channel_gain(scenario, draw_air(scenario, 400, np.random.default_rng(2)).efficiency)
    apart = gain - gain.mean(0)
    assert low < (apart[1:] * apart[:-1]).mean() / apart.var() < high


def test_more_rounds_begin_with_the_same():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    few, many = (draw_air(scenario, rounds, np.random.default_rng(3)) for rounds in (4, 9))
    np.testing.assert_array_equal(few.draft_time, many.draft_time)
    np.testing.assert_array_equal(few.efficiency, many.efficiency[:4])
