"""What rates are worth for later rounds, against the sum that it is, and where it changes what is learnt."""

import numpy as np
import pytest
import torch as th

from agents.apg import DISCOUNT, APGSettings, Foresight
from agents.vec_env import make_vec_env
from multispin_env.envs.config import EnvConfig

FAIR, FULL = "MultiSpin/Fair-v0", "MultiSpin/Heterogeneous-v0"
WINDOW = 32.0


def vector(env_id=FAIR, copies=16, rounds=64, **arguments):
    config = EnvConfig.of(env_id, action="lengths", reward="expected", **{"num_users": 3, **arguments})
    return make_vec_env(config, copies, max_episode_steps=rounds, seed=0)


def throughput(env, observation):
    return env.env.decode_observation(observation).throughput


def play(env, rounds):
    """Observations of rounds with one action in all of them."""
    action = np.full((env.num_envs, *env.action_space.shape), -0.2, dtype=np.float32)
    return [env.reset(), *(env.step(action)[0] for _ in range(rounds))]


@pytest.mark.slow
def test_it_learns_the_discounted_sum():
    """ω_t = Σ_s (γ q)^{s−t} (1 − γ) / (w R_{s+1}), over rounds so many that the rest is nothing."""
    env = vector(rounds=10_000)
    codec = env.env.config.observations
    th.manual_seed(0)
    one = Foresight(env.observation_space, 8, WINDOW, learning_rate=1e-2)
    rounds = play(env, 400)
    rates = np.array([throughput(env, observation) for observation in rounds])
    discount = (DISCOUNT * (1.0 - 1.0 / WINDOW)) ** np.arange(200)[:, None, None] * (1.0 - DISCOUNT) / WINDOW
    times = range(0, 150, 10)
    wanted = np.array([(discount / rates[t + 1 : t + 201]).sum(0) for t in times])

    def error():
        return np.abs(np.log(np.array([one.weights(rounds[t], codec) for t in times]) / wanted)).mean()

    before, everyone, rng = error(), np.ones(env.num_envs, dtype=bool), np.random.default_rng(0)
    for _ in range(1000):
        t = int(rng.integers(400))
        one.learn(rounds[t], rounds[t + 1], everyone, codec)
    assert error() < 0.019 < 0.5 * before


def test_rounds_behind_which_an_episode_ended_teach_nothing():
    env = vector()
    codec = env.env.config.observations
    one, other, third = (Foresight(env.observation_space, 16, WINDOW) for _ in range(3))
    before = {key: value.clone() for key, value in one.state_dict().items()}
    other.load_state_dict(before)
    third.load_state_dict(before)
    first, second = play(env, 1)
    third.learn(first, second, np.zeros(env.num_envs, dtype=bool), codec)
    assert all(th.equal(value, before[key]) for key, value in third.state_dict().items())
    same = np.zeros(env.num_envs, dtype=bool)
    same[3] = True
    restarted = {key: array.copy() for key, array in second.items()}
    for array in restarted.values():
        array[~same] = 0.5
    one.learn(first, second, same, codec)
    other.learn(first, restarted, same, codec)
    assert all(th.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())
    assert any(not th.equal(value, before[key]) for key, value in one.state_dict().items())


def test_worth_is_bounded_by_what_can_be():
    """R falls by no more than 1 − 1/w in a round, so ω ≤ 1 / (w R (1 − 1/w)), whatever the network says."""
    env = vector()
    one = Foresight(env.observation_space, 16, WINDOW)
    observation = env.reset()
    bound = 1.0 / (WINDOW * throughput(env, observation) * (1.0 - 1.0 / WINDOW))
    codec = env.env.config.observations
    settled = (1.0 - DISCOUNT) / (1.0 - one.decay)
    assert one.weights(observation, codec) * throughput(env, observation) * WINDOW == pytest.approx(settled, rel=0.01)
    with th.no_grad():
        one.head.net[-1].bias += 1e3
    assert one.weights(observation, codec) == pytest.approx(bound, rel=1e-5)


def test_only_remembered_throughput_needs_it():
    envs = (vector(FAIR), vector(FAIR, window=1.0), vector(FULL))
    built = [APGSettings().build(env, lambda progress: progress, 0, "cpu") for env in envs]
    assert [model.foresight is None for model in built] == [False, True, True]


def test_worth_decides_what_is_climbed():
    env = vector()
    env.reset()
    action = np.zeros((16, 3, 1))
    own = env.env.reward_slopes(action)
    assert np.abs(own).max() > 0.0
    assert not env.env.reward_slopes(action, np.zeros((16, 3))).any()
    for_first = np.zeros((16, 3))
    for_first[:, 0] = 1.0
    selfish = env.env.reward_slopes(action, for_first)[..., 0]
    assert (selfish[:, 1:] <= 0.0).all()  # longer drafts of others only cost time
    with pytest.raises(ValueError, match=r"worth: expected shape \(16, 3\), got \(3,\)"):
        env.env.reward_slopes(action, np.ones(3))


def test_foresight_learns_by_the_mean_error(monkeypatch):
    """The loss is the same of two copies as of four alike, and its gradient is kept short."""
    found = []
    for copies in (2, 4):
        env = vector(copies=1)
        codec = env.env.config.observations
        th.manual_seed(0)
        one = Foresight(env.observation_space, 8, 32.0)
        rounds = [env.reset(), env.step(np.zeros((1, *env.action_space.shape), np.float32))[0]]
        many = [{key: np.repeat(array, copies, 0) for key, array in each.items()} for each in rounds]
        monkeypatch.setattr(one.optimizer, "step", lambda: None)
        for _ in range(2):  # gradients do not add up
            one.learn(*many, np.ones(copies, dtype=bool), codec)
            found.append(th.cat([p.grad.flatten() for p in one.parameters()]))
    assert all(th.allclose(found[0], other, atol=1e-6) for other in found[1:])
    assert 0.0 < found[0].norm() <= 1.0 + 1e-5
