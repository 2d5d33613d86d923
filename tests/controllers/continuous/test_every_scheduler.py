"""What every controller keeps to."""

from dataclasses import fields

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from tests.controllers.continuous.states import core_for, hostile, visited

NAMES = ("optimal", *ms.controller_names("continuous"))
OURS = ("optimal", "synchronous", "greedy", "groups", "prices", "own-pace", "load-aware")
"""The others are of these kinds, and `test_related_work` has them in any state, under all laws."""
LAWS = {
    "paper": {},
    "tokens": {"verification_pieces": ((0.0, 0.001), (0.01, 0.0))},
    "padded": {"verification_pieces": ((0.0, 0.001),), "padded_verification": True},
    "empty drafts, round trip": {"min_draft_length": 0, "round_trip_time": 0.02},
}


def equal(one, other):
    if not isinstance(one, ms.ContinuousState | ms.ContinuousDecision | ms.Demand):
        return np.array_equal(one, other)
    return all(equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))


@pytest.mark.parametrize("name", NAMES)
def test_one_state_and_a_batch_get_the_same_orders_to_the_bit(name):
    controller = ms.make_controller(name, ms.Scenario.preset("llama2", num_users=5))
    state = visited(controller)
    together = controller(state)
    assert together.draft_length.shape == state.phase.shape
    for copy in range(len(state.time)):
        assert equal(controller(state[copy]), together[copy])
    assert equal(controller(state[:, None]), together[:, None])


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_function_of_the_state(name):
    controller = ms.make_controller(name, ms.Scenario.preset("llama2", num_users=4))
    state = visited(controller)
    before = state.copy()
    assert equal(controller(state), controller(before))
    assert equal(state, before)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", OURS)
def test_its_orders_keep_a_system_going(name, law):
    """The core refuses bad decisions and those that wait for ever."""
    controller = ms.make_controller(name, ms.Scenario.preset("qwen3.5", num_users=4, **LAWS[law]))
    core = core_for(controller, 3)
    served = np.zeros((3, 4))
    for _ in range(30):
        served += core.step(controller(core.state)).tokens
    assert (served.sum(-1) > 0).all()


@pytest.mark.parametrize("users", [1, 6])
@pytest.mark.parametrize("name", NAMES)
def test_hostile_states(name, users):
    scenario = ms.Scenario.preset("llama2", num_users=users)
    controller = ms.make_controller(name, scenario)
    core = ContinuousCore(
        ContinuousSystem.of(scenario.replace(channel="static"), controller.discipline), 40, drawn=False
    )
    core.hold(hostile(scenario, np.random.default_rng(users), 40))
    with np.errstate(invalid="raise", divide="raise", over="raise"):
        for _ in range(10):
            outcome = core.step(controller(core.state))
            assert np.isfinite(outcome.duration).all()
            assert (outcome.batch_size > 0).all()


@pytest.mark.parametrize("name", ["groups", "prices", "own-pace", "turbospec", "tetris"])
def test_no_batch_waits_for_a_deep_fade(name):
    scenario = ms.Scenario.preset("llama2", num_users=6)
    state = ms.sample_state(scenario, np.random.default_rng(3))
    good = ms.long_run_rate(ms.make_controller(name, scenario), state, warm_up=1.0, horizon=4.0)
    state.spectral_efficiency[2] = 1e-4
    faded = ms.long_run_rate(ms.make_controller(name, scenario), state, warm_up=1.0, horizon=4.0)
    assert faded > 0.7 * good


