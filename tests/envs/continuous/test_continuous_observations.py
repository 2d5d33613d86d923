from dataclasses import replace

import numpy as np
import pytest
from gymnasium.vector.utils import batch_space

import multispin_env as ms
from multispin_env.envs.observations import CONTINUOUS_STATE, SERVING_STATE, ObservationCodec
from tests.envs.continuous.played import AHEAD, BUSY, states_of

LIMITS = {"ttft": 1.5, "e2el": 1.0, "e2el_per_token": 0.08}


@pytest.mark.parametrize("ahead", [{}, AHEAD], ids=["none", "ahead"])
@pytest.mark.parametrize("limits", [None, {}, LIMITS], ids=["endless", "unlimited", "limited"])
def test_inverse(limits, ahead):
    scenario = ms.Scenario.preset("llama2", num_users=5, total_bandwidth=4e6, round_trip_time=0.003, **ahead)
    entries = CONTINUOUS_STATE if limits is None else SERVING_STATE
    codec, phases, late = ObservationCodec(scenario, (*entries, *["head_start"] * bool(ahead)), 150.0), set(), 0
    space = batch_space(codec.space, 8)
    workload = None if limits is None else replace(BUSY, level=ms.requests.ServiceLevel(**limits))
    for state in states_of(scenario, 8, 60 if workload else 25, "greedy" if workload else "groups", workload):
        observation = codec.encode(state)
        assert space.contains(observation)
        decoded, now, demand = codec.decode(observation), state.time[:, None], state.demand
        assert (decoded.phase == state.phase).all()
        assert (decoded.draft_length == state.draft_length).all()
        assert (decoded.aim == state.aim - state.batch[:, None]).all()
        for name in ("draft_time", "spectral_efficiency", "acceptance_rate", "drafting_left", "air_left", "age"):
            assert getattr(decoded, name) == pytest.approx(getattr(state, name), rel=2e-5, abs=2e-6), name
        assert decoded.head_start == pytest.approx(state.head_start, rel=1e-6)
        phases |= set(state.phase.ravel().tolist())
        if not workload:
            continue
        for name in ("wanted", "output", "prompt", "queue"):
            assert (getattr(decoded.demand, name) == getattr(demand, name)).all(), name
        arrived = np.where(state.phase != ms.physics.Phase.IDLE, demand.arrived - now, 0.0)
        assert decoded.demand.arrived == pytest.approx(arrived, rel=1e-4, abs=1e-5)
        for name in ("first_due", "due"):
            expected = getattr(demand, name) - now
            assert getattr(decoded.demand, name) == pytest.approx(expected, rel=1e-4, abs=1e-5), name
            assert (np.isinf(expected) == (observation[name] == 1.0)).all()
            late += (expected < 0.0).sum()
        ms.make_controller("greedy+deadlines", scenario)(decoded)
    assert phases >= ({0, 1, 2, 3, 4} if workload else {0, 2, 3} if ahead else {0, 1, 2, 3})
    assert (late > 0) == bool(limits)
    observation = codec.encode(state.changed(age=state.age + 1e12))
    assert space.contains(observation)
    assert np.isfinite(codec.decode(observation).age).all()


def test_shared_by_hand():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    endless, serving = (ObservationCodec(scenario, keys, rho=150.0) for keys in (CONTINUOUS_STATE, SERVING_STATE))
    (*_, state) = states_of(scenario, 6, 40, "greedy", BUSY)
    shared = serving.encode(state)["shared"]
    assert shared.shape == (6, 8)
    assert (shared[:, :6] == endless.encode(state)["shared"]).all()
    all_drafts, single = 0.02268 + 4 * 0.01272, 0.02268 + 0.01272
    assert 10.0 ** shared[:, 0] * scenario.mean_draft_time == pytest.approx(all_drafts, rel=1e-5)
    assert 10.0 ** shared[:, 1] == pytest.approx(4.0, rel=1e-5)
    assert 10.0 ** shared[:, 3] * scenario.mean_draft_time == pytest.approx(single, rel=1e-5)
    assert 10.0 ** shared[:, 4] == pytest.approx(150.0 * all_drafts / 4.0, rel=1e-5)
    pending, waiting = state.air_left.sum(-1), state.demand.queue.sum(-1)
    assert pending.max() > 0.0 < waiting.max()
    assert shared[:, 5] == pytest.approx(pending / (pending + all_drafts), rel=1e-5)
    assert shared[:, 6] == pytest.approx((state.demand.wanted > 0).sum(-1) / 4.0)
    assert shared[:, 7] == pytest.approx(waiting / (waiting + 4.0))
