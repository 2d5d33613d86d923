"""States to observations and back."""

from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.observations import CONTINUOUS_STATE, SERVING_STATE, ObservationCodec
from tests.envs.continuous.played import AHEAD, BUSY, states_of


def codec_of(scenario, entries, rho):
    return ObservationCodec(scenario, (*entries, *["head_start"] * scenario.draft_ahead), rho)


@pytest.mark.parametrize("ahead", [{}, AHEAD], ids=["none", "ahead"])
def test_states_come_back(ahead):
    scenario = ms.Scenario.preset("llama2", num_users=5, total_bandwidth=4e6, round_trip_time=0.003, **ahead)
    codec, seen = codec_of(scenario, CONTINUOUS_STATE, 150.0), set()
    for state in states_of(scenario, 8, 25):
        observation = codec.encode(state)
        assert all(codec.space.contains({key: value[i] for key, value in observation.items()}) for i in range(8))
        again = codec.decode(observation)
        assert (again.phase == state.phase).all()
        assert (again.draft_length == state.draft_length).all()
        assert (again.aim == state.aim - state.batch[:, None]).all()
        for name in ("draft_time", "spectral_efficiency", "acceptance_rate", "drafting_left", "air_left", "age"):
            assert getattr(again, name) == pytest.approx(getattr(state, name), rel=2e-5, abs=2e-6), name
        assert again.head_start == pytest.approx(state.head_start, rel=1e-6)
        seen |= set(state.phase.ravel().tolist())
    assert seen >= ({0, 2, 3} if ahead else {0, 1, 2, 3})  # who is ahead hardly drafts when a cycle begins
    assert state.head_start.any() == bool(ahead)


def test_shared_by_hand():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    codec = ObservationCodec(scenario, CONTINUOUS_STATE, rho=150.0)
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
    codec = ObservationCodec(scenario, CONTINUOUS_STATE, rho=150.0)
    state = next(states_of(scenario, 1, 1))
    observation = codec.encode(state.changed(age=state.age + 1e12))
    assert codec.space.contains({key: value[0] for key, value in observation.items()})
    assert np.isfinite(codec.decode(observation).age).all()


@pytest.mark.parametrize("ahead", [{}, AHEAD], ids=["none", "ahead"])
@pytest.mark.parametrize("limits", [{}, {"ttft": 1.5, "e2el": 1.0, "e2el_per_token": 0.08}])
def test_states_with_requests_come_back(limits, ahead):
    scenario = ms.Scenario.preset("llama2", num_users=5, total_bandwidth=4e6, **ahead)
    codec, seen, late = codec_of(scenario, SERVING_STATE, 90.0), set(), 0
    workload = replace(BUSY, level=ms.ServiceLevel(**limits))
    for state in states_of(scenario, 8, 60, "greedy", workload):
        observation = codec.encode(state)
        assert all(codec.space.contains({key: value[i] for key, value in observation.items()}) for i in range(8))
        again, now, demand = codec.decode(observation), state.time[:, None], state.demand
        assert (again.phase == state.phase).all()
        for name in ("wanted", "output", "prompt", "queue"):
            assert (getattr(again.demand, name) == getattr(demand, name)).all(), name
        busy = state.phase != ms.Phase.IDLE
        assert again.demand.arrived == pytest.approx(np.where(busy, demand.arrived - now, 0.0), rel=1e-4, abs=1e-5)
        for name in ("first_due", "due"):
            expected = getattr(demand, name) - now
            assert getattr(again.demand, name) == pytest.approx(expected, rel=1e-4, abs=1e-5), name
            assert (np.isinf(expected) == (observation[name] == 1.0)).all()
            late += (expected < 0.0).sum()
        assert again.head_start == pytest.approx(state.head_start, rel=1e-6)
        seen |= set(state.phase.ravel().tolist())
        ms.make_controller("greedy+deadlines", scenario)(again)  # a state like any other
    assert seen == {0, 1, 2, 3, 4}
    assert (late > 0) == bool(limits)


def test_shared_numbers_of_requests_by_hand():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    codec = ObservationCodec(scenario, SERVING_STATE, rho=90.0)
    (*_, state) = states_of(scenario, 6, 40, "greedy", BUSY)
    shared = codec.encode(state)["shared"]
    assert shared.shape == (6, 8)
    assert (shared[:, :6] == ObservationCodec(scenario, CONTINUOUS_STATE, rho=90.0).encode(state)["shared"]).all()
    assert shared[:, 6] == pytest.approx((state.demand.wanted > 0).sum(-1) / 4.0)
    waiting = state.demand.queue.sum(-1)
    assert waiting.max() > 0
    assert shared[:, 7] == pytest.approx(waiting / (waiting + 4.0))
