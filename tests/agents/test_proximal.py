"""The update of PPO against Stable-Baselines3 and distributions of torch, and its baseline against loops."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.logger import configure

from multispin_agents import ppo
from multispin_agents.policies import DevicePolicy
from multispin_agents.ppo import MultiUserPPO, PPOSettings, Rollout, gains, hindsight
from multispin_agents.vec_env import make_vec_env

FULL, NUM_ENVS, USERS, STEPS, SHORT = "MultiSpin/Heterogeneous-v0", 5, 3, 6, 4
SMALL = PPOSettings(NUM_ENVS, rollout_rounds=STEPS, batch_size=10, epochs=2)


def vector(rounds=SHORT):
    return make_vec_env(FULL, NUM_ENVS, seed=1, num_users=USERS, rounds=rounds)


def trained(gamma, rollouts=1, **changes):
    model = replace(SMALL, gamma=gamma, **changes).build(vector(), lambda x: x, 0, "cpu")
    model.set_logger(configure(None, []))
    return model.learn(rollouts * NUM_ENVS * STEPS)


@pytest.mark.parametrize(("gamma", "rounds"), [(0.0, SHORT), (0.25, SHORT), (0.25, 1)])
def test_rollouts_are_those_of_stable_baselines(gamma, rounds):
    """With γ > 0, the value of the last observation counts in truncated episodes, not in those that terminate."""
    model = trained(gamma)
    plain = PPO(DevicePolicy, vector(rounds), 0.0, STEPS, 10, 1, gamma, 1.0, policy_kwargs=model.policy_kwargs, seed=0)
    weights = model.policy.state_dict()
    for learner in (model, plain):
        learner.set_logger(configure(None, []))
        learner.policy.load_state_dict(weights)
        learner.set_env(vector(rounds))
        _, callback = learner._setup_learn(10)
        learner.set_random_seed(3)
        learner.collect_rollouts(learner.env, callback, learner.rollout_buffer, STEPS)
    for name in ("actions", "rewards", "values", "returns", "advantages", "episode_starts"):
        assert np.array_equal(getattr(model.rollout_buffer, name), getattr(plain.rollout_buffer, name)), name
    assert model.rollout_buffer.episode_starts.sum() > NUM_ENVS


def test_loss_user_by_user():
    model = trained(0.25)
    policy, buffer = model.policy, model.rollout_buffer
    rollout = Rollout(buffer, policy, model.hindsight)
    before = [distribution(policy, buffer, row) for row in range(STEPS * NUM_ENVS)]
    with th.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.003 * th.randn(parameter.shape, generator=th.Generator().manual_seed(0)))
    rows, clip, terms, errors = [0, 7, 8, 21], 0.1, [], []
    for row in rows:
        new, (old, action) = distribution(policy, buffer, row)[0], before[row]
        for user in range(USERS):
            change = (new.log_prob(action) - old.log_prob(action))[user].sum()
            ratio, gain = float(change.exp()), float(rollout._gains[row, user])
            terms.append(-min(ratio * gain, min(max(ratio, 1 - clip), 1 + clip) * gain))
        value = policy.predict_values(observed(policy, buffer, row)).item()
        errors.append((value - buffer.returns.flatten()[row]) ** 2)
    loss, (policy_loss, value_loss, divergence, outside) = rollout.loss(th.tensor(rows), clip, 0.5)
    assert policy_loss == pytest.approx(sum(terms) / len(rows), abs=1e-4)
    assert value_loss == pytest.approx(np.mean(errors), rel=1e-4)
    assert loss.item() == pytest.approx(policy_loss + 0.5 * value_loss, rel=1e-5)
    assert divergence > 0.0
    assert 0.0 < outside < 1.0


def observed(policy, buffer, row):
    entries = {key: array.reshape(STEPS * NUM_ENVS, -1)[row] for key, array in buffer.observations.items()}
    return policy.obs_to_tensor(entries)[0]


def distribution(policy, buffer, row):
    """Normal distribution (K, columns) of a row's actions under the present policy, and the actions."""
    with th.no_grad():
        flat = policy.get_distribution(observed(policy, buffer, row)).distribution
    shape = (USERS, -1)
    action = th.as_tensor(buffer.actions.reshape(STEPS * NUM_ENVS, -1)[row]).reshape(shape)
    return th.distributions.Normal(flat.mean.reshape(shape), flat.stddev.reshape(shape)), action


