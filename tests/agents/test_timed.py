"""Returns where steps take different times, against slow sums and Stable-Baselines3's own; where runs start and end."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from rich.console import Console
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecMonitor

from agents.checkpoints import MODEL, load_checkpoint
from agents.measures import Measure
from agents.models import load_run_model
from agents.policies import policy_of
from agents.ppo import MEMORY, SETTINGS, AverageReward, PPOSettings, TimedPPO, TimedRolloutBuffer
from agents.runs import Limits, RunConfig
from agents.training import train
from agents.vec_env import make_vec_env
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.objectives import RequestsInTime, TokensMinusTime
from multispin_env.evaluation.cases import Episodes
from multispin_env.evaluation.policy import Policy

STEPS, COPIES = 12, 5
GAMMA, TRACE = 0.3, 0.6
SPACES = spaces.Dict({"x": spaces.Box(-1, 1, (2,))}), spaces.Box(-1, 1, (3,))
CONTINUOUS, SERVING = "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0"
FULL = "MultiSpin/Heterogeneous-v0"
SHORT = {
    CONTINUOUS: {"horizon": 0.5, "reference": "own-pace"},
    SERVING: {"horizon": 1.0, "warm_up": 0.2, "mean_output": 5.0},
}
"""Episodes of which several end in a rollout."""


def settings_of(env_id, **arguments):
    return EnvConfig.of(env_id, **{**SHORT[env_id], "num_users": 3, **arguments})


def fresh(env_id, **arguments):
    """An untrained model."""
    settings = settings_of(env_id, **arguments)
    small = replace(SETTINGS.for_environment(settings), num_envs=COPIES, rollout_rounds=160, batch_size=100)
    model = small.build(make_vec_env(settings, COPIES, None, seed=3), lambda progress: progress, 0, "cpu")
    model.set_logger(configure(None, []))
    return model


def model_of(env_id, **arguments):
    """A model that has learnt from one rollout."""
    model = fresh(env_id, **arguments)
    return model.learn(COPIES * model.n_steps)


class Data:
    """What a rollout may be, with episodes that end within it and with it."""

    def __init__(self, durations=None):
        rng = np.random.default_rng(0)
        self.durations = rng.uniform(0.01, 2.0, (STEPS, COPIES)) if durations is None else durations
        self.rewards, self.values = rng.standard_normal((2, STEPS + 1, COPIES)).astype(np.float32)
        self.starts = (rng.random((STEPS + 1, COPIES)) < 0.3).astype(np.float32)
        self.starts[-1, :2] = 1.0, 0.0

    def filled(self, buffer):
        for step in range(STEPS):
            if isinstance(buffer, TimedRolloutBuffer):
                buffer.record(self.rewards[step], self.durations[step])
            nothing, action = {"x": np.zeros((COPIES, 2))}, np.zeros((COPIES, 3))
            values = th.as_tensor(self.values[step])
            buffer.add(nothing, action, self.rewards[step], self.starts[step], values, th.zeros(COPIES))
        buffer.compute_returns_and_advantage(th.as_tensor(self.values[-1]), self.starts[-1])
        return buffer


def timed_buffer(objective):
    return TimedRolloutBuffer(
        STEPS, *SPACES, gamma=GAMMA, gae_lambda=TRACE, n_envs=COPIES, own_rate=AverageReward(objective)
    )


def test_advantages_are_the_sum_that_they_are():
    """Σ_s (γ λ) ** (time from t to s) δ_s until the episode ends, with δ_s = r_s + γ ** d_s V_{s+1} − V_s."""
    data = Data()
    found = data.filled(timed_buffer(RequestsInTime()))
    for copy in range(COPIES):
        for t in range(STEPS):
            wanted, time = 0.0, 0.0
            for s in range(t, STEPS):
                ended = data.starts[s + 1, copy] == 1.0
                later = 0.0 if ended else GAMMA ** data.durations[s, copy] * float(data.values[s + 1, copy])
                delta = float(data.rewards[s, copy]) + later - float(data.values[s, copy])
                wanted += (GAMMA * TRACE) ** time * delta
                time += data.durations[s, copy]
                if ended:
                    break
            assert found.advantages[t, copy] == pytest.approx(wanted, abs=1e-5)
            assert found.returns[t, copy] == pytest.approx(wanted + data.values[t, copy], abs=1e-5)


@pytest.mark.parametrize("step", [0.05, 1.0, 3.0])
def test_equal_durations_are_those_of_stable_baselines(step):
    data = Data(np.full((STEPS, COPIES), step))
    found = data.filled(timed_buffer(RequestsInTime()))
    own = DictRolloutBuffer(STEPS, *SPACES, gamma=GAMMA**step, gae_lambda=TRACE**step, n_envs=COPIES)
    wanted = data.filled(own)
    assert found.advantages == pytest.approx(wanted.advantages, abs=1e-5)
    assert found.returns == pytest.approx(wanted.returns, abs=1e-5)
    assert found.advantages.dtype == found.returns.dtype == found.rewards.dtype == np.float32


def test_an_agent_that_always_makes_the_same_rate_gains_nothing():
    """Whatever the environment's price of time is, and however long its steps are."""
    data = Data()
    data.values[:] = 0.0
    rate, price, scale = 150.0, 200.0, 8.0
    data.rewards[:-1] = (rate - price) / scale * data.durations
    found = data.filled(timed_buffer(TokensMinusTime(price, scale)))
    assert found.own_rate.rate == pytest.approx(rate)
    assert found.advantages == pytest.approx(np.zeros((STEPS, COPIES)), abs=1e-4)


