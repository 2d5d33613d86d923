"""What every controller without the barrier keeps to."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.controllers.base import Tunable
from multispin_env.controllers.continuous.groups import fluid_rate
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.types import Demand, Join, Phase
from multispin_env.physics.continuous.validation import check_drop, checked_continuous_decision
from multispin_env.physics.tokens import expected_tokens
from multispin_env.registry import CONTROLLERS, class_of_part
from tests.alike import equal
from tests.controllers.continuous.states import LAWS, hostile, visited
from tests.envs.continuous.played import states_of
from tests.strategies import states

NAMES = ("optimal", *ms.controller_names("continuous"))
OURS = ("optimal", "synchronous", "greedy", "groups", "prices", "own-pace", "load-aware")
"""The others are of these kinds."""


@pytest.mark.parametrize("name", [*NAMES, "greedy+deadlines"])
@given(data=st.data())
@settings(max_examples=15)
def test_orders_are_legal_in_any_state(name, data):
    """With requests and without, whatever the law; and a batch gets what its states get one by one, to the bit."""
    scenario = ms.Scenario.preset("llama2", num_users=4, **data.draw(st.sampled_from(LAWS)))
    state = data.draw(states(4))
    if data.draw(st.booleans()):
        state = state.changed(demand=Demand.endless(state.phase.shape), phase=state.phase % 4)
    before = state.copy()
    with np.errstate(all="raise", under="ignore"):
        decision = ms.make_controller(name, scenario)(state)
    assert equal(state, before)
    uplink = ContinuousSystem.of(scenario, ms.make_controller(name, scenario).discipline).uplink
    check_drop(checked_continuous_decision(scenario, uplink, decision, len(state.time)), state)
    busy = state.phase != Phase.IDLE
    assert ((decision.join > Join.LEAVE).any(-1) & ((decision.join > 0) & busy | ~busy.any(-1)[:, None]).any(-1)).all()
    for copy in range(len(state.time)):
        assert equal(ms.make_controller(name, scenario)(state[copy]), decision[copy])


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
    scenario = ms.Scenario.preset("qwen3.5", num_users=8)
    state = ms.sample_state(scenario, np.random.default_rng(0), 2)
    rules = {name: ms.make_controller(name, scenario) for name in OURS}
    rates = {name: ms.long_run_rate(rule, state, warm_up=1.0, horizon=3.0) for name, rule in rules.items()}
    assert (rates["synchronous"] >= rates["optimal"]).all()
    for name in OURS[2:]:
        assert (rates[name] > 1.1 * rates["synchronous"]).all(), name


@pytest.mark.parametrize(("pace", "alpha"), [(0.02, 0.7), (1.0, 0.97), (3.0, 1.0)])
def test_a_fluid_rate_is_the_best_of_its_grid(pace, alpha):
    """The more is accepted, the longer are the best times to draft."""
    scenario = ms.Scenario.preset("llama2", num_users=4, min_draft_length=0, round_trip_time=0.02)
    (state,) = states_of(scenario, 2, 1)
    state = state.changed(draft_time=pace * state.draft_time, acceptance_rate=np.full((2, 4), alpha))
    rates = []
    for copy in range(2):
        air = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency[copy])
        server = scenario.verification_fixed_time + 2.0 * scenario.verification_time_per_draft
        for power in range(-8, 9):
            time = server * 1.3**power
            lengths = np.minimum(time / (state.draft_time[copy] + air), scenario.max_draft_length)
            tokens = sum(expected_tokens(lengths, state.acceptance_rate[copy]))
            rates.append(tokens / max(time + 0.02 + server, 2.0 * server, sum(lengths * air)))
    best = np.reshape(rates, (2, 17)).max(-1)
    assert fluid_rate(scenario, state, 2) == pytest.approx(best, rel=1e-12)


def test_weights_lengthen_the_drafts_of_who_counts_more():
    scenario = ms.Scenario.preset("llama2", num_users=6, total_bandwidth=2e6)
    state = visited(ms.make_controller("groups", scenario, groups=2))
    plain, even, decision = (
        ms.make_controller("groups", scenario, groups=2, weights=weights)(state)
        for weights in (None, np.ones(6), np.array([3.0, 1.0, 1.0, 0.1, 1.0, 1.0]))
    )
    assert (plain.draft_length == even.draft_length).all()
    assert (decision.draft_length[:, 0] >= plain.draft_length[:, 0]).all()
    assert decision.draft_length[:, 0].sum() > plain.draft_length[:, 0].sum()
    assert decision.draft_length[:, 3].sum() < plain.draft_length[:, 3].sum()


TUNABLE = [name for name in CONTROLLERS.names() if class_of_part(CONTROLLERS.load(name)).tunable]


@pytest.mark.parametrize("name", TUNABLE)
def test_arrays_of_options_are_as_one_rule_for_each_copy(name, rng):
    scenario = ms.Scenario.preset("llama2", num_users=4)
    rule = ms.make_controller(name, scenario)
    for state in states_of(scenario, 3, 8, "groups"):
        for option, tunable in rule.tunable.items():
            values = rng.uniform(tunable.low, tunable.high, 3)
            together = rule.tuned({option: values[:, None] if tunable.by_device else values})(state)
            for copy, value in enumerate(values):
                alone = rule.tuned({option: float(value)})(state[copy])
                assert (together.draft_length[copy] == alone.draft_length).all()
                assert (together.join[copy] == alone.join).all()


@pytest.mark.parametrize("name", TUNABLE)
def test_defaults_are_inside_and_every_option_matters(name):
    scenario = ms.Scenario.preset("llama2", num_users=9)
    rule = ms.make_controller(name, scenario)
    states = list(states_of(scenario, 6, 6, name))
    for option, tunable in rule.tunable.items():
        assert tunable.low <= rule.option(option) <= tunable.high
        if option not in ("budget", "haste"):  # those are of requests that end
            changed = [rule.tuned({option: end}) for end in (tunable.low, tunable.high)]
            assert any(differ(rule(state), each(state)) for state in states for each in changed)


def differ(one, other):
    return any(
        getattr(one, field) is not None and (getattr(one, field) != getattr(other, field)).any()
        for field in ("draft_length", "join", "priority", "aim")
    )


def test_a_modified_rule_has_the_options_of_both():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    rule = ms.make_controller("greedy+deadlines", scenario)
    assert list(rule.tunable) == ["budget", "haste"]
    changed = rule.tuned({"budget": 0.3, "haste": 2.0})
    assert (changed.base.budget, changed.haste, changed.option("budget")) == (0.3, 2.0, 0.3)


def test_ends_and_middle():
    moved = Tunable(0.0, 4.0).moved(1.0, np.array([-1.0, -0.5, 0.0, 0.5, 1.0]))
    assert moved.tolist() == [0.0, 0.5, 1.0, 2.5, 4.0]


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("grups", {}, ValueError, "controller: expected one of .*, got 'grups'; did you mean 'groups'"),
        ("groups", {"grups": 2}, TypeError, "controller 'groups': got an unexpected keyword argument 'grups'"),
        ("groups", {"groups": 0}, ValueError, "groups: expected an integer ≥ 1, got 0"),
        ("groups", {"rho": 0.0}, ValueError, r"rho: expected numbers in \(0, inf\), got 0.0"),
        ("groups", {"rho": np.ones(2)}, ValueError, "rho: expected one number, or one for each of 1 states, got 2"),
        ("groups", {"weights": -np.ones(3)}, ValueError, r"weights\[0\]: expected numbers ≥ 0"),
        ("prices", {"rho": np.array([1.0, np.nan])}, ValueError, r"rho\[1\]: expected finite numbers, got nan"),
        ("prices", {"size": 0.0}, ValueError, r"size: expected numbers in \(0, 1\], got 0.0"),
        ("greedy", {"draft_length": 99}, ValueError, "draft_length: expected "),
        ("own-pace", {"queue": np.ones(4)}, ValueError, r"queue: expected numbers that broadcast to \(1, 3\), got "),
    ],
)
def test_bad_options(name, options, error, message):
    scenario = ms.Scenario.preset("llama2", num_users=3)
    (state,) = states_of(scenario, 1, 1)
    with pytest.raises(error, match=message):
        ms.make_controller(name, scenario, **options)(state)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("air_left", np.full(3, np.nan), r"air_left\[0\]: expected numbers, got nan"),
        ("phase", np.array([0, 7, 0]), r"phase\[1\]: expected integers in 0..4, got 7"),
        ("demand", None, r"demand: expected a Demand, such as Demand.endless\(\(3,\)\), got None"),
        ("drafting_left", np.array([0.0, -1.0, 0.0]), r"drafting_left\[1\]: expected seconds ≥ 0, got -1"),
        ("time", np.zeros(4), r"time: expected shape \(\), got \(4,\)"),
        ("draft_time", np.zeros(3), r"draft_time\[0\]: expected numbers > 0"),
    ],
)
def test_bad_states(field, value, message):
    scenario = ms.Scenario.preset("llama2", num_users=3)
    (state,) = states_of(scenario, 1, 1)
    arrays = {each.name: getattr(state[0], each.name) for each in fields(state)}
    with pytest.raises(ValueError, match=message):
        ms.make_controller("groups", scenario)(ms.ContinuousState(**{**arrays, field: value}))
