"""Controllers that estimate what is hidden from what verifications show."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.continuous.types import ContinuousObserved
from multispin_env.physics.uplink import spectral_efficiency

SCENARIO = ms.Scenario.preset("llama2", num_users=4)


def make(num_envs=8, **options):
    env = gym.make_vec("MultiSpin/Continuous-v0", num_envs=num_envs, num_users=4, rho=90.0, action="full", **options)
    env.reset(seed=0)
    return env.unwrapped


def mean_error(name, steps=120):
    """Mean distance of the estimate from the truth, over all decisions."""
    env = make(acceptance_visible=False, channel_law="static")
    plug_in = ms.make_controller(name, env.scenario, env.assumptions, groups=2)
    base, errors = plug_in.base, []

    def spied(state):
        errors.append(np.abs(state.acceptance_rate - env.state.acceptance_rate).mean())
        return base(state)

    plug_in.base = spied
    spied.scenario = env.scenario
    for _ in range(steps):
        env.step(env.encode_action(plug_in(env.observed)))
    return np.mean(errors)


def test_counts_are_worth_something():
    assert mean_error("groups+filter") < 0.8 * mean_error("groups+task-mean")


def test_it_does_not_see_acceptance():
    env = make(2, acceptance_visible=False)
    controller = ms.make_controller("groups+filter", env.scenario, env.assumptions, groups=2)
    observed = env.observed
    first = controller(observed)
    controller.reset()
    again = controller(replace(observed, state=observed.state.changed(acceptance_rate=np.full((2, 4), 0.1))))
    assert (first.draft_length == again.draft_length).all()


def test_the_channel_is_estimated_only_where_it_may_be_old():
    """With independent cycles the expected gain is the mean one; of a cycle under way the channel is known."""
    env = make(4, channel_report="old")
    plug_in = ms.make_controller("groups+mmse", env.scenario, env.assumptions)
    base, taken = plug_in.base, []

    def spied(state):
        taken.append(state)
        return base(state)

    plug_in.base = spied
    spied.scenario = env.scenario
    under_way = 0
    for _ in range(20):
        observed = env.observed
        env.step(env.encode_action(plug_in(observed)))
        mean = spectral_efficiency(env.scenario, observed.system.mean_gain)
        expected = np.where(observed.state.starting, mean, observed.state.spectral_efficiency)
        assert taken[-1].spectral_efficiency == pytest.approx(expected, rel=1e-12)
        assert (taken[-1].acceptance_rate == observed.system.acceptance_rate).all()
        under_way += (~observed.state.starting).sum()
    assert under_way > 0


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("groups+filtre", ValueError, "estimator: expected one of .*did you mean 'filter'"),
        ("groups+deadlinez+filter", ValueError, "estimator: expected one of .*did you mean 'deadlines'"),
        ("grops+filter", ValueError, "controller: expected one of .*did you mean 'groups'"),
        ("groups+gradient", ValueError, "base: expected a WeightedController for an estimator of weights, got Groups"),
        ("groups+filter+beta", ValueError, "estimators: expected one for each part, got .* for acceptance_rate"),
    ],
)
def test_bad_names(name, error, message):
    with pytest.raises(error, match=message):
        ms.make_controller(name, SCENARIO)


@pytest.mark.parametrize("name", ["greedy+deadlines+filter", "greedy+filter+deadlines"])
def test_modifiers_and_estimators_stand_in_any_order(name):
    plug_in = ms.make_controller(name, SCENARIO, need=0.04, moment=3.0)
    assert plug_in.base.need == 0.04
    assert type(plug_in.base.base).__name__ == "Greedy"
    assert plug_in.estimators[0].moment == 3.0


def test_a_single_copy_is_one_of_many():
    many = make(1, acceptance_visible=False)
    one = gym.make("MultiSpin/Continuous-v0", num_users=4, rho=90.0, action="full", acceptance_visible=False).unwrapped
    one.reset(seed=0)
    plug_ins = [ms.make_controller("groups+beta", many.scenario, many.assumptions) for _ in "ab"]
    for _ in range(15):
        decisions = [plug_in(env.observed) for plug_in, env in zip(plug_ins, (many, one), strict=True)]
        assert decisions[1].draft_length.shape == (4,)
        assert (decisions[0][0].draft_length == decisions[1].draft_length).all()
        for env, decision in zip((many, one), decisions, strict=True):
            env.step(env.encode_action(decision))


@pytest.mark.parametrize(("name", "hidden"), [("groups+mmse", "acceptance_rate"), ("groups+filter", "drafted")])
def test_what_is_neither_seen_nor_estimated(name, hidden):
    env = make(2, acceptance_visible=False)
    seen = replace(env.observed.system, drafted=None)
    with pytest.raises(ValueError, match=rf"^{hidden}: expected an array \(n, K\)"):
        ms.make_controller(name, env.scenario, env.assumptions)(ContinuousObserved(env.observed.state, seen))
