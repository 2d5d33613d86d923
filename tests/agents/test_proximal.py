"""The update of PPO against Stable-Baselines3 and distributions of torch, user by user, and its baseline by loops."""

from dataclasses import replace

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.logger import configure

from agents.policies import EquivariantActorCritic
from agents.ppo import MultiUserPPO, PPOSettings, Rollout, gains
from agents.vec_env import make_vec_env
from multispin_env.envs.config import EnvConfig

FULL, COPIES, USERS, STEPS, SHORT = "MultiSpin/Heterogeneous-v0", 5, 3, 6, 4
SMALL = PPOSettings(COPIES, rollout_rounds=STEPS, batch_size=10, epochs=2)
SETTINGS = EnvConfig.of(FULL, num_users=USERS)


def vector():
    return make_vec_env(SETTINGS, COPIES, SHORT, seed=1)


def trained(gamma, rollouts=1, **changes):
    model = replace(SMALL, gamma=gamma, **changes).build(vector(), lambda x: x, 0, "cpu")
    model.set_logger(configure(None, []))
    return model.learn(rollouts * COPIES * STEPS)


@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_rollouts_are_those_of_stable_baselines(gamma):
    """Values behind an episode that is cut off among them."""
    model, found = trained(gamma), {}
    policy = {**model.policy_kwargs, "optimizer_class": th.optim.SGD, "optimizer_kwargs": {}}
    plain = PPO(
        EquivariantActorCritic, vector(), 0.0, STEPS, 10, 1, gamma, 1.0, policy_kwargs=policy, seed=0, device="cpu"
    )
    for one in (model, plain):
        one.set_logger(configure(None, []))
        one.policy.load_state_dict(trained(gamma).policy.state_dict())
        one.set_env(vector())
        one._setup_learn(10)
        one.set_random_seed(3)
        one.collect_rollouts(one.env, _Quiet(one), one.rollout_buffer, STEPS)
        found[one] = one.rollout_buffer
    for name in ("actions", "rewards", "values", "returns", "advantages", "episode_starts"):
        assert np.array_equal(getattr(found[model], name), getattr(found[plain], name)), name
    assert found[model].episode_starts.sum() > COPIES


class _Quiet:
    def __init__(self, model):
        self.model = model

    def __getattr__(self, name):
        return lambda *_: True


def test_loss_user_by_user():
    model = trained(0.25)
    rollout, policy = Rollout(model.rollout_buffer, model.policy), model.policy
    before = [distribution(policy, model.rollout_buffer, row) for row in range(STEPS * COPIES)]
    with th.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.003 * th.randn(parameter.shape, generator=th.Generator().manual_seed(0)))
    chosen, clip, terms, errors = [0, 7, 8, 21], 0.1, [], []
    for row in chosen:
        new, (old, action) = distribution(policy, model.rollout_buffer, row)[0], before[row]
        for user in range(USERS):
            change = (new.log_prob(action) - old.log_prob(action))[user].sum()
            ratio, gain = float(change.exp()), float(rollout._gains[row, user])
            terms.append(-min(ratio * gain, min(max(ratio, 1 - clip), 1 + clip) * gain))
        seen = {key: array.reshape(STEPS * COPIES, -1)[row] for key, array in model.rollout_buffer.observations.items()}
        value = policy.predict_values(policy.obs_to_tensor(seen)[0]).item()
        errors.append((value - model.rollout_buffer.returns.flatten()[row]) ** 2)
    loss, (policy_loss, value_loss, divergence, outside) = rollout.loss(th.tensor(chosen), clip, 0.5)
    assert policy_loss == pytest.approx(sum(terms) / len(chosen), abs=1e-4)
    assert value_loss == pytest.approx(np.mean(errors), rel=1e-4)
    assert loss.item() == pytest.approx(policy_loss + 0.5 * value_loss, rel=1e-5)
    assert divergence > 0.0
    assert 0.0 < outside < 1.0


def distribution(policy, buffer, row):
    """Normal distribution (K, columns) of a row's actions under the present policy, and the actions."""
    seen = {key: array.reshape(STEPS * COPIES, -1)[row] for key, array in buffer.observations.items()}
    with th.no_grad():
        found = policy.get_distribution(policy.obs_to_tensor(seen)[0]).distribution
    shape = (USERS, -1)
    action = th.as_tensor(buffer.actions.reshape(STEPS * COPIES, -1)[row]).reshape(shape)
    return th.distributions.Normal(found.mean.reshape(shape), found.stddev.reshape(shape)), action


