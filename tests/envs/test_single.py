import copy
import pickle
from importlib import import_module

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3

import multispin_env as ms
from multispin_env.registry import ENVIRONMENTS

pytestmark = pytest.mark.usefixtures("quick_prices")

IDS = ENVIRONMENTS.names()
FULL = "MultiSpin/Heterogeneous-v0"


@pytest.mark.parametrize("env_id", [FULL, "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0"])
def test_both_checkers(env_id):
    """Once a family, and with requests, without warnings, which are errors in all tests; pictures are looked at too."""
    env = gym.make(env_id, num_users=3, reward="sampled", render_mode="rgb_array").unwrapped
    check_gymnasium(env)
    check_sb3(env)


@pytest.mark.parametrize("env_id", [*IDS[:3], "MultiSpin/DelayedChannel-v0"])
def test_state_observed_is_the_state_that_prices(env_id):
    env = gym.make(env_id, num_users=6, optimum=True)
    env.reset(seed=0)
    base = env.unwrapped
    for _ in range(5):
        state = base.state
        action = env.action_space.sample()
        decision = base.decode_action(action)
        outcome = ms.expected_outcome(base.scenario, state, decision)
        _, reward, terminated, _, info = env.step(action)
        assert info["goodput"] == pytest.approx(float(outcome.goodput), rel=1e-12)
        assert reward == pytest.approx(info["goodput"] / base.scenario.autoregressive_goodput, rel=1e-12)
        assert (info["draft_length"] == decision.draft_length).all()
        assert info["round_latency"] == pytest.approx(float(outcome.round_latency), rel=1e-12)
        assert info["regret"] == pytest.approx(info["optimal_goodput"] - info["goodput"])
        assert info["regret"] >= -1e-9
        assert not terminated


@pytest.mark.parametrize(("env_id", "name"), [(FULL, "optimal"), (IDS[0], "homogeneous")])
def test_the_optimum_has_no_regret_through_step(env_id, name):
    env = gym.make(env_id, num_users=6, optimum=True)
    env.reset(seed=2)
    controller = ms.make_controller(name, env.unwrapped.scenario)
    for _ in range(5):
        info = env.step(env.unwrapped.encode_action(controller(env.unwrapped.state)))[-1]
        assert abs(info["regret"]) < 1e-6 * info["optimal_goodput"]


def test_episodes_truncate():
    for steps, options in ((64, {}), (10, {"max_episode_steps": 10})):
        env = gym.make(FULL, num_users=2, **options)
        env.reset(seed=0)
        ends = [env.step(np.zeros((2, 2), np.float32))[2:4] for _ in range(steps)]
        assert ends == [(False, False)] * (steps - 1) + [(False, True)]


def test_devices_stay_for_an_episode_and_fading_does_not():
    env = gym.make(FULL, num_users=3).unwrapped
    env.reset(seed=0)
    before = env.state
    env.step(np.zeros((3, 2)))
    assert (env.state.draft_time == before.draft_time).all()
    assert (env.state.spectral_efficiency != before.spectral_efficiency).all()
    env.reset()
    assert (env.state.draft_time != before.draft_time).all()


def test_a_specification_goes_through_json():
    scenario = ms.Scenario.preset("qwen3.5", server="a100-32b", num_users=3)
    env = gym.make("MultiSpin/Serving-v0", scenario=scenario, load=(0.3, 0.9), arrivals="gamma")
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.config == env.unwrapped.config


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_copies_and_pickles_go_on_alike(env_id, copied):
    single = gym.make(env_id, num_users=3).unwrapped
    vector = gym.make_vec(env_id, num_envs=2, vectorization_mode="vector_entry_point", num_users=3).unwrapped
    for env in (single, vector):
        env.reset(seed=0)
        other = copied(env)
        assert type(other) is type(env) is getattr(import_module(type(env).__module__), type(env).__qualname__)
        assert (type(env).env_id, type(env).__reduce__) == (env_id, object.__reduce__)
        action = np.zeros(env.action_space.shape, np.float32)
        for _ in range(20):
            assert (np.asarray(env.step(action)[1]) == np.asarray(other.step(action)[1])).all()


def test_there_is_no_state_before_reset():
    env = gym.make(FULL).unwrapped
    calls = {"state": lambda: env.state, "observed": lambda: env.observed, "step": lambda: env.step([])}
    for what, call in calls.items():
        with pytest.raises(RuntimeError, match=rf"^{what}: expected reset\(\) first, got a call before it$"):
            call()
    env.reset(seed=0)
    assert env.state.draft_time.min() > 0.0


def test_an_action_may_be_a_list():
    one, other = (gym.make(FULL, num_users=3).unwrapped for _ in range(2))
    one.reset(seed=0)
    other.reset(seed=0)
    action = np.linspace(-0.5, 0.5, 6, dtype=np.float32).reshape(3, 2)
    assert one.step(action)[1] == other.step(action.tolist())[1]
