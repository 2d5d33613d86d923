from dataclasses import replace

import pytest
import torch as th
from stable_baselines3.common.logger import configure

from multispin_agents import AGENTS
from multispin_agents.checkpoints import CHECKPOINT, Checkpoint, load_checkpoint, save_checkpoint
from multispin_agents.vec_env import NativeVecEnv
from multispin_env.envs.config import EnvConfig

FULL, FAIR, CONTINUOUS = "MultiSpin/Heterogeneous-v0", "MultiSpin/Fair-v0", "MultiSpin/Continuous-v0"

AGENT = {  # environment, small settings, steps of half a training; the last word is the agent
    "ppo": (FULL, {"rollout_rounds": 4, "batch_size": 8}, 16),
    "timed ppo": (CONTINUOUS, {"batch_size": 8}, 48),  # with its own rate
    "apg": (FAIR, {"users": (2,)}, 40),  # with a second network and its optimiser
}


def config_of(name):
    env_id = AGENT[name][0]
    arguments = {"action": "residual"} if env_id == CONTINUOUS else {"action": "lengths", "rounds": 8}
    return EnvConfig.of(env_id, num_users=3, **arguments)


def vector(name, seed):
    return NativeVecEnv.of(config_of(name), 4, seed)


def built(name, seed):
    settings = AGENTS.load(name.split()[-1]).for_environment(config_of(name))
    model = replace(settings, num_envs=4, **AGENT[name][1]).build(vector(name, seed), lambda x: x, seed, "cpu")
    model.set_logger(configure(None, []))
    return model


def second_half(model, name):
    model.set_env(vector(name, 5))
    model.__dict__.pop("_plays", None)  # of apg, with the episodes before
    model.seed = 7
    model.set_random_seed(7)
    model.learn(AGENT[name][2], reset_num_timesteps=False)
    return model


def weights(model):
    return {name: state for name, state in model.get_parameters().items() if ".optimizer" not in name}


def check_equal(first, second):
    th.testing.assert_close(first, second, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("name", AGENT)
def test_a_resumed_model_learns_as_if_it_had_not_stopped(name, tmp_path):
    model = built(name, 1)
    model.learn(AGENT[name][2])
    save_checkpoint(tmp_path / CHECKPOINT, Checkpoint.of(model, 2.5, 0.75))
    loaded, counters = load_checkpoint(tmp_path), (model.num_timesteps, model._n_updates)
    assert (loaded.num_timesteps, loaded.updates, loaded.seconds, loaded.score) == (*counters, 2.5, 0.75)
    check_equal(loaded.parameters, model.get_parameters())
    resumed = built(name, 2)
    loaded.restore(resumed)
    check_equal(weights(resumed), weights(model))
    expected = weights(second_half(model, name))
    check_equal(weights(second_half(resumed, name)), expected)
    assert (resumed.num_timesteps, resumed._n_updates) == (model.num_timesteps, model._n_updates)
