import gymnasium as gym
import numpy as np
import pytest
import torch as th
from torch import nn

from multispin_agents.evolution import EvolutionSettings, Population, centred_ranks
from multispin_agents.policies import policy_of
from multispin_agents.ppo import SETTINGS as PPO
from multispin_agents.vec_env import NativeVecEnv, first_seed
from multispin_env.envs.config import EnvConfig

CLOSED, OPEN, AHEAD = "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0", "MultiSpin/DraftAhead-v0"
SMALL = EvolutionSettings(pairs=3, cases=2, width=8)


def config_of(env_id=CLOSED, action="tuned", **arguments):
    return EnvConfig.of(env_id, action=action, num_users=4, **arguments)


def model_of(agent=SMALL, config=None):
    config = config or config_of(reference="own-pace")
    env = NativeVecEnv.of(config, agent.num_envs, seed=0)
    return agent.for_environment(config).build(env, lambda progress: progress, seed=0, device="cpu")


def weights_of(model):
    return nn.utils.parameters_to_vector(model._actor.parameters()).detach()


def gradient_of(model):
    loss, _ = model.loss()
    loss.backward()
    return th.cat([parameter.grad.flatten() for parameter in model._actor.parameters()])


def test_a_population_is_its_networks_one_by_one(rng):
    network = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2))
    size = sum(parameter.numel() for parameter in network.parameters())
    weights = th.as_tensor(rng.standard_normal((4, size)), dtype=th.float32)
    features = th.as_tensor(rng.standard_normal((4 * 6, 3)), dtype=th.float32)
    with th.no_grad():
        together = Population(network, weights)(features)
        for member, rows in zip(weights, th.arange(24).reshape(4, 6), strict=True):
            nn.utils.vector_to_parameters(member, network.parameters())
            assert th.allclose(together[rows], network(features[rows]), atol=1e-6)


@pytest.mark.parametrize("agent", [SMALL, PPO])
@pytest.mark.parametrize(("env_id", "reference"), [(CLOSED, "own-pace"), (OPEN, "own-pace+deadlines")])
def test_untrained_policies_play_zero_actions(agent, env_id, reference):
    config = config_of(env_id, "tuned" if agent is SMALL else "residual", reference=reference, rho=100.0)
    env = NativeVecEnv.of(config, 3, seed=5)
    assert not policy_of(model_of(agent, config), config).act(env.reset()).any()


def test_all_play_the_same_cases():
    """Equal networks have equal reward rates, to the bit; different ones do not."""
    model = model_of()
    weights, env = weights_of(model).expand(6, -1), model._trial_env
    rates, steps = model._play(env, Population(model._actor, weights))
    assert rates.shape == (6, 2)
    assert (rates == rates[0]).all()
    assert (rates[:, 0] != rates[:, 1]).all()
    assert steps > 6 * 2 * 10
    noise = th.randn(weights.shape, generator=th.Generator().manual_seed(0))
    others, _ = model._play(env, Population(model._actor, weights + noise))
    assert len(np.unique(others[:, 0])) > 1


@pytest.mark.parametrize(
    ("env_id", "action", "arguments", "duration"),
    [(CLOSED, "tuned", {"reference": "own-pace"}, "duration"), (AHEAD, "lengths", {"rho": 90.0}, "round_latency")],
)
def test_rates_are_reward_over_time(env_id, action, arguments, duration):
    """Against a loop over single steps of one case, from the warm-up to the end."""
    model = model_of(config=config_of(env_id, action, **arguments))
    zeros = th.zeros_like(weights_of(model))  # all actions are 0
    rates, _ = model._play(model._trial_env, Population(model._actor, zeros.expand(6, -1)))
    single = gym.make(env_id, num_users=4, action=action, **arguments)
    for case in range(2):
        single.reset(seed=first_seed(0, 0, 2) + case)
        reward = time = now = 0.0
        while now < model.trial.end:
            _, step_reward, _, _, info = single.step(np.zeros(single.action_space.shape, np.float32))
            if now >= model.trial.warm_up:
                reward, time = reward + step_reward, time + info[duration]
            now += info[duration]
        assert rates[0, case] == pytest.approx(reward / time, rel=1e-12)


def test_it_moves_towards_higher_rates(monkeypatch):
    """With one weight as the rate, the step raises that weight."""
    model = model_of(EvolutionSettings(pairs=200, cases=2, width=8))

    def play(env, population):
        last = list(population._weights.values())[-1]
        return np.repeat(last[:, -1:].double().numpy(), 2, -1), 1

    monkeypatch.setattr(model, "_play", play)
    gradient = gradient_of(model)
    assert gradient[-1] < 0.0  # the optimiser minimises
    assert gradient[-1].abs() == gradient.abs().max()


def test_wrong_prices_change_nothing():
    """Policies have the same order by reward over time and by tokens over time, so learning is the same to the bit."""
    gradients = []
    for rho in (80.0, 100.0, 120.0):
        model = model_of(config=config_of(reference="own-pace", rho=rho))
        model.policy.features_extractor.forward = without_price(model.policy.features_extractor.forward)
        gradients.append(gradient_of(model).tolist())
    assert gradients == [gradients[0]] * 3


def without_price(forward):
    def masked(observations):
        shared = observations["shared"].clone()
        shared[:, 4] = 0.0
        return forward({**observations, "shared": shared})

    return masked


def test_cases_without_counted_time_give_no_gradient():
    model = model_of()
    model.trial = EvolutionSettings(pairs=3, cases=2, warm_up=1e-6, seconds=1e-6)
    assert not gradient_of(model).any()


@pytest.mark.parametrize(
    ("values", "ranks"), [((3, -1, 7), [0.0, -0.5, 0.5]), ((1, 1, 2), [-0.25, -0.25, 0.5]), ((4, 4), [0.0, 0.0])]
)
def test_ranks(values, ranks):
    assert centred_ranks(np.array(values)).tolist() == ranks
