"""PettingZoo environments: PettingZoo's own tests, and equality with the vector by device."""

import sys
import warnings
from importlib import import_module

import gymnasium as gym
import numpy as np
import pytest

from multispin_env.registry import ENVIRONMENTS

pytest.importorskip("pettingzoo")

with warnings.catch_warnings():  # of games that PettingZoo's tests import
    warnings.simplefilter("ignore")
    from pettingzoo.test import parallel_api_test, parallel_seed_test

from multispin_env.parallel import parallel_env
from multispin_env.wrappers import by_device
from tests.families import LONG

pytestmark = pytest.mark.usefixtures("quick_prices")

FULL = "MultiSpin/Heterogeneous-v0"


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_pettingzoo_has_nothing_against_it(env_id, capsys):
    options = {"num_users": 3, "max_episode_steps": 20, **LONG[env_id]}
    parallel_api_test(parallel_env(env_id, **options), num_cycles=45)
    parallel_seed_test(lambda: parallel_env(env_id, **options), num_cycles=5)
    assert capsys.readouterr().out == "Passed Parallel API test\n"


def test_names_have_the_form_of_pettingzoo():
    for env_id, name in (("MultiSpin/HiddenAcceptance-v0", "hidden_acceptance_v0"), ("MultiSpin/Fair-v0", "fair_v0")):
        assert parallel_env(env_id, num_users=2).metadata["name"] == name


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_it_is_one_copy_of_the_vector_by_device(env_id):
    options = {"num_users": 4, "max_episode_steps": 3, **LONG[env_id]}
    env, envs = parallel_env(env_id, **options), by_device(gym.make_vec(env_id, num_envs=1, **options))
    agents = ["user_0", "user_1", "user_2", "user_3"]
    (seen, info), (rows, infos) = env.reset(seed=9), envs.reset(seed=9)
    assert env.observation_space("user_0") == envs.single_observation_space
    assert env.action_space("user_3") == envs.single_action_space
    rng = np.random.default_rng(0)
    for step in range(3):
        assert list(seen) == list(info) == env.agents == agents
        assert (np.stack(list(seen.values())) == rows).all()
        assert (env.state() == envs.state()[0]).all()
        assert env.state_space.contains(env.state())
        assert all(info["user_2"][key] == infos[key][2] for key in info["user_2"])
        action = rng.uniform(-5.0, 5.0, envs.action_space.shape).astype(np.float32)
        seen, rewards, terminated, truncated, info = env.step(dict(zip(agents, action, strict=True)))
        rows, reward, *_, infos = envs.step(action)
        assert list(rewards.values()) == reward.tolist()
        assert set(terminated.values()) == {False}
        assert set(truncated.values()) == {step == 2}
    assert env.agents == []


def test_wrong_use_and_pictures():
    with pytest.raises(ValueError, match=r"^env: expected one of .*, got 'MultiSpin/Fare-v0'; did you mean"):
        parallel_env("MultiSpin/Fare-v0")
    env = parallel_env(FULL, num_users=3, render_mode="rgb_array")
    with pytest.raises(RuntimeError, match=r"^state: expected reset\(\) first, got a call before it$"):
        env.state()
    with pytest.raises(RuntimeError, match=r"^step: expected reset\(\) first, got a call without a running episode$"):
        env.step({})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"^actions: expected one for each of 3 agents, got none for \['user_1', 'us"):
        env.step({"user_0": np.zeros(2, np.float32)})
    assert env.render().shape == (450, 800, 3)
    env.close()


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    monkeypatch.delitem(sys.modules, "multispin_env.parallel")
    with pytest.raises(ModuleNotFoundError, match=r"'pettingzoo' is missing; .*\"multispin_env\[marl\]\""):
        import_module("multispin_env.parallel")
