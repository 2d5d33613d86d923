"""The controller that follows an annealed table."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.continuous.annealing import Annealing
from multispin_env.controllers.continuous.schedule import Tables
from multispin_env.controllers.continuous.stored import key_of
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem

SCENARIO = ms.Scenario.preset("llama2", num_users=4)
QUICK = {"moves": 60, "chains": 4, "stored": False}


def devices(seed, size=None):
    return ms.sample_state(SCENARIO, np.random.default_rng(seed), size)


def test_its_rate_is_that_of_its_table():
    state = devices(0, 3)
    rate = ms.long_run_rate(ms.make_controller("plan", SCENARIO, **QUICK), state, warm_up=5.0, horizon=60.0)
    for copy in range(3):
        alone = state[copy : copy + 1]
        (table,) = Annealing(60, 4).search(SCENARIO, alone, np.random.default_rng(0))
        expected = Tables.of(SCENARIO, alone).rate(table[None])[0]
        assert rate[copy] == pytest.approx(expected, rel=2e-3)  # the window may hold a part of a period


def test_it_beats_its_starts():
    state = devices(1, 2)
    plan = ms.long_run_rate(ms.make_controller("plan", SCENARIO, **QUICK), state)
    barrier = ms.long_run_rate(ms.make_controller("optimal", SCENARIO), state)
    assert (plan > 1.2 * barrier).all()


def test_tables_of_different_periods_go_together():
    state = devices(2, 2)
    controller = ms.make_controller("plan", SCENARIO, **QUICK)
    controller._tables.update(
        {
            key_of(SCENARIO, state[0]): np.array([[3, 3, 0, 0], [0, 0, 4, 4]]),
            key_of(SCENARIO, state[1]): np.array([[2, 2, 0, 0], [0, 0, 5, 0], [3, 0, 0, 6]]),
        }
    )
    core = ContinuousCore(ContinuousSystem.of(SCENARIO, "static"), 2, drawn=False)
    core.hold(state)
    verified = [core.step(controller(core.state)) for _ in range(6)]
    lengths = [outcome.draft_length.tolist() for outcome in verified]
    assert [row[0] for row in lengths] == [[3, 3, 0, 0], [0, 0, 4, 4]] * 3
    assert [row[1] for row in lengths] == [[2, 2, 0, 0], [0, 0, 5, 0], [3, 0, 0, 6]] * 2


def test_a_channel_that_changes_is_refused():
    controller = ms.make_controller("plan", SCENARIO, **QUICK)
    with pytest.raises(ValueError, match="channel_law: expected 'static' for the controller 'plan'"):
        ms.long_run_rate(controller, devices(3, 1), channel="independent")


def test_it_takes_over_from_another_scheduler():
    """Where nobody aims at the next batch, it takes whoever is there."""
    state = devices(4, 1)
    controller = ms.make_controller("plan", SCENARIO, **QUICK)
    core = ContinuousCore(ContinuousSystem.of(SCENARIO, "static"), 1, drawn=False)
    core.hold(state)
    controller(core.state)
    far = np.full((1, 4), 9)
    core.step(ms.ContinuousDecision(np.full((1, 4), 3), np.array([[2, 0, 0, 0]]), priority=np.zeros((1, 4)), aim=far))
    assert (controller(core.state).join > 0).any()
    core.step(controller(core.state))


def test_devices_are_recognised_but_for_the_last_digits():
    state = devices(5)
    near = ms.SystemState(state.draft_time * (1.0 + 1e-12), state.spectral_efficiency, state.acceptance_rate)
    other = ms.SystemState(state.draft_time * (1.0 + 1e-6), state.spectral_efficiency, state.acceptance_rate)
    assert key_of(SCENARIO, state) == key_of(SCENARIO, near) != key_of(SCENARIO, other)
    assert key_of(SCENARIO, state) != key_of(SCENARIO.replace(round_trip_time=0.01), state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"moves": 0}, "moves: expected an integer ≥ 1, got 0"),
        ({"chains": 3}, "chains: expected an even number, got 3"),
        ({"seed": -1}, "seed: expected an integer ≥ 0, got -1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ms.make_controller("plan", SCENARIO, **options)