def test_the_own_rate_follows_what_is_measured():
    own = AverageReward(TokensMinusTime(100.0, 4.0))
    durations = np.random.default_rng(0).uniform(0.0, 1.0, (20, COPIES))
    assert own.rate == 100.0
    assert not own.correction(durations).any()
    for rate in (130.0, 90.0):
        for _ in range(30):  # about 300 s of each copy
            own.update((rate - 100.0) / 4.0 * durations, durations)
        assert own.rate == pytest.approx(rate, rel=1e-5)
    assert own.correction(durations) == pytest.approx(10.0 / 4.0 * durations, rel=1e-3)
    assert float(own.seconds) / COPIES == pytest.approx(MEMORY, rel=0.4)


def test_without_a_price_rewards_stay_as_they_are():
    data = Data()
    found = data.filled(timed_buffer(RequestsInTime()))
    assert np.array_equal(found.rewards, data.rewards[:-1])
    assert not found.own_rate.priced


@pytest.mark.parametrize("env_id", [CONTINUOUS, SERVING])
def test_rewards_of_a_rollout(env_id):
    """Tokens at the own rate, and the value behind an episode that is cut off, discounted by its own last step."""
    model = model_of(env_id)
    untrained = fresh(env_id)
    buffer, env = model.rollout_buffer, untrained.env
    objective, ends, key = env.env.objective, 0, "tokens" if env_id == CONTINUOUS else "timely_tokens"
    tokens, durations, later = (np.zeros((model.n_steps, COPIES)) for _ in range(3))
    env.reset()
    for step in range(model.n_steps):
        played = buffer.actions[step].reshape(COPIES, *env.action_space.shape).clip(-1.0, 1.0)
        _, _, _, truncated, info = env.env.step(played)
        for copy in range(COPIES):
            told = info["final_info"] if truncated[copy] else info
            tokens[step, copy], durations[step, copy] = told[key][copy].sum(), told["duration"][copy]
            if truncated[copy]:
                value = untrained.policy.predict_values(untrained.policy.obs_to_tensor(info["final_obs"][copy])[0])
                later[step, copy] = buffer.gamma ** durations[step, copy] * value.item()
                ends += 1
    assert ends > COPIES
    assert np.array_equal(buffer.durations, durations)
    rate = tokens.sum() / durations.sum()
    assert model.own_rate.rate == pytest.approx(rate, rel=1e-5)
    wanted = (tokens - rate * durations) / objective.scale + later
    assert buffer.rewards == pytest.approx(wanted, abs=1e-4)


