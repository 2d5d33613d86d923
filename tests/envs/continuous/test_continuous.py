import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.simulation.reference import reference_rate
from tests.envs.continuous.played import AHEAD, BOTH, anything, make

ID = "MultiSpin/Continuous-v0"


def play(env, seed, steps, action=None):
    """Rewards, ends and infos of random actions, or of one action."""
    env.reset(seed=seed)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        yield env.step(anything(env, rng) if action is None else action)[1:]


@pytest.mark.parametrize("reward", ["expected", "sampled"])
def test_rewards_and_totals(reward):
    env = gym.make(ID, num_users=4, action="plain", reward=reward, rho=120.0)
    time = tokens = 0.0
    for value, terminated, _, info in play(env, 3, 30):
        assert value == pytest.approx((info["tokens"].sum() - 120.0 * info["duration"]) / 4.0, rel=1e-12)
        assert not terminated
        assert info["batch_size"] == (info["tokens"] > 0.0).sum()
        assert 0.0 <= info["start_delay"] < info["duration"]
        assert (info["draft_length"] >= info["tokens"] - 1.0 - 1e-9).all()
        assert (info["tokens"] == np.round(info["tokens"])).all() or reward == "expected"
        time, tokens = time + info["duration"], tokens + info["tokens"].sum()
        assert info["time"] == pytest.approx(time, rel=1e-12)
        assert info["episode_tokens"] == pytest.approx(tokens, rel=1e-12)
        assert info["token_goodput"] == pytest.approx(tokens / time, rel=1e-12)


@pytest.mark.parametrize(("env_id", "columns", "options"), [(BOTH[0], 3, {}), (BOTH[1], 4, {"full_rate": 90.0})])
def test_episodes_end_with_simulated_time(env_id, columns, options):
    for level in (-0.2, 0.9):
        env = gym.make(env_id, num_users=4, action="plain", horizon=6.0, rho=120.0, **options)
        times, ends = [], []
        for *_, truncated, info in play(env, 1, 1000, np.array([[level] * 3 + [-1.0]] * 4)[:, :columns]):
            times, ends = [*times, info["time"]], [*ends, truncated]
            if truncated:
                break
        assert times[-2] < 6.0 <= times[-1]
        assert ends == [False] * (len(ends) - 1) + [True]


def test_coherence_time():
    spread = []
    for seconds in (1e6, 1e-6):
        env = gym.make(ID, num_users=3, action="plain", channel="gauss-markov", coherence_time=seconds, rho=90.0)
        env.reset(seed=0)
        spread.append(np.ptp([env.step(np.zeros((3, 3), np.float32))[0]["channel"] for _ in range(20)], 0).max())
    assert spread[0] < 0.05 < 0.5 < spread[1]


def test_default_price_is_the_rate_of_groups():
    env = gym.make(ID, num_users=3).unwrapped
    scenario = env.scenario
    rate = reference_rate(ContinuousSystem.of(scenario))
    assert env._simulator.objective.rho == rate == env.config.observations.rho
    shared = env.reset(seed=0)[0]["shared"]
    assert 10.0 ** shared[4] == pytest.approx(rate * scenario.verification_time / 3, rel=1e-5)
    assert gym.make(ID, num_users=3, rho=77.0).unwrapped._simulator.objective.rho == 77.0
    law = {"verification_fixed_time": 5.0, "verification_time_per_draft": 5.0}
    slow = ContinuousSystem.of(ms.Scenario.preset("llama2", num_users=2, **law))
    assert 0.0 < reference_rate(slow) < 26 / 7.5  # a verification takes longer than the measurement


def test_mean_reward_of_groups_at_the_default_price_is_zero():
    """A poor rule is far below, whatever the length of its steps."""
    env = gym.make_vec(ID, num_envs=40, num_users=4)
    rho, rates = env.unwrapped.objective.rho, []
    for length in (0.0, 5.0):
        action = np.zeros(env.action_space.shape, np.float32)
        action[..., 0] = length
        env.reset(seed=0)
        tokens = time = rewards = 0.0
        for _ in range(40):
            _, reward, _, _, info = env.step(action)
            tokens, time, rewards = tokens + info["tokens"].sum(), time + info["duration"].sum(), rewards + reward.sum()
        rates.append(tokens / time)
        assert rewards / time == pytest.approx((tokens / time - rho) / 4.0, rel=1e-9)
    assert rates[0] == pytest.approx(rho, rel=0.05)
    assert rates[1] < 0.8 * rho


def test_timeout_limits_the_wait():
    wait = np.zeros((3, 3), np.float32)
    wait[:, 0], wait[:, 1] = 5.0, 5.0
    delays = {}
    for timeout in (None, 0.05, 0.0):
        env = gym.make(ID, num_users=3, action="plain", total_bandwidth=1e5, rho=90.0, timeout=timeout)
        delays[timeout] = [info["start_delay"] for *_, info in play(env, 0, 20, wait)]
    assert min(delays[None]) > 1.0
    sizes = [info["batch_size"] for *_, info in play(env, 0, 20, wait)]
    assert min(sizes) >= 1
    assert np.mean(delays[0.0]) <= np.mean(delays[0.05]) < np.mean(delays[None])


@pytest.mark.parametrize("env_id", BOTH)
def test_info_of_chains(env_id):
    """Compared with the head starts observed before and after a step."""
    env, rng, hits = make(env_id, action="plain", reward="sampled", **AHEAD), np.random.default_rng(0), 0
    before, _ = env.reset(seed=0)
    for _ in range(60):
        action = anything(env, rng)
        action[..., 0] = -0.5
        after, *_, info = env.step(action)
        first, second = (entry["head_start"] * env.scenario.max_draft_length for entry in (before, after))
        verified = info["tokens"] > 0.0
        same_request = ~info.get("dropped", np.zeros_like(verified))
        began = np.where(verified & same_request, first, 0.0)
        assert info["head_start"] == pytest.approx(began, abs=1e-5)
        assert second[verified] == pytest.approx((info["hit"] * info["drafted_ahead"])[verified], abs=1e-5)
        waiting = ~verified & same_request & (info["duration"] > 0.0)[:, None]
        assert second[waiting] == pytest.approx(first[waiting], abs=1e-5)
        assert (info["tokens"] == info["draft_length"] + 1.0)[info["hit"]].all()
        hits, before = hits + info["hit"].sum(), after
    assert hits > 20
