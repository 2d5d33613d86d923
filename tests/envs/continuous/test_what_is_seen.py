"""States to observations and back."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.continuous.observations import ContinuousObservations
from tests.envs.continuous.played import states_of


@pytest.mark.parametrize("preset", ms.SCENARIOS.names())
def test_states_come_back(preset):
    seen = set()
    for bandwidth in (2e6, 5e7):
        seen |= phases_that_come_back(ms.Scenario.preset(preset, num_users=5, total_bandwidth=bandwidth))
    assert seen == {0, 1, 2, 3}


def phases_that_come_back(scenario):
    codec, seen = ContinuousObservations(scenario.replace(round_trip_time=0.003), rho=150.0), set()
    for state in states_of(codec.scenario, 8, 25):
        observation = codec.encode(state)
        assert all(codec.space.contains({key: value[i] for key, value in observation.items()}) for i in range(8))
        again = codec.decode(observation)
        assert (again.phase == state.phase).all()
        assert (again.draft_length == state.draft_length).all()
        assert (again.aim == state.aim - state.batch[:, None]).all()
        for name in ("draft_time", "spectral_efficiency", "acceptance_rate", "drafting_left", "air_left", "age"):
            assert getattr(again, name) == pytest.approx(getattr(state, name), rel=2e-5, abs=2e-6), name
        seen |= set(state.phase.ravel().tolist())
    return seen


def test_shared_by_hand():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    codec = ContinuousObservations(scenario, rho=150.0)
    (*_, state) = states_of(scenario, 2, 4)
    shared = codec.encode(state)["shared"]
    all_, one = 0.02268 + 4 * 0.01272, 0.02268 + 0.01272
    assert 10.0 ** shared[:, 0] * scenario.mean_draft_time == pytest.approx(all_, rel=1e-5)
    assert 10.0 ** shared[:, 1] == pytest.approx(4.0, rel=1e-5)
    assert 10.0 ** shared[:, 3] * scenario.mean_draft_time == pytest.approx(one, rel=1e-5)
    assert 10.0 ** shared[:, 4] == pytest.approx(150.0 * all_ / 4.0, rel=1e-5)
    pending = state.air_left.sum(-1)
    assert shared[:, 5] == pytest.approx(pending / (pending + all_), rel=1e-5)


def test_very_long_times_are_finite():
    scenario = ms.Scenario.preset("llama2", num_users=2)
    codec = ContinuousObservations(scenario, rho=150.0)
    state = next(states_of(scenario, 1, 1))
    far = ms.ContinuousState(
        *(getattr(state, name) for name in ms.ContinuousState.__slots__[:7]),
        state.age + 1e12,
        *(getattr(state, name) for name in ms.ContinuousState.__slots__[8:]),
    )
    observation = codec.encode(far)
    assert codec.space.contains({key: value[0] for key, value in observation.items()})
    assert np.isfinite(codec.decode(observation).age).all()


def test_scenarios_beyond_the_bounds_are_refused():
    scenario = ms.Scenario.preset("llama2", num_users=2)
    with pytest.raises(ValueError, match=r"^scenario: expected magnitudes below 20 of log10 of T_ver/T̄"):
        ContinuousObservations(scenario, rho=1e30)
