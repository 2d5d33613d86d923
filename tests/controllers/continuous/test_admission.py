"""Requests that are not begun."""

import numpy as np

import multispin_env as ms
from multispin_env.controllers.continuous.admission import Admission
from multispin_env.controllers.continuous.goodput import device_rates, present
from multispin_env.physics.continuous.types import Phase
from tests.controllers.continuous.served import core_of, in_phase, shown


def test_admission_drops_what_would_be_late_and_has_not_begun():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    state = in_phase(core_of(scenario, 1).state, np.array([[0, 0, 0, Phase.IDLE]]))
    base = ms.make_controller("turbospec", scenario)
    length = base(state).draft_length
    rate = device_rates(scenario, state, length[:, None], present(state))[0, 0]
    demand = state.demand.changed(due=100.0 / rate[None] + [[1e-6, -1e-6, -1e-6, np.inf]])
    demand = demand.changed(output=demand.output + np.array([[0, 0, 1, 0]]))  # the third has one token
    decision = Admission(scenario, base=base)(state.changed(demand=demand))
    assert decision.drop.tolist() == [[False, True, False, False]]
    assert (decision.draft_length == length).all()
    assert not Admission(scenario, base=base, margin=0.9)(state.changed(demand=demand)).drop.any()
    soon = demand.changed(due=np.full((1, 4), np.inf), first_due=np.array([[0.01, 5.0, 0.01, np.inf]]))
    assert Admission(scenario, base=base)(state.changed(demand=soon)).drop.tolist() == [[True, False, False, False]]


def test_admission_is_like_its_base():
    scenario = ms.Scenario.preset("llama2", num_users=2)
    assert Admission(scenario, base=ms.make_controller("optimal", scenario)).discipline == "reserved"
    core = core_of(scenario, 1)
    base = ms.make_controller("plus-two-minus-one", scenario)
    controller = Admission(scenario, base=base)
    for batch in (0, 1, 1):
        decision = controller(shown(core, 2, 2, batch))
    assert (decision.draft_length > base.start).all()
    controller.reset()
    assert (controller(shown(core, 0, 0, 1)).draft_length == base.start).all()


def test_under_load_admission_brings_more_tokens_in_time():
    scenario = ms.Scenario.preset("llama2", num_users=4)
    base = ms.make_controller("plus-two-minus-one", scenario)
    totals = []
    for controller in (base, Admission(scenario, base=base)):
        core, total = core_of(scenario, 8), np.zeros(8)
        while (core.state.time < 12.0).any():
            served = core.step(controller(core.state)).served
            total += (served.output * served.in_time).sum(-1) * (core.state.time < 12.0)
        totals.append(total.mean())
    assert totals[1] > 1.1 * totals[0]
