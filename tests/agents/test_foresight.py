"""Long-term weights of rates, against their definition as a sum."""

import numpy as np
import pytest
import torch as th

from multispin_agents.apg import DISCOUNT, APGSettings, Foresight
from multispin_agents.vec_env import make_vec_env

FAIR, FULL = "MultiSpin/Fair-v0", "MultiSpin/Heterogeneous-v0"
WINDOW = 32.0


def vector(env_id=FAIR, num_envs=16, rounds=64, **arguments):
    return make_vec_env(env_id, num_envs, action="lengths", rounds=rounds, **{"num_users": 3, **arguments})


def play(env, rounds):
    action = np.full((env.num_envs, *env.action_space.shape), -0.2, dtype=np.float32)
    return [env.reset(), *(env.step(action)[0] for _ in range(rounds))]


@pytest.mark.slow
def test_it_learns_the_discounted_sum():
    """ω_t = Σ_s (γ q)^{s−t} (1 − γ) / (w R_{s+1}), over 200 rounds: the rest is negligible."""
    env = vector(rounds=10_000)
    codec = env.env.config.observations
    th.manual_seed(0)
    foresight = Foresight(env.observation_space, 8, WINDOW, learning_rate=1e-2)
    rounds = play(env, 400)
    rates = np.array([env.env.decode_observation(observation).throughput for observation in rounds])
    discount = (DISCOUNT * (1.0 - 1.0 / WINDOW)) ** np.arange(200)[:, None, None] * (1.0 - DISCOUNT) / WINDOW
    times = range(0, 150, 10)
    expected = np.array([(discount / rates[t + 1 : t + 201]).sum(0) for t in times])

    def error():
        return np.abs(np.log(np.array([foresight.weights(rounds[t], codec) for t in times]) / expected)).mean()

    before, rng = error(), np.random.default_rng(0)
    for _ in range(1000):
        t = int(rng.integers(400))
        foresight.learn(rounds[t], rounds[t + 1], np.ones(env.num_envs, dtype=bool), codec)
    assert error() < 0.0215 < 0.55 * before


def test_the_last_rounds_of_episodes_are_ignored():
    env = vector()
    codec = env.env.config.observations
    goes_on = np.arange(env.num_envs) == 3
    first, second = play(env, 1)
    restarted = {key: array.copy() for key, array in second.items()}
    for array in restarted.values():
        array[~goes_on] = 0.5
    start, learnt = Foresight(env.observation_space, 16, WINDOW).state_dict(), []
    for after, mask in ((second, np.zeros_like(goes_on)), (second, goes_on), (restarted, goes_on)):
        foresight = Foresight(env.observation_space, 16, WINDOW)
        foresight.load_state_dict(start)
        foresight.learn(first, after, mask, codec)
        learnt.append(th.cat([value.flatten() for value in foresight.parameters()]))
    assert th.equal(learnt[0], th.cat([value.flatten() for value in start.values()]))
    assert th.equal(learnt[1], learnt[2])
    assert not th.equal(learnt[0], learnt[1])


def test_weights_are_bounded():
    """R falls by no more than 1 − 1/w in a round, so ω ≤ 1 / (w R (1 − 1/w)) for any output of the network."""
    env = vector()
    foresight, codec = Foresight(env.observation_space, 16, WINDOW), env.env.config.observations
    observation = env.reset()
    scale = env.env.decode_observation(observation).throughput * WINDOW
    constant = (1.0 - DISCOUNT) / (1.0 - foresight.decay)
    assert foresight.weights(observation, codec) * scale == pytest.approx(constant, rel=0.01)
    with th.no_grad():
        foresight.head.net[-1].bias += 1e3
    assert foresight.weights(observation, codec) * scale == pytest.approx(1.0 / (1.0 - 1.0 / WINDOW), rel=1e-5)


def test_only_remembered_throughput_needs_it():
    envs = (vector(FAIR), vector(FAIR, window=1.0), vector(FULL))
    built = [APGSettings().build(env, lambda progress: progress, 0, "cpu") for env in envs]
    assert [model.foresight is None for model in built] == [False, True, True]


def test_foresight_learns_by_the_mean_error(monkeypatch):
    """The loss is the same for two equal environments as for four, and its gradient is clipped."""
    env, gradients = vector(num_envs=1), []
    rounds = play(env, 1)
    for num_envs in (2, 4):
        th.manual_seed(0)
        foresight = Foresight(env.observation_space, 8, WINDOW)
        repeated = [{key: np.repeat(array, num_envs, 0) for key, array in seen.items()} for seen in rounds]
        monkeypatch.setattr(foresight.optimizer, "step", lambda: None)
        for _ in range(2):  # gradients do not add up
            foresight.learn(*repeated, np.ones(num_envs, dtype=bool), env.env.config.observations)
            gradients.append(th.cat([p.grad.flatten() for p in foresight.parameters()]))
    assert all(th.allclose(gradients[0], other, atol=1e-6) for other in gradients[1:])
    assert 0.0 < gradients[0].norm() <= 1.0 + 1e-5
