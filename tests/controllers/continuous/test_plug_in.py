"""Schedulers that learn acceptance from what is verified."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.continuous.plug_in import seen
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.types import Phase

SCENARIO = ms.Scenario.preset("llama2", num_users=4, acceptance="by-request")


def mean_error(name, steps=120, copies=8):
    """Mean distance of the estimate from the truth, over all decisions."""
    plug_in = ms.make_scheduler_plug_in(name, SCENARIO, groups=2)
    core = ContinuousCore(ContinuousSystem.of(SCENARIO, "static"), copies, drawn=True)
    for copy, generator in enumerate(np.random.default_rng(0).spawn(copies)):
        core.seed(copy, generator)
    core.reset()
    base, errors = plug_in.base, []

    def spied(state):
        errors.append(np.abs(state.acceptance_rate - core.state.acceptance_rate).mean())
        return base(state)

    plug_in.base = spied
    spied.scenario = SCENARIO
    passage, drafted = None, np.zeros((copies, 4), dtype=np.int64)
    for _ in range(steps):
        observed = seen(core.state, drafted, passage, task=core.users.task, age=core.requests.age)
        order = plug_in.decide(core.state, observed)
        drafted = np.where(core.state.phase == Phase.FREE, order.draft_length, core.state.draft_length)
        passage = core.step(order)
        assert (passage.tokens <= drafted + 1).all()
    return np.mean(errors)


def test_counts_are_worth_something():
    assert mean_error("groups+filter") < 0.8 * mean_error("groups+task-mean")


def test_it_does_not_see_acceptance():
    scheduler = ms.make_scheduler_plug_in("groups+filter", SCENARIO, groups=2)
    core = ContinuousCore(ContinuousSystem.of(SCENARIO, "static"), 2, drawn=True)
    core.hold(ms.sample_state(SCENARIO, np.random.default_rng(0), 2))
    first = scheduler.decide(core.state, seen(core.state, np.zeros((2, 4), dtype=np.int64)))
    core.state.acceptance_rate[:] = 0.1
    scheduler.reset()
    again = scheduler.decide(core.state, seen(core.state, np.zeros((2, 4), dtype=np.int64)))
    assert (first.draft_length == again.draft_length).all()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("groups+filtre", ValueError, "estimator: expected one of .*did you mean 'filter'"),
        ("grops+filter", ValueError, "scheduler: expected one of .*did you mean 'groups'"),
        ("groups", ValueError, "estimators: expected one of acceptance_rate, got"),
        ("groups+mmse", ValueError, "estimators: expected one of acceptance_rate, got"),
        ("groups+clairvoyant", ValueError, r"plug-in: expected one that estimates.*make_scheduler\('groups'\)"),
    ],
)
def test_bad_names(name, error, message):
    with pytest.raises(error, match=message):
        ms.make_scheduler_plug_in(name, SCENARIO)
