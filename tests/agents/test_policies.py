import numpy as np
import pytest
import torch as th

import multispin_env as ms
from agents import AGENTS
from agents.decider import ModelDecider
from agents.vec_env import make_vec_env
from multispin_env.envs.settings import Settings

FULL = "MultiSpin/Heterogeneous-v0"
VARIANT = ms.ENVIRONMENTS.load(FULL).variant_type()


def model(agent, users):
    settings = Settings(ms.Scenario.preset("llama2", num_users=users), VARIANT)
    chosen = AGENTS.load(agent)
    built = chosen.build(make_vec_env(FULL, settings, chosen.num_envs, 64, 0), lambda progress: progress, 0, "cpu")
    with th.no_grad():  # untrained heads answer almost nothing: give them something to say
        for parameter in built.policy.parameters():
            parameter.add_(0.3 * th.randn_like(parameter))
    return built, settings


@pytest.mark.parametrize("agent", AGENTS.names())
def test_permuting_users_permutes_actions(agent, rng):
    built, settings = model(agent, 6)
    state = ms.sample_state(settings.scenario, rng, 10)
    order = rng.permutation(6)
    actions, permuted = (
        built.predict(settings.observations.encode(s), deterministic=True)[0] for s in (state, state[:, order])
    )
    assert np.abs(actions).std() > 0.01
    assert permuted == pytest.approx(actions[:, order], abs=1e-5)


@pytest.mark.parametrize("agent", AGENTS.names())
def test_a_model_of_one_size_runs_on_another(agent, rng):
    small, _ = model(agent, 3)
    large, settings = model(agent, 11)
    large.set_parameters(small.get_parameters(), exact_match=True)
    decision = ModelDecider(large, settings)(ms.sample_state(settings.scenario, rng, 5))
    assert decision.draft_length.shape == (5, 11)


def test_log_probability_agrees_with_its_own_actions():
    built, settings = model("ppo", 3)
    observation = settings.observations.encode(ms.sample_state(settings.scenario, np.random.default_rng(0), 4))
    tensors, _ = built.policy.obs_to_tensor(observation)
    actions, values, log_prob = built.policy(tensors)
    again, log_prob_again, _ = built.policy.evaluate_actions(tensors, actions.flatten(1))
    assert th.allclose(log_prob, log_prob_again, atol=1e-4)
    assert th.allclose(values, again)