def test_a_wrong_price_of_the_environment_teaches_the_same():
    price = settings_of(CONTINUOUS).observations.rho
    low, high = (model_of(CONTINUOUS, rho=factor * price) for factor in (0.8, 1.2))
    one, other = low.rollout_buffer, high.rollout_buffer
    assert np.array_equal(one.durations, other.durations)
    assert np.abs(one.env_rewards - other.env_rewards).max() > 0.5
    ends = np.vstack([one.episode_starts[1:], np.zeros((1, COPIES))]) == 1.0  # their values see the price
    assert ends.any()
    assert one.rewards[~ends] == pytest.approx(other.rewards[~ends], abs=1e-4)
    assert low.own_rate.rate == pytest.approx(high.own_rate.rate, rel=1e-5)


def test_it_wants_to_know_durations():
    model = fresh(CONTINUOUS)
    assert isinstance(model, TimedPPO)
    with pytest.raises(ValueError, match="env: expected a NativeVecEnv, which has durations, got VecMonitor"):
        PPOSettings(timed=True).build(VecMonitor(model.env), lambda x: x, 0, "cpu")


LONGER = {
    CONTINUOUS: {"horizon": 2.0, "reference": "own-pace"},
    SERVING: {"horizon": 6.0, "warm_up": 1.0, "load": 1.5},
}


def longer(env_id, action="residual"):
    return EnvConfig.of(env_id, action=action, num_users=4, **LONGER.get(env_id, {}))


def untrained(env_id, settings, seed=0):
    env = make_vec_env(settings, SETTINGS.num_envs, None, seed)
    return SETTINGS.for_environment(settings).build(env, lambda progress: progress, seed, "cpu")


def zero(settings):
    """The policy that always answers 0."""
    columns = settings.actions.columns * settings.scenario.num_users
    return Policy(settings, lambda entries: np.zeros((len(entries["shared"]), columns), np.float32))


@pytest.mark.parametrize("env_id", SHORT)
def test_untrained_it_is_the_scheduler_that_actions_start_from(env_id):
    settings = longer(env_id)
    model = untrained(env_id, settings)
    rule = settings.contender(settings.actions.reference)
    env, rng = make_vec_env(settings, 6, None, seed=5), np.random.default_rng(0)
    env.reset()
    policy = policy_of(model, settings)
    for _ in range(25):
        state = env.env.state
        own, wanted = policy(state), settings.actions.checked_decision(rule(state), state.phase.shape)
        assert np.array_equal(own.draft_length, wanted.draft_length)
        assert np.array_equal(own.join, wanted.join)
        orders = [np.argsort(one.priority, -1, kind="stable") for one in (own, wanted)]
        assert np.array_equal(*orders)
        env.step(rng.uniform(-1, 1, (6, *env.action_space.shape)).astype(np.float32))
    with th.no_grad():
        assert not policy.network(env.reset()).any()


def test_a_run_never_ends_below_the_scheduler_that_it_starts_from(tmp_path, monkeypatch):
    """On what it validates itself on; that comes before the first update, and the best is kept."""
    env_id = CONTINUOUS
    monkeypatch.setattr(Episodes, "watched_size", 4)
    settings = longer(env_id)
    config = RunConfig(settings, "ppo", 0)
    assert train(config, tmp_path, Limits(timesteps=400), False, "cpu", Console(file=io.StringIO())) is None
    measure = Measure(settings)
    cases, key = measure._watched, measure.headline.key
    wanted = cases.values(zero(settings)).mean()
    assert cases.values(policy_of(load_run_model(tmp_path, settings), settings)).mean() >= wanted
    with (tmp_path / "curve.csv").open(encoding="utf-8") as file:
        scores = [float(row[key]) for row in csv.DictReader(file)]
    assert scores[0] == pytest.approx(wanted / cases.values(cases.reference).mean())
    assert load_checkpoint(tmp_path, MODEL).score == max(scores)
