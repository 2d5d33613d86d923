"""Returns with steps of different durations, against slow sums and Stable-Baselines3, and policies of runs."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from rich.console import Console
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecMonitor

from multispin_agents.checkpoints import MODEL, load_checkpoint
from multispin_agents.measures import CURVE, Measure, read_curve
from multispin_agents.models import load_run_model
from multispin_agents.policies import policy_of
from multispin_agents.ppo import MEMORY, SETTINGS, AverageReward, PPOSettings, TimedPPO, TimedRolloutBuffer
from multispin_agents.runs import Limits, RunConfig
from multispin_agents.training import train
from multispin_agents.vec_env import NativeVecEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.objectives import RequestsInTime, TokensMinusTime
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.policy import Policy

STEPS, NUM_ENVS = 12, 5
GAMMA, TRACE = 0.3, 0.6
SPACES = spaces.Dict({"x": spaces.Box(-1, 1, (2,))}), spaces.Box(-1, 1, (3,))
CONTINUOUS, SERVING = "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0"
SHORT = {
    CONTINUOUS: {"horizon": 0.5, "reference": "own-pace"},
    SERVING: {"horizon": 1.0, "warm_up": 0.2, "mean_output": 5.0},
}


def fresh(env_id):
    config = EnvConfig.of(env_id, num_users=3, **SHORT[env_id])
    small = replace(SETTINGS.for_environment(config), num_envs=NUM_ENVS, rollout_rounds=80, batch_size=100)
    model = small.build(NativeVecEnv.of(config, NUM_ENVS, seed=3), lambda progress: progress, 0, "cpu")
    model.set_logger(configure(None, []))
    return model


def filled(buffer):
    """Fill a buffer with random steps; return their durations, rewards, values and starts of episodes."""
    rng = np.random.default_rng(0)
    durations = rng.uniform(0.01, 2.0, (STEPS, NUM_ENVS))
    rewards, values = rng.standard_normal((2, STEPS + 1, NUM_ENVS)).astype(np.float32)
    starts = (rng.random((STEPS + 1, NUM_ENVS)) < 0.3).astype(np.float32)
    starts[-1, :2] = 1.0, 0.0
    nothing, action = {"x": np.zeros((NUM_ENVS, 2))}, np.zeros((NUM_ENVS, 3))
    for step in range(STEPS):
        buffer.record(rewards[step], durations[step])
        buffer.add(nothing, action, rewards[step], starts[step], th.as_tensor(values[step]), th.zeros(NUM_ENVS))
    buffer.compute_returns_and_advantage(th.as_tensor(values[-1]), starts[-1])
    return durations, rewards, values, starts


def test_advantages_are_discounted_sums():
    """Σ_s (γ λ) ** (time from t to s) δ_s until the episode ends, with δ_s = r_s + γ ** d_s V_{s+1} − V_s."""
    average = AverageReward(RequestsInTime())
    result = TimedRolloutBuffer(STEPS, *SPACES, gamma=GAMMA, gae_lambda=TRACE, n_envs=NUM_ENVS, own_rate=average)
    durations, rewards, values, starts = filled(result)
    assert np.array_equal(result.rewards, rewards[:-1])  # without a price
    assert not average.priced
    assert result.advantages.dtype == result.returns.dtype == result.rewards.dtype == np.float32
    for env, t in np.ndindex(NUM_ENVS, STEPS):
        expected, time = 0.0, 0.0
        for s in range(t, STEPS):
            ended = starts[s + 1, env] == 1.0
            later = 0.0 if ended else GAMMA ** durations[s, env] * float(values[s + 1, env])
            delta = float(rewards[s, env]) + later - float(values[s, env])
            expected += (GAMMA * TRACE) ** time * delta
            time += durations[s, env]
            if ended:
                break
        assert result.advantages[t, env] == pytest.approx(expected, abs=1e-5)
        assert result.returns[t, env] == pytest.approx(expected + values[t, env], abs=1e-5)


def test_the_own_rate_follows_the_measured_rate():
    average = AverageReward(TokensMinusTime(100.0, 4.0))
    durations = np.random.default_rng(0).uniform(0.0, 1.0, (20, NUM_ENVS))
    assert average.rate == 100.0
    assert not average.correction(durations).any()
    for rate in (130.0, 90.0):
        for _ in range(30):  # about 300 s of each environment
            average.update((rate - 100.0) / 4.0 * durations, durations)
        assert average.rate == pytest.approx(rate, rel=1e-5)
    assert average.correction(durations) == pytest.approx(10.0 / 4.0 * durations, rel=1e-3)
    assert float(average.seconds) / NUM_ENVS == pytest.approx(MEMORY, rel=0.4)


@pytest.mark.parametrize("env_id", [CONTINUOUS, SERVING])
def test_rewards_of_a_rollout(env_id):
    """Tokens at the own rate, and the value after a truncated episode, discounted by its own last step."""
    model, untrained = fresh(env_id), fresh(env_id)
    model.learn(NUM_ENVS * model.n_steps)
    buffer, env = model.rollout_buffer, untrained.env
    ends, key = 0, "tokens" if env_id == CONTINUOUS else "timely_tokens"
    tokens, durations, later = (np.zeros((model.n_steps, NUM_ENVS)) for _ in range(3))
    env.reset()
    for step in range(model.n_steps):
        played = buffer.actions[step].reshape(NUM_ENVS, *env.action_space.shape).clip(-5.0, 5.0)
        _, _, _, truncated, info = env.env.step(played)
        for i in range(NUM_ENVS):
            last = info["final_info"] if truncated[i] else info
            tokens[step, i], durations[step, i] = last[key][i].sum(), last["duration"][i]
            if truncated[i]:
                value = untrained.policy.predict_values(untrained.policy.obs_to_tensor(info["final_obs"][i])[0])
                later[step, i] = buffer.gamma ** durations[step, i] * value.item()
                ends += 1
    assert ends > NUM_ENVS
    assert np.array_equal(buffer.durations, durations)
    rate = tokens.sum() / durations.sum()
    assert model.own_rate.rate == pytest.approx(rate, rel=1e-5)
    expected = (tokens - rate * durations) / env.env.objective.scale + later
    assert buffer.rewards == pytest.approx(expected, abs=1e-4)


def test_it_needs_durations():
    model = fresh(CONTINUOUS)
    assert isinstance(model, TimedPPO)
    with pytest.raises(ValueError, match="env: expected a NativeVecEnv, which has durations, got VecMonitor"):
        PPOSettings(timed=True).build(VecMonitor(model.env), lambda x: x, 0, "cpu")


def test_a_run_never_ends_below_the_reference_scheduler(tmp_path, monkeypatch):
    """On its validation cases: it validates before the first update, and keeps the best model."""
    monkeypatch.setattr(Episodes, "validation_size", 4)
    config = EnvConfig.of(CONTINUOUS, action="residual", num_users=4, horizon=2.0, reference="own-pace")
    columns = config.actions.columns * config.scenario.num_users
    zero = Policy(config, lambda entries: np.zeros((len(entries["shared"]), columns), np.float32))
    run = RunConfig(config, "ppo", 0)
    assert train(run, tmp_path, Limits(timesteps=400), False, "cpu", Console(file=io.StringIO())) is None
    measure = Measure(config)
    cases = measure._watched
    expected = cases.values(zero).mean()
    assert cases.values(policy_of(load_run_model(tmp_path, config), config)).mean() >= expected
    _, scores = read_curve(tmp_path / CURVE, measure.headline.key)
    assert scores[0] == pytest.approx(expected / cases.values(cases.reference).mean())
    assert load_checkpoint(tmp_path, MODEL).score == max(scores)
