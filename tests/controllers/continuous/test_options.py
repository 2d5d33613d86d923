"""Options that differ between copies or devices."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.base import Tunable, check_option, per_copy, per_device
from multispin_env.registry import CONTROLLERS
from tests.envs.continuous.played import states_of

TUNABLE = [name for name in CONTROLLERS.names() if CONTROLLERS.load(name).tunable]


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
    states = list(states_of(scenario, 6, 25, name))
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


def test_bad_options():
    with pytest.raises(ValueError, match=r"^queue\[1\]: expected numbers in \[1, inf\), got 0.5$"):
        check_option("queue", np.array([2.0, 0.5]), 1.0)
    with pytest.raises(ValueError, match=r"^size: expected one number, or one for each of 3 states, got 2$"):
        per_copy("size", np.ones(2), 3)
    with pytest.raises(ValueError, match=r"^queue: expected numbers that broadcast to \(2, 3\), got shape \(4,\)$"):
        per_device("queue", np.ones(4), (2, 3))
