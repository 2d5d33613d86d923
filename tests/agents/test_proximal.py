"""The update of PPO against Stable-Baselines3 and distributions of torch, user by user."""

from dataclasses import replace

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.logger import configure

import multispin_env as ms
from agents.base import Tuning
from agents.policies import EquivariantActorCritic
from agents.ppo import PPOSettings, Proximal, Rollout
from agents.vec_env import make_vec_env
from multispin_env.envs.settings import Settings
from multispin_env.registry import ENVIRONMENTS

FULL, COPIES, USERS, STEPS, SHORT = "MultiSpin/Heterogeneous-v0", 5, 3, 6, 4
SMALL = PPOSettings(COPIES, rollout_rounds=STEPS, batch_size=10, epochs=2)
SETTINGS = Settings(ms.Scenario.preset("llama2", num_users=USERS), ENVIRONMENTS.load(FULL)(), "residual")


def vector():
    return make_vec_env(FULL, SETTINGS, COPIES, SHORT, seed=1)


def trained(gamma, rollouts=1, **changes):
    model = replace(SMALL, **changes).build(vector(), lambda x: x, 0, "cpu", Tuning(gamma))
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
    assert type(model) is Proximal
    assert model.policy.critic
    start = SMALL.build(vector(), lambda x: x, 0, "cpu", Tuning(0.25)).policy.state_dict()
    learnt = model.policy.state_dict()
    assert not any(th.equal(learnt[key], start[key]) for key in start if "value_net" in key)
