"""Batches that are packed by worth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.controllers.continuous.value_density import densities, under_way, waited_for
from multispin_env.physics.continuous.passes import started
from multispin_env.physics.continuous.types import Join, Phase
from tests.controllers.continuous.served import core_of, in_phase


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_whom_a_batch_waits_for_against_a_loop(seed):
    rng = np.random.default_rng(seed)
    scenario = ms.Scenario.preset("llama2", num_users=5, server=rng.choice(["", "a100-32b"]))
    ends = np.where(rng.random(5) < 0.2, np.inf, rng.choice([0.0, 0.01, 0.3], 5) * rng.random(5))
    weight, length = rng.random(5) * 30.0, rng.integers(1, 9, 5)
    prompt = rng.integers(0, 20, 5)
    waited = waited_for(scenario, ends[None], 0.4, weight[None], length[None], prompt[None])[0]
    slow, at = [], 0.0
    for k in np.argsort(ends, kind="stable"):
        tokens = sum(length[j] + 1 + prompt[j] for j in [*slow, k])
        loss = 0.4 * weight[k] * scenario.pass_time(len(slow) + 1, tokens)
        if not np.isfinite(ends[k]) or (slow and loss < (ends[k] - at) * sum(weight[j] for j in slow)):
            break
        slow, at = [*slow, k], ends[k]
    assert np.flatnonzero(waited).tolist() == sorted(slow)


def test_density_is_worth_for_the_time_that_is_added():
    scenario = ms.Scenario.preset("llama2", num_users=3, server="a100-7b-gemm")
    length, prompt = np.array([[3, 9, 1]]), np.array([[0, 0, 700]])
    there, value = np.array([[True, False, True]]), np.array([[2.0, 5.0, 1.0]])
    each, of_pass = densities(scenario, value, there, length, prompt)
    both, first, last = (float(scenario.pass_time(0, n)) for n in (706, 4, 702))
    everybody = float(scenario.pass_time(0, 716))
    assert each[0] == pytest.approx([2.0 / (both - last), 5.0 / (everybody - both), 1.0 / (both - first)])
    assert of_pass == pytest.approx(3.0 / both)


def test_a_late_request_is_left_where_it_costs_more_than_it_brings():
    """A long prompt makes the pass long; it is taken once nobody else is there, or if its request is in time."""
    scenario = ms.Scenario.preset("llama2", num_users=3, server="a100-32b")
    state = in_phase(core_of(scenario, 1).state, np.full((1, 3), Phase.READY))
    state = state.changed(draft_length=np.full((1, 3), 5))
    demand = state.demand.changed(prompt=np.array([[400, 0, 0]]), due=np.array([[-1.0, 60.0, 60.0]]))
    controller = ms.make_controller("value-density", scenario, late=0.1)
    joins = [
        controller(state.changed(demand=each)).join[0].tolist()
        for each in (demand, demand.changed(due=np.full((1, 3), 60.0)), demand.changed(queue=np.array([[1, 0, 0]])))
    ]
    assert joins == [[Join.LEAVE, Join.WAIT, Join.WAIT], [Join.WAIT] * 3, [Join.WAIT] * 3]
    alone = in_phase(state, np.array([[Phase.READY, Phase.IDLE, Phase.IDLE]]))
    decision = controller(alone.changed(demand=alone.demand.changed(due=np.array([[-1.0, np.inf, np.inf]]))))
    assert decision.join[0].tolist() == [Join.WAIT, Join.TAKE, Join.TAKE]


def test_a_draft_that_is_cut_is_the_one_that_starts():
    """What `value-density` expects of a draft is what the core makes of the decision."""
    scenario = ms.Scenario.preset("llama2", num_users=2)
    state = in_phase(core_of(scenario, 1).state, np.zeros((1, 2), dtype=np.int64))
    state = state.changed(demand=state.demand.changed(wanted=np.array([[3, 1]])))
    decision = ms.make_controller("value-density", scenario)(state)
    begun = started(scenario, state, decision, None, state.demand.wanted - 1)
    assert (under_way(scenario, state, decision.draft_length) == begun.draft_length).all()
