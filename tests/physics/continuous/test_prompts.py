"""Devices read the prompts of their requests before they draft."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

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
        ContinuousSystem.of(scenario, discipline, workload=workload_of(rate=3.0 * scenario.num_users)),
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
        drafted = reading & ~outcome.served.dropped
        read += drafted.sum()
        if low:
            assert (outcome.drafted_at[drafted] >= state.reading_left[drafted]).all()
        else:
            assert not outcome.draft_length[drafted].any()
        assert not state.reading_left[state.phase == Phase.IDLE].any()
    assert read


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


READERS = {
    "scenario": {"prompt_rate": 260.0},
    "rows": {"fleet": [["a", 0.5, 0.01, 0.01, 0.1, 0.0, 0.0, 26.0], ["b", 0.5, 0.02, 0.02, 0.1]]},
}


@pytest.mark.parametrize("fields", READERS.values(), ids=READERS)
def test_vector_environments_are_single_ones(fields):
    options = {"num_users": 4, "mean_prompt": 200.0, "load": 1.5, "min_draft_length": 0, **fields}
    several = gym.make_vec("MultiSpin/Serving-v0", num_envs=3, **options)
    singles = [gym.make("MultiSpin/Serving-v0", **options) for _ in range(3)]
    seen, _ = several.reset(seed=[5, 6, 7])
    alone = [env.reset(seed=seed)[0] for env, seed in zip(singles, (5, 6, 7), strict=True)]
    rng, read = np.random.default_rng(0), False
    for _ in range(60):
        for name in seen:
            np.testing.assert_array_equal(seen[name], [observation[name] for observation in alone])
        read |= bool(seen["reading"].any())
        action = rng.uniform(-1.0, 1.0, several.action_space.shape).astype(np.float32)
        seen, *results, info = several.step(action)
        alone, *expected, infos = zip(*[env.step(row) for env, row in zip(singles, action, strict=True)], strict=True)
        for result, values in zip(results, expected, strict=True):
            np.testing.assert_array_equal(result, values)
        for name in infos[0]:
            np.testing.assert_array_equal(info[name], [of_env[name] for of_env in infos])
    assert read


@pytest.mark.parametrize("fields", READERS.values(), ids=READERS)
def test_both_checkers_with_rates(fields):
    env = gym.make("MultiSpin/Serving-v0", num_users=3, mean_prompt=200.0, **fields)
    check_env(env.unwrapped, skip_render_check=True)
    pytest.importorskip("stable_baselines3.common.env_checker").check_env(env.unwrapped, warn=False)


def test_with_a_least_length_a_prompt_is_a_later_arrival():
    prompt, rate = 200, 260.0

    def finished(scenario):
        lengths = ms.requests.make_lengths("log-normal", median_prompt=prompt, sigma_prompt=0.0)
        arrivals = ms.requests.make_arrivals("poisson")
        workload = ms.requests.Workload(arrivals=arrivals, lengths=lengths, rate=1e-3, level=ms.requests.ServiceLevel())
        core = seeded_core(ContinuousSystem.of(scenario, workload=workload), 4, 1, drawn=True)
        core.reset()
        controller, rows = ms.make_controller("greedy", scenario, draft_length=3), []
        for _ in range(400):
            outcome = core.step(controller.decide_continuous(core.state))
            served = outcome.served
            done = served.finished[:, 0]
            rows += list(zip(np.flatnonzero(done), served.ttft[done, 0], served.tpot[done, 0], strict=True))
            assert not core.state.demand.queue.any()  # else reading begins at the end of the request before
        return np.array(sorted(rows, key=lambda row: row[0]))

    scenario = scenario_of(1, 1, channel="static")
    read, at_once = finished(scenario.replace(prompt_rate=rate)), finished(scenario)
    assert len(read) == len(at_once) > 10
    np.testing.assert_allclose(read - at_once, [[0.0, prompt / rate, 0.0]] * len(read), atol=1e-9)


def test_without_a_rate_nothing_is_said():
    scenario = scenario_of()
    assert "prompt_rate" not in scenario.to_dict()
    assert course(scenario, steps=2)[1][0].reading_left is None
    assert ms.Scenario.from_dict(scenario.replace(prompt_rate=5.0).to_dict()).prompt_rate == 5.0


def test_agents_see_the_seconds_of_reading():
    env = gym.make("MultiSpin/Serving-v0", prompt_rate=260.0, num_users=4, mean_prompt=200.0).unwrapped
    observation, _ = env.reset(seed=0)
    seen = False
    for _ in range(200):
        observation = env.step(np.zeros(env.action_space.shape, np.float32))[0]
        decoded = env.config.observations.decode(observation)
        np.testing.assert_allclose(decoded.reading_left, env.state.reading_left, 1e-5, 1e-6)
        seen |= bool(observation["reading"].any())
    assert seen
    assert "reading" not in gym.make("MultiSpin/Serving-v0", num_users=4).observation_space.spaces
