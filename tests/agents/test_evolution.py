"""Evolution: what it compares, which way it moves, and that runs repeat."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from torch import nn

import multispin_env as ms
from agents.evolution import EvolutionSettings, Population, centred_ranks
from agents.policies import policy_of
from agents.vec_env import first_seed, make_vec_env
from multispin_env.envs.config import EnvConfig

CLOSED, OPEN, AHEAD = "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0", "MultiSpin/DraftAhead-v0"
SMALL = EvolutionSettings(pairs=3, cases=2, width=8)


def settings_of(env_id=CLOSED, action="tuned", **arguments):
    scenario = ms.Scenario.preset("llama2", num_users=4)
    return EnvConfig.of(env_id, scenario, action=action, **{"reference": "own-pace", **arguments})


def model_of(settings=None, agent=SMALL, seed=0, env_id=CLOSED):
    settings = settings_of() if settings is None else settings
    env = make_vec_env(settings, agent.num_envs, None, seed=0)
    return agent.for_environment(settings).build(env, lambda progress: progress, seed=seed, device="cpu")


def test_a_population_is_its_networks_one_by_one(rng):
    network = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2))
    size = sum(parameter.numel() for parameter in network.parameters())
    weights = th.as_tensor(rng.standard_normal((4, size)), dtype=th.float32)
    features = th.as_tensor(rng.standard_normal((4 * 6, 3)), dtype=th.float32)
    with th.no_grad():
        together = Population(network, weights)(features)
        for member in range(4):
            nn.utils.vector_to_parameters(weights[member], network.parameters())
            rows = slice(6 * member, 6 * member + 6)
            assert th.allclose(together[rows], network(features[rows]), atol=1e-6)


@pytest.mark.parametrize(("env_id", "reference"), [(CLOSED, "own-pace"), (OPEN, "own-pace+deadlines")])
def test_the_untrained_policy_is_the_rule(env_id, reference):
    settings = settings_of(env_id, reference=reference, rho=100.0)
    policy = policy_of(model_of(settings, env_id=env_id), settings)
    env = make_vec_env(settings, 3, None, seed=5).env
    observation, _ = env.reset(seed=5)
    for _ in range(10):
        action = policy.act(observation)
        assert not action.any()
        order = ms.make_controller(reference, settings.scenario)(env.state)
        assert (env.decode_action(action).draft_length == order.draft_length).all()
        observation, *_ = env.step(action)


def test_all_play_the_same_cases():
    """So networks that decide alike earn the same, to the bit; and others do not."""
    model = model_of()
    own = nn.utils.parameters_to_vector(model._actor.parameters()).detach()
    env = model._trial_env
    earned, steps = model._play(env, Population(model._actor, own.expand(6, -1)))
    assert earned.shape == (6, 2)
    assert (earned == earned[0]).all()
    assert (earned[:, 0] != earned[:, 1]).all()
    assert steps > 6 * 2 * 10
    changed = own + th.as_tensor(np.random.default_rng(0).standard_normal((6, len(own))), dtype=th.float32)
    others, _ = model._play(env, Population(model._actor, changed))
    assert len(np.unique(others[:, 0])) > 1


@pytest.mark.parametrize(
    ("env_id", "action", "arguments", "duration"),
    [(CLOSED, "tuned", {"reference": "own-pace"}, "duration"), (AHEAD, "lengths", {"rho": 90.0}, "round_latency")],
)
def test_what_is_earned_is_reward_over_time(env_id, action, arguments, duration):
    """Against a loop over single steps of one case, from the warm-up to the end."""
    settings = EnvConfig.of(env_id, ms.Scenario.preset("llama2", num_users=4), action=action, **arguments)
    if env_id == AHEAD:
        settings = replace(settings, scenario=settings.scenario.replace(draft_ahead=True, min_draft_length=0))
    model = model_of(settings, env_id=env_id)
    own = th.zeros(sum(parameter.numel() for parameter in model._actor.parameters()))  # acts 0
    earned, _ = model._play(model._trial_env, Population(model._actor, own.expand(6, -1)))
    single = gym.make(env_id, num_users=4, action=action, **arguments)
    for case in range(2):
        single.reset(seed=first_seed(0, 0, 2) + case)
        reward = time = now = 0.0
        while now < model.trial.end:
            _, gained, _, _, info = single.step(np.zeros(single.action_space.shape, np.float32))
            if now >= model.trial.warm_up:
                reward, time = reward + gained, time + info[duration]
            now += info[duration]
        assert earned[0, case] == pytest.approx(reward / time, rel=1e-12)


def test_it_moves_towards_what_earns_more(monkeypatch):
    """With earnings that are a weight, the step raises that weight."""
    model = model_of(agent=EvolutionSettings(pairs=200, cases=2, width=8))
    own = nn.utils.parameters_to_vector(model._actor.parameters()).detach()
    position = len(own) - 1

    def play(env, population):
        last = list(population._weights.values())[-1]
        return np.repeat(last[:, -1:].double().numpy(), 2, -1), 1

    monkeypatch.setattr(model, "_play", play)
    loss, _ = model.loss()
    loss.backward()
    gradient = th.cat([parameter.grad.flatten() for parameter in model._actor.parameters()])
    assert gradient[position] < 0.0  # the optimiser goes down
    assert gradient[position].abs() == gradient.abs().max()


def test_wrong_prices_change_nothing():
    """The order of policies by reward over time is that by tokens over time, so learning is the same to the bit."""
    gradients = []
    for rho in (80.0, 100.0, 120.0):
        model = model_of(settings_of(rho=rho))
        model.policy.features_extractor.forward = masked(model.policy.features_extractor.forward)
        loss, _ = model.loss()
        loss.backward()
        gradients.append(th.cat([parameter.grad.flatten() for parameter in model._actor.parameters()]))
    assert (gradients[0] == gradients[1]).all()
    assert (gradients[1] == gradients[2]).all()


def masked(forward):
    """Features without ρ, which the observation shows."""

    def without(observations):
        shared = observations["shared"].clone()
        shared[:, 4] = 0.0
        return forward({**observations, "shared": shared})

    return without


def test_a_case_without_time_that_counts_is_the_worst():
    """Not a number that is none, which would spoil all weights."""
    model = model_of()
    model.trial = EvolutionSettings(pairs=3, cases=2, warm_up=1e-6, seconds=1e-6)
    loss, _ = model.loss()
    loss.backward()
    assert all((parameter.grad == 0.0).all() for parameter in model._actor.parameters())


def test_ranks():
    assert centred_ranks(np.array([3.0, -1.0, 7.0])).tolist() == [0.0, -0.5, 0.5]
    assert centred_ranks(np.array([1.0, 1.0, 2.0])).tolist() == [-0.25, -0.25, 0.5]
    assert centred_ranks(np.array([4.0, 4.0])).tolist() == [0.0, 0.0]
