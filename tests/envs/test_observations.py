import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.rounds.observations import LARGEST_FADE, ObservationCodec


def test_inverse_and_bounds(scenario, rng):
    codec = ObservationCodec(scenario)
    state = ms.sample_state(scenario, rng, 500)
    observation = codec.encode(state)
    back = codec.decode(observation)
    for field in ("draft_time", "spectral_efficiency", "acceptance_rate"):
        assert getattr(back, field) == pytest.approx(getattr(state, field), rel=1e-6)
    for i in range(500):
        assert codec.space.contains({key: value[i] for key, value in observation.items()})


def test_order_one(scenario, rng):
    observation = ObservationCodec(scenario).encode(ms.sample_state(scenario, rng, 500))
    for value in observation.values():
        assert 0.05 < np.abs(value).mean() < 5


def test_bounds_are_finite_and_hold_the_largest_fade(scenario):
    space = ObservationCodec(scenario).space
    for box in space.values():
        assert np.isfinite(box.low).all()
        assert np.isfinite(box.high).all()
    draws = np.random.default_rng(0).standard_exponential(2_000_000)
    assert draws.max() < LARGEST_FADE


def test_shared_quantities_tell_users_and_budget():
    shared = [
        ObservationCodec(ms.Scenario.preset("llama2", **change)).shared
        for change in ({}, {"num_users": 8}, {"total_bandwidth": 5e6})
    ]
    assert shared[1][1] == pytest.approx(np.log10(8))
    assert shared[2][2] - shared[0][2] == pytest.approx(np.log10(2))
    assert shared[1][0] < shared[0][0]


def test_scenario_beyond_the_bounds_is_refused():
    with pytest.raises(ValueError, match=r"scenario: log10 of .* allowed are magnitudes below 20"):
        ObservationCodec(ms.Scenario.preset("llama2", total_bandwidth=1e-20))
