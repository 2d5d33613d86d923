"""The model in one file is a witness of the package: both play the same rounds from equal seeds."""

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from examples.whole_model import WholeModel, expected_tokens


def environments(preset, num_users, rounds, reward):
    scenario = ms.Scenario.preset(preset, num_users=num_users)
    env = gym.make("MultiSpin/Heterogeneous-v0", scenario=scenario, rounds=rounds, reward=reward)
    return WholeModel(scenario, rounds, reward == "sampled"), env


@pytest.mark.parametrize("reward", ["expected", "sampled"])
@pytest.mark.parametrize("rounds", [1, 7])
@pytest.mark.parametrize(("preset", "num_users"), [("llama2", 1), ("qwen3.5", 2), ("llama2", 20)])
def test_the_model_in_one_file_plays_as_the_package(preset, num_users, rounds, reward):
    whole, env = environments(preset, num_users, rounds, reward)
    rng = np.random.default_rng(1)
    for seed in (3, None, None, 4, None, *[None] * (40 // rounds)):  # without a seed the random streams go on
        seen = (whole.reset(seed=seed)[0], env.reset(seed=seed)[0])
        ended = False
        while not ended:
            assert whole.observation_space.contains(seen[0])
            assert seen[0].keys() == seen[1].keys()
            for name, array in seen[0].items():
                np.testing.assert_array_equal(array, seen[1][name], strict=True)
            action = rng.uniform(-5.0, 5.0, env.action_space.shape).astype(np.float32)
            mine, theirs = whole.step(action), env.step(action)
            assert mine[1] == pytest.approx(theirs[1], rel=1e-12)
            assert mine[2:4] == theirs[2:4]
            for name, value in mine[4].items():
                np.testing.assert_allclose(value, theirs[4][name], rtol=1e-12)
            seen, ended = (mine[0], theirs[0]), mine[2] or mine[3]


@pytest.mark.parametrize("preset", ["llama2", "qwen3.5"])
def test_the_certified_bound_holds_for_decisions_priced_by_the_file(preset):
    whole, env = environments(preset, 20, 1, "expected")
    exact = ms.make_controller("optimal", whole.scenario, certify=1e-6)
    for seed in range(5):
        whole.reset(seed=seed)
        env.reset(seed=seed)
        best, bound = exact(env.unwrapped.state), ms.upper_bound(whole.scenario, env.unwrapped.state)
        goodput, _ = whole.play(best.draft_length, best.bandwidth, expected_tokens(best.draft_length, whole.acceptance))
        assert (1.0 - 2e-6) * bound <= goodput <= bound
        for action in np.random.default_rng(seed).uniform(-5.0, 5.0, (20, 20, 2)):
            length, bandwidth = whole.decode(action)
            assert whole.play(length, bandwidth, expected_tokens(length, whole.acceptance))[0] <= bound
