"""The model without the barrier in one file is a witness of the package: both play the same steps from equal seeds."""

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from examples.whole_continuous import WholeContinuous

WAITING = 0.1  # s until a batch starts, so that some do not wait for all drafts


def environments(preset, num_users, horizon, sampled):
    scenario = ms.Scenario.preset(preset, num_users=num_users)
    shortest = scenario.verification_fixed_time + scenario.verification_time_per_draft
    options = {"rho": 90.0, "horizon": horizon or shortest, "timeout": WAITING}
    reward = "sampled" if sampled else "expected"
    env = gym.make("MultiSpin/Continuous-v0", scenario=scenario, action="plain", reward=reward, **options)
    return WholeContinuous(scenario, sampled=sampled, **options), env


def close(value, other):
    np.testing.assert_allclose(value, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("horizon", [None, 8.0])  # one step, many steps
@pytest.mark.parametrize(("preset", "num_users"), [("llama2", 1), ("qwen3.5", 2), ("llama2", 20)])
def test_the_model_in_one_file_plays_as_the_package(preset, num_users, horizon, sampled):
    whole, env = environments(preset, num_users, horizon, sampled)
    rng = np.random.default_rng(1)
    for seed in (3, None, None, 4, *[None] * (2 if horizon else 20)):  # without a seed the random streams go on
        seen = (whole.reset(seed=seed)[0], env.reset(seed=seed)[0])
        ended = False
        while not ended:
            assert whole.observation_space.contains(seen[0])
            assert seen[0].keys() == seen[1].keys()
            for name, array in seen[0].items():
                np.testing.assert_array_equal(array, seen[1][name], strict=True)
            action = rng.uniform(-5.0, 5.0, env.action_space.shape).astype(np.float32)
            if rng.random() < 0.5:  # equal priorities
                action[:, 2] = np.rint(action[:, 2] / 5.0)
            if rng.random() < 0.2:  # all are left, so all are taken
                action[:, 1] = -5.0
            mine, theirs = whole.step(action), env.step(action)
            close(mine[1], theirs[1])
            assert mine[2:4] == theirs[2:4]
            for name, value in mine[4].items():
                close(value, theirs[4][name])
            seen, ended = (mine[0], theirs[0]), mine[3]


@pytest.mark.parametrize("preset", ["llama2", "qwen3.5"])
def test_the_bound_of_the_package_holds_for_decisions_priced_by_the_file(preset):
    whole, env = environments(preset, 8, 20.0, sampled=False)
    groups = ms.make_controller("groups", whole.scenario)
    for seed in range(3):
        env.reset(seed=seed)
        whole.reset(seed=seed)
        bound = ms.rate_bound(whole.scenario, env.unwrapped.state.system, channel="scenario", mean_gain=whole.mean_gain)
        ended = False
        while not ended:  # the observation holds the whole state
            action = env.unwrapped.encode_action(groups(env.unwrapped.state))
            env.step(action)
            _, _, _, ended, info = whole.step(action)
        assert 0.8 * bound.value < info["token_goodput"] < bound.value