@pytest.mark.parametrize("gamma", [0.0, 0.25])
def test_equal_seeds_give_equal_results_and_all_weights_learn(gamma):
    first, second = (trained(gamma, 3) for _ in range(2))
    assert type(first) is MultiUserPPO
    assert any("value_net" in key for key in first.policy.state_dict()) == bool(gamma)
    start = replace(SMALL, gamma=gamma).build(vector(), lambda x: x, 0, "cpu").policy.state_dict()
    for key, value in first.policy.state_dict().items():
        assert th.equal(value, second.policy.state_dict()[key])
        assert not th.equal(value, start[key])


N, FEATURES, COLUMNS = 300, 2, 2


def drawn():
    draw = th.Generator().manual_seed(0)
    sizes = (N, USERS, FEATURES), (N, USERS, COLUMNS), (N,)
    return [th.randn(size, generator=draw) for size in sizes]


def user_columns(features, noise):
    slopes = [number * step for number in (1.0, *features) for step in noise]
    return np.array([*slopes, *(noise**2 - 1.0)])


def state_columns(features, noise):
    biased = [(1.0, *user) for user in features]
    pairs = [(i, j) for i in range(FEATURES + 1) for j in range(i, FEATURES + 1)]
    products = [np.mean([user[i] * user[j] for user in biased]) for i, j in pairs]
    return np.array([*products, *features.max(0), *features.min(0)]), sum(map(user_columns, features, noise))


def test_against_loops():
    features, noise, returns = drawn()
    rows = list(map(state_columns, features.double().numpy(), noise.double().numpy()))
    regressors = np.array([np.concatenate(row) for row in rows])
    wide = np.vstack([regressors, np.sqrt(1e-5 * N) * np.eye(regressors.shape[1])])
    weights = np.linalg.lstsq(wide, np.append(returns.numpy(), np.zeros(regressors.shape[1])), rcond=None)[0]
    residual = returns.numpy() - regressors @ weights
    by_user = np.array(list(map(user_columns, features.flatten(0, 1).numpy(), noise.flatten(0, 1).numpy())))
    expected = residual[:, None] + (by_user @ weights[len(rows[0][0]) :]).reshape(N, USERS)
    result, explained = gains(features, noise, returns)
    assert result.numpy() == pytest.approx((expected - expected.mean()) / expected.std(ddof=1), abs=1e-3)
    assert explained == pytest.approx(1.0 - residual.var() / returns.numpy().var(), abs=1e-4)


def test_advantages_follow_the_users_own_actions():
    """With returns in which the state and the actions of others count for far more."""
    features, noise, _ = drawn()
    effect = noise[..., 0] * (1.0 + features[..., 1])
    returns = effect.sum(-1) + 20.0 * features[..., 0].square().mean(-1) + 5.0 * features[..., 0].amax(-1)
    advantages, explained = gains(features, noise, returns)
    both = advantages, returns[:, None].expand(N, USERS)
    by_user, shared = (np.corrcoef(values.flatten(), effect.flatten())[0, 1] for values in both)
    assert by_user > 0.95
    assert abs(shared) < 0.3
    assert explained > 0.95
    constant, _ = gains(features, noise, th.full_like(returns, 3.0))
    assert th.isfinite(constant).all()


LATE = "MultiSpin/DelayedChannel-v0"


def late_env(delay, plan_quantile=None):
    return make_vec_env(LATE, NUM_ENVS, 1, num_users=USERS, rounds=SHORT, delay=delay, plan_quantile=plan_quantile)


