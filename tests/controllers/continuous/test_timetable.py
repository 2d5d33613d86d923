"""Tables of batches: rates by another implementation and by the simulator, and what a plan reaches."""

import numpy as np
import pytest

import multispin_env as ms
from benchmarks.exact_continuous import make_fleet, optimum
from benchmarks.exact_continuous import table_rate as rate_of_the_benchmark
from multispin_env.controllers.continuous.timetable import (
    OUTSIDE,
    Times,
    Timetable,
    _table_of,
    best_table,
    table_rate,
)
from tests.controllers.continuous.states import core_of

MEASURED = {"server": "a100-32b", "payload": "ids", "min_draft_length": 0}


def system(users, seed=0, wide=True, **fields):
    scenario = ms.Scenario.preset("llama2", num_users=users, channel="static", **fields)
    generator = np.random.default_rng(seed)
    state = ms.sample_state(scenario, generator)
    spread = generator.uniform(-0.5, 0.5, users) * wide
    return scenario, state.changed(draft_time=state.draft_time * 10**spread)


def played(scenario, state, **times):
    return ms.long_run(Timetable(scenario), state, **times).rate


@pytest.mark.parametrize("fields", [{}, MEASURED])
@pytest.mark.parametrize("users", [1, 2, 3, 8])
def test_rate_is_that_of_another_implementation(users, fields):
    scenario, state = system(users, **fields)
    times, fleet, generator = Times.of(scenario, state), make_fleet(scenario, state), np.random.default_rng(users)
    for rows in range(1, 7):
        table = generator.integers(times.least, 9, (rows, users))
        table[generator.random(table.shape) < 0.4] = OUTSIDE
        table[0, (table == OUTSIDE).all(0)] = 1
        expected = rate_of_the_benchmark(fleet, table)
        assert table_rate(times, table, 24) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("fields", [{}, MEASURED, {"round_trip_time": 0.01}, {"access_delay": 0.005}])
def test_plan_is_played_at_its_rate(fields):
    scenario, state = system(4, **fields)
    planned = table_rate(Times.of(scenario, state), best_table(scenario, state), 24)
    assert played(scenario, state, warm_up=2.0, horizon=20.0) == pytest.approx(planned, rel=2e-3)


def test_device_outside_the_table_is_not_verified():
    scenario, state = system(6, verification_time_per_draft=0.3)
    unlike = state.changed(acceptance_rate=np.array([0.9, 0.9, 0.9, 0.1, 0.1, 0.1]))
    planned = table_rate(Times.of(scenario, unlike), table := best_table(scenario, unlike), 24)
    run = ms.long_run(Timetable(scenario), unlike, warm_up=5.0, horizon=100.0)
    outside = (table == OUTSIDE).all(0)
    assert outside.any()
    assert ((run.device_rate == 0.0) == outside).all()
    assert run.rate == pytest.approx(planned, rel=5e-3)


def test_plan_of_padded_passes_is_played_at_its_rate():
    scenario, state = system(4, padded_verification=True, **MEASURED)
    planned = table_rate(Times.of(scenario, state), best_table(scenario, state), 24)
    assert played(scenario, state, warm_up=2.0, horizon=20.0) == pytest.approx(planned, rel=2e-3)


@pytest.mark.parametrize("fields", [{}, MEASURED])
def test_plan_is_near_the_optimum(fields):
    scenario, state = system(2, 3, max_draft_length=8, **fields)
    best = optimum(make_fleet(scenario, state), 1e-3, 40_000)
    rate = table_rate(Times.of(scenario, state), best_table(scenario, state), 24)
    assert 0.97 * best.rate < rate < best.bound * (1.0 + 1e-9)


def test_plan_is_above_groups_with_unequal_devices():
    scenario, state = system(8, 5)
    groups = ms.long_run(ms.make_controller("groups", scenario), state, warm_up=1.0, horizon=10.0).rate
    assert played(scenario, state, warm_up=1.0, horizon=10.0) > 1.01 * groups


def test_environments_have_their_own_tables():
    scenario, _ = system(2)
    states = ms.sample_state(scenario, np.random.default_rng(1), 3)
    alone = [played(scenario, states[i], warm_up=1.0, horizon=5.0) for i in range(3)]
    assert played(scenario, states, warm_up=1.0, horizon=5.0) == pytest.approx(alone, rel=1e-12)


def test_plan_is_the_same_when_it_is_made_again():
    scenario, state = system(3)
    first = best_table(scenario, state)
    _table_of.cache_clear()
    assert (best_table(scenario, state) == first).all()


def test_device_in_a_deep_fade_does_not_delay_others():
    scenario, state = system(4, wide=False)
    faded = state.changed(spectral_efficiency=state.spectral_efficiency * np.array([1.0, 1.0, 1.0, 1e-4]))
    rates = ms.long_run(Timetable(scenario), faded, warm_up=5.0, horizon=60.0).device_rate
    groups = ms.long_run(ms.make_controller("groups", scenario), faded, warm_up=5.0, horizon=60.0).rate
    assert rates.sum() > 0.99 * groups


@pytest.mark.parametrize(
    ("fields", "name"), [({"channel": "independent"}, "channel"), ({"draft_ahead": True}, "draft_ahead")]
)
def test_scenario_that_a_table_does_not_fit(fields, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        Timetable(ms.Scenario.preset("llama2", num_users=2, **({"channel": "static"} | fields)))


def test_requests_that_end():
    scenario, _ = system(2)
    with pytest.raises(ValueError, match=r"^demand: expected requests without end"):
        Timetable(scenario).decide(core_of(scenario, 1).state)
