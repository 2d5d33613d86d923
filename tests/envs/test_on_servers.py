"""Environments whose server takes time for tokens."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_for_sb3

from multispin_env.physics.tokens import verification_time
from multispin_env.registry import ENVIRONMENTS

pytestmark = pytest.mark.usefixtures("quick_prices")

OPTIONS = {"scenario": "qwen3.5", "server": "a100-7b-gemm", "payload": "ids", "min_draft_length": 0, "num_users": 3}


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_both_checkers(env_id):
    check_env(gym.make(env_id, **OPTIONS).unwrapped, skip_render_check=True)
    check_for_sb3(gym.make(env_id, **OPTIONS).unwrapped)


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_twins(env_id):
    env = gym.make_vec(
        env_id, num_envs=2, vectorization_mode="vector_entry_point", max_episode_steps=5, reward="sampled", **OPTIONS
    )
    singles = [gym.make(env_id, max_episode_steps=5, reward="sampled", **OPTIONS) for _ in range(2)]
    observation, _ = env.reset(seed=[3, 4])
    for copy, single in enumerate(singles):
        own, _ = single.reset(seed=3 + copy)
        assert all((observation[key][copy] == own[key]).all() for key in own)
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32)
        observation, reward, _, truncated, info = env.step(action)
        for copy, single in enumerate(singles):
            own, value, _, over, told = single.step(action[copy])
            assert all((observation[key][copy] == own[key]).all() for key in own)
            assert (reward[copy], truncated[copy]) == (value, over)
            assert all(np.array_equal(info[key][copy], told[key]) for key in told)


def test_a_longer_draft_takes_the_server_longer():
    env = gym.make("MultiSpin/Heterogeneous-v0", action="lengths", **OPTIONS).unwrapped
    times = []
    for level in (-1.0, 0.0, 1.0):
        env.reset(seed=1)
        *_, info = env.step(np.full(env.action_space.shape, level, np.float32))
        times.append(float(verification_time(env.scenario, info["draft_length"])))
        assert info["round_latency"] >= times[-1]
    assert times[0] == env.scenario.verification_time  # nobody drafts
    assert times == sorted(times)
    assert times[2] > 1.2 * times[0]


def test_the_observation_says_what_longer_passes_take():
    env = gym.make("MultiSpin/Heterogeneous-v0", **OPTIONS)
    observation, _ = env.reset(seed=0)
    scenario = env.unwrapped.scenario
    expected = [scenario.pass_time(3, n) / scenario.mean_draft_time for n in (3, 15, 78)]
    assert 10.0 ** observation["shared"][[0, 3, 4]] == pytest.approx(expected, rel=1e-5)
    far = gym.make("MultiSpin/Heterogeneous-v0", round_trip_time=1.0, **OPTIONS)
    observation, _ = far.reset(seed=0)
    expected = [(scenario.pass_time(3, n) + 1.0) / scenario.mean_draft_time for n in (3, 15, 78)]
    assert 10.0 ** observation["shared"][[0, 3, 4]] == pytest.approx(expected, rel=1e-5)
    assert gym.make("MultiSpin/Heterogeneous-v0").observation_space["shared"].shape == (3,)