def test_one_seed_one_result_and_it_learns():
    one, other = (trained(0.0, 3).policy.state_dict() for _ in range(2))
    start = SMALL.build(vector(), lambda x: x, 0, "cpu").policy.state_dict()
    assert all(th.equal(one[key], other[key]) for key in one)
    assert all(not th.equal(one[key], start[key]) for key in one)


def test_critics_learn_where_they_count():
    model = trained(0.25)
    assert type(model) is MultiUserPPO
    assert model.policy.critic
    start = replace(SMALL, gamma=0.25).build(vector(), lambda x: x, 0, "cpu").policy.state_dict()
    learnt = model.policy.state_dict()
    assert not any(th.equal(learnt[key], start[key]) for key in start if "value_net" in key)


@pytest.mark.parametrize("env_id", [FULL, "MultiSpin/DraftAhead-v0"])
def test_the_discount_is_that_of_the_environment(env_id):
    config = EnvConfig.of(env_id, num_users=USERS)
    env = make_vec_env(config, COPIES, SHORT, seed=1)
    model = SMALL.for_environment(config).build(env, lambda x: x, 0, "cpu")
    assert model.rollout_buffer.gamma == config.variant.learning.discount
    assert model.policy.critic == (env_id != FULL)


N, FEATURES, COLUMNS = 300, 2, 2


def drawn():
    draw = th.Generator().manual_seed(0)
    sizes = (N, USERS, FEATURES), (N, USERS, COLUMNS), (N,)
    return [th.randn(size, generator=draw) for size in sizes]


def own_columns(features, noise):
    """Of one user."""
    slopes = [number * step for number in (1.0, *features) for step in noise]
    return np.array([*slopes, *(noise**2 - 1.0)])


def columns(features, noise):
    """Of one state."""
    known = [(1.0, *user) for user in features]
    pairs = [(i, j) for i in range(FEATURES + 1) for j in range(i, FEATURES + 1)]
    products = [np.mean([user[i] * user[j] for user in known]) for i, j in pairs]
    return np.array([*products, *features.max(0), *features.min(0)]), sum(map(own_columns, features, noise))


def test_against_loops():
    features, noise, returns = drawn()
    rows = [columns(*one) for one in zip(features.double().numpy(), noise.double().numpy(), strict=True)]
    known = np.array([np.concatenate(one) for one in rows])
    wide = np.vstack([known, np.sqrt(1e-5 * N) * np.eye(known.shape[1])])
    weights = np.linalg.lstsq(wide, np.append(returns.numpy(), np.zeros(known.shape[1])), rcond=None)[0]
    left = returns.numpy() - known @ weights
    of_actions = weights[len(rows[0][0]) :]
    rows = zip(features.flatten(0, 1).numpy(), noise.flatten(0, 1).numpy(), strict=True)
    own = np.array([own_columns(*one) @ of_actions for one in rows]).reshape(N, USERS)
    wanted = left[:, None] + own
    found, explained = gains(features, noise, returns)
    assert found.numpy() == pytest.approx((wanted - wanted.mean()) / wanted.std(ddof=1), abs=1e-3)
    assert explained == pytest.approx(1.0 - left.var() / returns.numpy().var(), abs=1e-4)


def test_users_are_told_what_they_did_themselves():
    """Returns in which the state and the other users' actions count for far more than the own one."""
    features, noise, _ = drawn()
    own = noise[..., 0] * (1.0 + features[..., 1])
    returns = own.sum(-1) + 20.0 * features[..., 0].square().mean(-1) + 5.0 * features[..., 0].amax(-1)
    found, explained = gains(features, noise, returns)
    both = found, returns[:, None].expand(N, USERS)
    told, shared = (np.corrcoef(one.flatten(), own.flatten())[0, 1] for one in both)
    assert told > 0.95
    assert abs(shared) < 0.3
    assert explained > 0.95


def test_a_return_that_is_always_the_same_tells_nothing():
    features, noise, returns = drawn()
    found, _ = gains(features, noise, th.full_like(returns, 3.0))
    assert th.isfinite(found).all()