@pytest.mark.parametrize("delay", [1, 2])
def test_hindsight_is_what_later_observations_report(delay):
    env = late_env(delay, plan_quantile=0.2)
    observation, columns, reports = env.reset(), [], []
    for _ in range(SHORT):
        columns.append((hindsight(env), observation["planned_channel"].astype(np.float64)))
        observation, _, ended, infos = env.step(np.zeros((NUM_ENVS, USERS, 2)))
        last = [info.get("terminal_observation", {}).get("channel") for info in infos]
        reports.append(np.array(last) if ended.all() else observation["channel"])
    for (after, plan), report in zip(columns, reports[delay - 1 :], strict=False):
        ratio = report / plan
        share = ratio**-2 / (ratio**-2).sum(-1, keepdims=True)
        assert after == pytest.approx(np.stack([np.log(ratio), share], -1), rel=1e-4, abs=1e-4)
    assert hindsight(vector()).shape == (NUM_ENVS, USERS, 0)


def test_actions_do_not_depend_on_hindsight(monkeypatch):
    """Rollouts of equal policies have the same actions with hindsight and without it; only the update differs."""

    def learner():
        model = replace(SMALL, gamma=0.0).build(late_env(1), lambda x: x, 0, "cpu")
        model.set_logger(configure(None, []))
        return model.learn(NUM_ENVS * STEPS)

    after = learner()
    monkeypatch.setattr(ppo, "hindsight", lambda env: np.zeros((NUM_ENVS, USERS, 0)))
    before = learner()
    for name in ("actions", "rewards", "log_probs"):
        assert np.array_equal(getattr(after.rollout_buffer, name), getattr(before.rollout_buffer, name)), name
    assert after.policy.features_dim == before.policy.features_dim
    weights = before.policy.state_dict()
    assert not all(th.equal(value, weights[key]) for key, value in after.policy.state_dict().items())


def enumerated():
    """Rows of one step with two devices: the actions' noise (rows, 2, 1), channels (rows, 2) and returns (rows,).

    The noise is on a Gauss-Hermite grid and rows are repeated in proportion to their probability, so means over rows
    are expected values.
    """
    steps, channels = (-(3**0.5), *[0.0] * 4, 3**0.5), (0.4, 1.0, 1.0)
    rows = list(product(steps, steps, channels, channels))
    noise, channel = th.tensor(rows).split(2, dim=1)
    latency = (1.0 + (0.3 * noise).exp() / channel).amax(-1)
    return noise.unsqueeze(-1), channel, (2.0 + (0.2 * noise).tanh().sum(-1)) / latency


def mean_gradient(noise, columns):
    """Direction of the expected gradient for the mean and the standard deviation of both devices, and its noise."""
    advantages = gains(columns, noise, enumerated()[2])[0]
    scores = th.cat([noise[..., 0], noise[..., 0].square() - 1.0], dim=-1)
    terms = advantages.repeat(1, 2) * scores
    size = terms.mean(0).norm()
    return terms.mean(0) / size, float(terms.std(0).norm() / size)


def test_hindsight_does_not_change_the_mean_of_the_gradient():
    """By enumeration; it makes the gradient less noisy. With a column that actions change, the mean is another one."""
    noise, channel, returns = enumerated()
    observed = th.tensor([0.3, -0.5]).expand(len(returns), 2).unsqueeze(-1)
    slowness = channel**-2.0
    later = th.stack([channel.log(), slowness / slowness.sum(-1, keepdim=True)], dim=-1)
    scores = th.cat([noise[..., 0], noise[..., 0].square() - 1.0], dim=-1)
    plain = (returns.unsqueeze(-1) * scores).mean(0)
    direction, scatter = mean_gradient(noise, observed)
    after, less = mean_gradient(noise, th.cat([observed, later], dim=-1))
    assert direction.numpy() == pytest.approx((plain / plain.norm()).numpy(), abs=1e-4)
    assert after.numpy() == pytest.approx(direction.numpy(), abs=1e-4)
    assert less < 0.8 * scatter
    finished = (0.3 * noise).exp() / channel.unsqueeze(-1)  # depends on the action
    biased, _ = mean_gradient(noise, th.cat([observed, finished / finished.sum(1, keepdim=True)], dim=-1))
    assert (biased - direction).abs().max() > 0.05
