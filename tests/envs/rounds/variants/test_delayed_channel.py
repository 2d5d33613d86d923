import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.radio import channel_gain

DELAYED, PLAIN = "MultiSpin/DelayedChannel-v0", "MultiSpin/Heterogeneous-v0"


def make(env_id=DELAYED, num_envs=20, **options):
    env = gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", num_users=5, **options)
    return env.unwrapped


def play(env, controller, rounds, seed=0):
    env.reset(seed=seed)
    goodput = [env.step(env.encode_action(controller(env.state)))[-1]["goodput"] for _ in range(rounds)]
    return np.mean(goodput, axis=0)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_reports_are_as_old_as_the_delay(delay):
    env = make(delay=delay)
    env.reset(seed=0)
    true, seen = [], []
    for t in range(30):
        if t == 12:  # an episode of some copies starts in between
            env.reset(options={"reset_mask": np.arange(20) < 10})
        true.append(env.state.spectral_efficiency)
        observation = env.step(np.zeros((20, 5, 2), np.float32))[0]
        seen.append(env.decode_observation(observation).spectral_efficiency)
    true.append(env.state.spectral_efficiency)
    copies = slice(10, 20)  # those that were not reset
    for t in range(max(delay, 1), 30):
        assert seen[t][copies] == pytest.approx(true[t + 1 - delay][copies], rel=1e-6)
    for t in range(12 + delay, 30):
        assert seen[t][:10] == pytest.approx(true[t + 1 - delay][:10], rel=1e-6)


def test_latency_is_that_of_the_true_channel():
    env = make(privileged=True)
    env.reset(seed=0)
    for _ in range(5):
        state = env.state
        action = np.random.default_rng(0).uniform(-1, 1, (20, 5, 2)).astype(np.float32)
        decision = env.decode_action(action)
        outcome = ms.expected_outcome(env.scenario, state, decision)
        info = env.step(action)[-1]
        assert info["round_latency"] == pytest.approx(outcome.round_latency, rel=1e-12)
        assert (info["spectral_efficiency"] == state.spectral_efficiency).all()


def test_actions_mean_what_the_report_says():
    """The equal-latency root must not know the true channel."""
    env = make(action="lengths", delay=2)
    observation, _ = env.reset(seed=0)
    decision = env.decode_action(np.zeros((20, 5, 1), np.float32))
    seen = env.decode_observation(observation)
    uploading = seen.draft_time * decision.draft_length + decision.draft_length * env.scenario.bits_per_token / (
        decision.bandwidth * seen.spectral_efficiency
    )
    assert uploading == pytest.approx(np.broadcast_to(uploading[:, :1], uploading.shape), rel=1e-5)


@pytest.mark.parametrize("correlation", [0.0, 1.0])
def test_with_fresh_reports_the_mean_is_that_of_the_plain_environment(correlation):
    """ρ = 0 draws anew in every round; with ρ = 1 a channel stays, but over episodes it has the same law."""
    controller = ms.make_controller("homogeneous", ms.Scenario.preset("llama2", num_users=5))
    delayed = play(make(correlation=correlation, delay=0, num_envs=400), controller, 20)
    plain = play(make(PLAIN, num_envs=400), controller, 20, seed=1000)
    error = np.sqrt(delayed.var() / 400 + plain.var() / 400)
    assert abs(delayed.mean() - plain.mean()) < 4 * error


def test_fading_is_stationary_and_correlated():
    env = make(num_envs=2000, correlation=0.9, delay=0)
    env.reset(seed=0)
    faded = []  # H / H̄, exponential with mean 1
    for _ in range(12):
        gain = channel_gain(env.scenario, env.state.spectral_efficiency)
        faded.append((gain / env._engine._core.mean_gain).ravel())
        env.step(np.zeros((2000, 5, 2), np.float32))
    for later in (1, 5, 11):  # errors of .002 to .017 are measured
        assert np.mean(faded[later]) == pytest.approx(1.0, abs=4 / np.sqrt(10_000))
        assert np.corrcoef(faded[0], faded[later])[0, 1] == pytest.approx(0.9 ** (2 * later), abs=0.04)


def test_mean_gain_is_shown_or_hidden():
    env = make()
    observation, _ = env.reset(seed=0)
    assert env.decode_observation(observation).mean_gain == pytest.approx(env._engine._core.mean_gain, rel=1e-5)
    hidden = make(mean_gain_visible=False)
    observation, _ = hidden.reset(seed=0)
    assert "mean_channel" not in observation
    assert hidden.decode_observation(observation).mean_gain is None


def test_a_planned_quantile_is_that_of_the_plug_in():
    """Zero residuals then mean the bandwidth of optimal+quantile, so that learning starts from it."""
    env = make(plan_quantile=0.2)
    observation, _ = env.reset(seed=0)
    controller = ms.make_controller("optimal+quantile", env.scenario, assumptions=env.assumptions, quantile=0.2)
    for _ in range(3):
        decision = controller(env.decode_observation(observation))
        action = env.encode_action(decision)
        assert action[..., 1] == pytest.approx(0.0, abs=1e-5)  # 9e-7 are measured
        observation = env.step(action)[0]
        planned = observation["planned_channel"]
        assert (planned < observation["channel"]).mean() > 0.9  # .95 is measured
        assert env.observation_space.contains(observation)
