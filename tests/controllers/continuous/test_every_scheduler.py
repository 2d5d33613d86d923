import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.controllers.base import Tunable
from multispin_env.controllers.continuous.groups import fluid_rate
from multispin_env.draft import expected_tokens
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.continuous.types import Demand, Join, Phase
from multispin_env.physics.continuous.validation import check_drop, checked_continuous_decision
from multispin_env.registry import CONTROLLERS, class_of_part
from tests.alike import equal
from tests.controllers.continuous.states import LAWS
from tests.envs.continuous.played import states_of
from tests.strategies import states


@pytest.mark.parametrize(
    "name", ["optimal", *ms.controller_names("continuous", ms.Scenario.preset("llama2")), "greedy+deadlines"]
)
@given(data=st.data())
@settings(max_examples=10)
def test_orders_are_legal_in_any_state(name, data):
    """With and without requests, under each law; a batch has the same bits as single states."""
    users = data.draw(st.sampled_from((4, 1)))
    scenario = ms.Scenario.preset("llama2", num_users=users, **data.draw(st.sampled_from(LAWS)))
    state = data.draw(states(users))
    if data.draw(st.booleans()):
        state = state.changed(demand=Demand.endless(state.phase.shape), phase=state.phase % 4)
    before = state.copy()
    options = {"groups": data.draw(st.sampled_from((1, 2, 3)))} if name == "groups" else {}
    with np.errstate(all="raise", under="ignore"):
        decision = ms.make_controller(name, scenario, **options)(state)
    assert equal(state, before)
    uplink = ContinuousSystem.of(scenario, ms.make_controller(name, scenario).discipline).uplink
    check_drop(checked_continuous_decision(scenario, uplink, decision, len(state.time)), state)
    busy = state.phase != Phase.IDLE
    assert ((decision.join > Join.LEAVE).any(-1) & ((decision.join > 0) & busy | ~busy.any(-1)[:, None]).any(-1)).all()
    for env in range(len(state.time)):
        assert equal(ms.make_controller(name, scenario, **options)(state[env]), decision[env])


@pytest.mark.parametrize("name", ["groups", "prices", "own-pace", "turbospec", "tetris"])
def test_no_batch_waits_for_a_deep_fade(name):
    scenario = ms.Scenario.preset("llama2", num_users=6)
    state = ms.sample_state(scenario, np.random.default_rng(3))
    good = ms.long_run(ms.make_controller(name, scenario), state, warm_up=1.0, horizon=4.0).rate
    state.spectral_efficiency[2] = 1e-4
    faded = ms.long_run(ms.make_controller(name, scenario), state, warm_up=1.0, horizon=4.0).rate
    assert faded > 0.7 * good


@pytest.mark.parametrize(("pace", "alpha"), [(0.02, 0.7), (1.0, 0.97), (3.0, 1.0)])
def test_a_fluid_rate_is_the_best_of_its_grid(pace, alpha):
    delay = np.array([0.0, 0.01, 0.05, 0.0])
    fields = {"round_trip_time": 0.02, "access_delay": tuple(delay.tolist())}
    scenario = ms.Scenario.preset("llama2", num_users=4, min_draft_length=0, **fields)
    (state,) = states_of(scenario, 2, 1)
    state = state.changed(draft_time=pace * state.draft_time, acceptance_rate=np.full((2, 4), alpha))
    rates = []
    for env in range(2):
        air = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency[env])
        server = scenario.verification_fixed_time + 2.0 * scenario.verification_time_per_draft
        for power in range(-8, 9):
            time = server * 1.3**power
            room = np.maximum(time - delay, 0.0)
            lengths = np.minimum(room / (state.draft_time[env] + air), scenario.max_draft_length)
            tokens = sum(expected_tokens(lengths, state.acceptance_rate[env]))
            rates.append(tokens / max(time + 0.02 + server, 2.0 * server, sum(lengths * air)))
    best = np.reshape(rates, (2, 17)).max(-1)
    assert fluid_rate(scenario, state, 2) == pytest.approx(best, rel=1e-12)


TUNABLE = [name for name in CONTROLLERS.names() if class_of_part(CONTROLLERS.load(name)).tunable]


@pytest.mark.parametrize("name", TUNABLE)
def test_arrays_of_options_equal_one_rule_for_each_env(name, rng):
    scenario = ms.Scenario.preset("llama2", num_users=4)
    rule = ms.make_controller(name, scenario)
    for state in states_of(scenario, 3, 8, "groups"):
        for option, tunable in rule.tunable.items():
            values = rng.uniform(tunable.low, tunable.high, 3)
            together = rule.with_options({option: values[:, None] if tunable.by_device else values})(state)
            for env, value in enumerate(values):
                alone = rule.with_options({option: float(value)})(state[env])
                assert (together.draft_length[env] == alone.draft_length).all()
                assert (together.join[env] == alone.join).all()


@pytest.mark.parametrize("name", TUNABLE)
def test_defaults_are_inside_and_every_option_matters(name):
    scenario = ms.Scenario.preset("llama2", num_users=9)
    rule = ms.make_controller(name, scenario)
    states = list(states_of(scenario, 6, 6, name))
    for option, tunable in rule.tunable.items():
        assert tunable.low <= rule.option(option) <= tunable.high
        if option not in ("budget", "haste"):  # these need requests that end
            changed = [rule.with_options({option: end}) for end in (tunable.low, tunable.high)]
            assert not all(equal(rule(state), other(state)) for state in states for other in changed)


def test_a_modified_rule_has_the_options_of_both():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    rule = ms.make_controller("greedy+deadlines", scenario)
    assert list(rule.tunable) == ["budget", "haste"]
    changed = rule.with_options({"budget": 0.3, "haste": 2.0})
    assert (changed.base.budget, changed.haste, changed.option("budget")) == (0.3, 2.0, 0.3)
    values = Tunable(0.0, 4.0).value_at(1.0, np.array([-1.0, -0.5, 0.0, 0.5, 1.0]))
    assert values.tolist() == [0.0, 0.5, 1.0, 2.5, 4.0]