def test_faster_than_waiting_for_all():
    for preset in ("llama2", "qwen3.5"):
        scenario = ms.Scenario.preset(preset, num_users=8)
        state = ms.sample_state(scenario, np.random.default_rng(0), 2)
        rules = {name: ms.make_controller(name, scenario) for name in OURS}
        rates = {name: ms.long_run_rate(rule, state, warm_up=1.0, horizon=3.0) for name, rule in rules.items()}
        assert (rates["synchronous"] >= rates["optimal"]).all()
        for name in OURS[2:]:
            assert (rates[name] > 1.1 * rates["synchronous"]).all(), name


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("grups", {}, ValueError, "controller: expected one of .*, got 'grups'; did you mean 'groups'"),
        ("groups", {"grups": 2}, TypeError, "controller 'groups': got an unexpected keyword argument 'grups'"),
        ("groups", {"groups": 0}, ValueError, "groups: expected an integer ≥ 1, got 0"),
        ("groups", {"rho": 0.0}, ValueError, r"rho: expected numbers in \(0, inf\), got 0.0"),
        ("prices", {"rho": np.array([1.0, np.nan])}, ValueError, r"rho\[1\]: expected finite numbers, got nan"),
        ("prices", {"size": 0.0}, ValueError, r"size: expected numbers in \(0, 1\], got 0.0"),
        ("greedy", {"draft_length": 99}, ValueError, "draft_length: expected "),
    ],
)
def test_bad_options(name, options, error, message):
    with pytest.raises(error, match=message):
        ms.make_controller(name, ms.Scenario.preset("llama2", num_users=3), **options)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("air_left", np.full(3, np.nan), r"air_left\[0\]: expected numbers, got nan"),
        ("phase", np.array([0, 7, 0]), r"phase\[1\]: expected integers in 0..4, got 7"),
        ("demand", None, r"demand: expected a Demand, such as Demand.endless\(\(3,\)\), got None"),
        ("drafting_left", np.array([0.0, -1.0, 0.0]), r"drafting_left\[1\]: expected seconds ≥ 0, got -1"),
        ("aim", np.zeros(2), r"aim: expected shape \(3,\), got \(2,\)"),
        ("time", np.zeros(4), r"time: expected shape \(\), got \(4,\)"),
        ("draft_time", np.zeros(3), r"draft_time\[0\]: expected numbers > 0"),
        ("acceptance_rate", np.full(2, 0.5), "acceptance_rate: expected shape"),
    ],
)
def test_bad_states(field, value, message):
    controller = ms.make_controller("groups", ms.Scenario.preset("llama2", num_users=3))
    state = visited(controller, copies=1)[0]
    arrays = {each.name: getattr(state, each.name) for each in fields(state)}
    with pytest.raises(ValueError, match=message):
        controller(ms.ContinuousState(**{**arrays, field: value}))


def test_prices_of_a_second_for_another_batch():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    controller = ms.make_controller("groups", scenario, rho=np.array([90.0, 100.0]))
    with pytest.raises(ValueError, match="rho: expected one number, or one for each of 6 states, got 2"):
        controller(visited(ms.make_controller("groups", scenario)))


def test_weights_lengthen_the_drafts_of_who_counts_more():
    scenario = ms.Scenario.preset("llama2", num_users=6, total_bandwidth=2e6)
    state = visited(ms.make_controller("groups", scenario, groups=2))
    plain = ms.make_controller("groups", scenario, groups=2)(state)
    even = ms.make_controller("groups", scenario, groups=2, weights=np.ones(6))(state)
    weights = np.array([3.0, 1.0, 1.0, 0.1, 1.0, 1.0])
    decision = ms.make_controller("groups", scenario, groups=2, weights=weights)(state)
    assert (plain.draft_length == even.draft_length).all()
    assert (decision.draft_length[:, 0] >= plain.draft_length[:, 0]).all()
    assert decision.draft_length[:, 0].sum() > plain.draft_length[:, 0].sum()
    assert decision.draft_length[:, 3].sum() < plain.draft_length[:, 3].sum()
    with pytest.raises(ValueError, match=r"weights\[1\]: expected numbers ≥ 0"):
        ms.make_controller("groups", scenario, groups=2, weights=np.array([1.0, -1.0, 1, 1, 1, 1]))(state)
