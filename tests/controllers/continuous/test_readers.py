"""Rules where devices read their prompts, by hand."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.continuous.cycle import Cycle
from multispin_env.controllers.continuous.greedy import min_time_to_tokens
from multispin_env.controllers.continuous.groups import fluid_rate
from multispin_env.draft import expected_tokens
from multispin_env.physics import Join, Phase
from multispin_env.physics.continuous.core import free_state


def state_of(scenario, left):
    """Return free devices that read for ``left`` seconds."""
    state = free_state(ms.sample_state(scenario, np.random.default_rng(0), 1))
    return state.changed(reading_left=np.array([left]), batch=np.array([5]))


def scenario_of(users, low=0):
    return ms.Scenario.preset("llama2", num_users=users, min_draft_length=low, prompt_rate=260.0)


def test_if_all_read_the_server_alone_gives_each_a_token_in_a_pass():
    scenario = scenario_of(4)
    state = state_of(scenario, [1.0] * 4)
    assert fluid_rate(scenario, state, 2) == pytest.approx(4 / scenario.law.time(4, 4))


def test_readers_are_in_every_pass_of_a_cycle():
    cycle = Cycle.of(scenario_of(4), state_of(scenario_of(4), [1.0, 0.5, 0.0, 0.0]))
    assert (cycle.batch.item(), cycle.drafts.item()) == (3.0, 1.0)
    cycle = Cycle.of(scenario_of(4, 1), state_of(scenario_of(4, 1), [1.0, 0.5, 0.0, 0.0]))
    assert (cycle.batch.item(), cycle.drafts.item()) == (2.0, 2.0)


@pytest.mark.parametrize("low", [0, 1])
def test_time_to_tokens_of_a_reader(low):
    cycle = Cycle.of(scenario_of(2, low), state_of(scenario_of(2, low), [0.9, 0.0]))
    without, pace = cycle.time(0)[0, 0], 0.02
    for tokens in (1, 5, 500):
        read = 0.9 / without if low == 0 else 0.0  # tokens that come meanwhile
        expected = tokens * without if tokens < read else 0.9 + (tokens - read) * pace
        assert cycle.time_to_tokens(np.array([[tokens] * 2]), pace) == pytest.approx(
            np.array([[expected, tokens * pace]])
        )


@pytest.mark.parametrize("low", [0, 1])
def test_the_first_token_of_a_reader(low):
    scenario = scenario_of(2, low)
    state = state_of(scenario, [0.9, 0.0])
    longer = min_time_to_tokens(scenario, state) - min_time_to_tokens(scenario, state.changed(reading_left=None))
    assert longer == pytest.approx(np.array([[0.9 * low, 0.0]]))


@pytest.mark.parametrize("rule", ["groups", "prices"])
def test_readers_do_not_wait_for_drafts_of_later_batches(rule):
    scenario = scenario_of(2)
    state = state_of(scenario, [0.9, 0.0]).changed(
        phase=np.array([[Phase.FREE, Phase.DRAFTING]]),
        draft_length=np.array([[0, 4]]),
        drafting_left=np.array([[0.0, 0.05]]),
        aim=np.array([[0, 6]]),
    )
    decision = ms.make_controller(rule, scenario).decide_continuous(state)
    assert decision.join.tolist() == [[Join.TAKE, Join.LEAVE]]
    later = ms.make_controller(rule, scenario).decide_continuous(state.changed(reading_left=np.zeros((1, 2))))
    assert later.join[0, 0] == Join.WAIT or later.join[0, 1] == Join.WAIT


def test_one_group_counts_the_tokens_of_readers():
    scenario = scenario_of(2)
    state = state_of(scenario, [0.9, 0.0])
    length = np.arange(scenario.max_draft_length + 1)
    tokens = expected_tokens(length, state.acceptance_rate[0, 1])
    pace = state.draft_time[0, 1] + scenario.uplink.token_time(state.spectral_efficiency)[0, 1]
    time = length * pace + scenario.law.time(2, 2 + length)
    best = int(np.argmax((tokens + 1.0) / time))
    assert best != int(np.argmax(tokens / time))  # else nothing is shown
    decision = ms.make_controller("synchronous", scenario).decide_continuous(state)
    assert decision.draft_length[0, 1] == best
