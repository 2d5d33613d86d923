"""Devices read the prompts of their requests before they draft."""

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.continuous.types import Phase
from multispin_env.simulation.long_run import seeded_core

RULES = ("groups", "prices", "greedy", "load-aware", "own-pace", "synchronous")


def scenario_of(low=0, users=4, **fields):
    return ms.Scenario.preset("llama2", num_users=users, min_draft_length=low, **fields)


def workload_of(prompt=200.0, rate=3.0, level=None):
    lengths = ms.requests.make_lengths("geometric", mean_output=40.0, mean_prompt=prompt)
    level = level or ms.requests.ServiceLevel(e2el=2.0, e2el_per_token=0.1)
    return ms.requests.Workload(arrivals=ms.requests.make_arrivals("poisson"), lengths=lengths, rate=rate, level=level)


def course(scenario, rule="greedy", copies=2, steps=60, discipline="serial"):
    """Return the states and outcomes of a run."""
    controller = ms.make_controller(rule, scenario)
    core = seeded_core(
        ContinuousSystem.of(scenario, discipline, workload=workload_of(rate=float(max(scenario.num_users, 3)))),
        copies,
        0,
        drawn=True,
    )
    core.reset()
    result = []
    for _ in range(steps):
        state = core.state
        decision = controller.decide_continuous(state)
        if discipline != "serial":
            decision = decision.changed(priority=None)
        result.append((state, core.step(decision)))
    return result


def same(first, second):
    for (_, left), (_, right) in zip(first, second, strict=True):
        for name in ("tokens", "duration", "verified", "draft_length"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


@pytest.mark.parametrize("users", [1, 2, 20])
@pytest.mark.parametrize("low", [0, 1])
@pytest.mark.parametrize("rule", RULES)
def test_devices_that_read_have_no_draft(rule, low, users):
    read = 0
    for state, outcome in course(scenario_of(low, users, prompt_rate=260.0), rule, steps=200):
        reading = state.reading & (state.phase == Phase.FREE)
        drafted = outcome.verified & reading & ~outcome.served.dropped
        read += drafted.sum()
        if low:
            assert (outcome.drafted_at[drafted] >= state.reading_left[drafted]).all()
        else:
            assert not outcome.draft_length[drafted].any()
        assert not state.reading_left[state.phase == Phase.IDLE].any()
    assert read or users == 20  # devices of 20 rarely have a queue within 200 steps


@pytest.mark.parametrize("fields", [{"draft_ahead": True}, {"upload_loss": 0.2, "repeat_time": 0.01}])
@pytest.mark.parametrize("discipline", ["serial", "shared", "reserved"])
def test_devices_read_with_every_uplink(discipline, fields):
    for state, outcome in course(scenario_of(prompt_rate=260.0, **fields), discipline=discipline):
        still = outcome.verified & (state.reading_left > outcome.duration[:, None])
        assert not outcome.drafted_ahead[still].any()


@pytest.mark.parametrize("low", [0, 1])
@pytest.mark.parametrize("rule", RULES[:-1])  # with rates `synchronous` also waits for others beside late drafts
def test_a_device_that_reads_at_once_is_one_without_prompts(rule, low):
    same(course(scenario_of(low), rule), course(scenario_of(low, prompt_rate=1e300), rule))


def test_a_rate_in_each_row_is_that_of_the_scenario():
    rows = [["a", 0.5, 0.01, 0.01, 0.1], ["b", 0.5, 0.02, 0.02, 0.1]]
    of_rows = scenario_of(fleet=[[*row, 0.0, 0.0, 260.0] for row in rows])
    same(course(of_rows), course(scenario_of(fleet=rows, prompt_rate=260.0)))


def test_copies_are_those_of_single_environments():
    states = [state for state, _ in course(scenario_of(prompt_rate=260.0), copies=3)]
    single = [state for state, _ in course(scenario_of(prompt_rate=260.0), copies=1)]
    for several, one in zip(states, single, strict=True):
        np.testing.assert_array_equal(several.reading_left[:1], one.reading_left)


def test_without_a_rate_nothing_is_said():
    scenario = scenario_of()
    assert "prompt_rate" not in scenario.to_dict()
    assert course(scenario, steps=2)[1][0].reading_left is None
    assert ms.Scenario.from_dict(scenario.replace(prompt_rate=5.0).to_dict()).prompt_rate == 5.0


def test_agents_see_the_seconds_of_reading():
    env = gym.make("MultiSpin/Serving-v0", prompt_rate=2.6, num_users=4, mean_prompt=200.0).unwrapped
    observation, _ = env.reset(seed=0)
    seen = False
    for _ in range(40):
        observation = env.step(np.zeros(env.action_space.shape, np.float32))[0]
        decoded = env.config.observations.decode(observation)
        np.testing.assert_allclose(decoded.reading_left, env.state.reading_left, 1e-2, 1e-6)
        seen |= bool(observation["reading"].any())
    assert seen
    assert "reading" not in gym.make("MultiSpin/Serving-v0", num_users=4).observation_space.spaces
