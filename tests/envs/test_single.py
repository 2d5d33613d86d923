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
from tests.families import REWARDED, ROUNDS

pytestmark = pytest.mark.usefixtures("quick_prices")

FULL, COMMON = "MultiSpin/Heterogeneous-v0", "MultiSpin/Homogeneous-v0"


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_checkers_of_libraries(env_id):
    """Warnings are errors in all tests; the bounds of actions are wider than [-1, 1] on purpose."""
    env = gym.make(env_id, num_users=3, reward="sampled", render_mode="rgb_array").unwrapped
    check_gymnasium(env)
    with pytest.warns(UserWarning, match="symmetric and normalized Box") as warnings:
        check_sb3(env)
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("env_id", "optimum"),
    [
        (FULL, "optimal"),
        (COMMON, "homogeneous"),
        ("MultiSpin/HiddenAcceptance-v0", None),
        ("MultiSpin/DelayedChannel-v0", None),
    ],
)
def test_rewards_are_priced_with_the_state(env_id, optimum):
    base = gym.make(env_id, num_users=6, optimum=True, action="shares", rounds=9).unwrapped
    base.reset(seed=0)
    controller = ms.make_controller(optimum or "fixed", base.scenario)
    for step in range(8):
        state = base.state
        action = base.action_space.sample() if step % 2 else base.encode_action(controller(state))
        decision = base.decode_action(action)
        outcome = ms.expected_outcome(base.scenario, state, decision)
        _, reward, terminated, truncated, info = base.step(action)
        assert info["goodput"] == pytest.approx(float(outcome.goodput), rel=1e-12)
        assert reward == pytest.approx(info["goodput"] / base.scenario.autoregressive_goodput, rel=1e-12)
        assert (info["draft_length"] == decision.draft_length).all()
        assert info["round_latency"] == pytest.approx(float(outcome.round_latency), rel=1e-12)
        assert info["regret"] == pytest.approx(info["optimal_goodput"] - info["goodput"])
        assert info["regret"] >= -1e-9
        assert step % 2 or optimum is None or info["regret"] < 1e-6 * info["optimal_goodput"]
        assert not terminated
        assert not truncated


@pytest.mark.parametrize("env_id", [env_id for env_id, reward in REWARDED if reward == "share"])
def test_share_is_of_the_optimum_played_instead(env_id):
    env = gym.make(env_id, num_users=4, reward="share", action="shares", rounds=9).unwrapped
    controller = ms.make_controller("homogeneous" if env_id == COMMON else "optimal", env.scenario)
    env.reset(seed=0)
    for _ in range(3):
        best = copy.deepcopy(env).step(env.encode_action(controller(env.state)))[-1]["goodput"]
        _, reward, *_, info = env.step(env.action_space.sample())
        assert reward == pytest.approx(info["goodput"] / best, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "steps", "end"),
    [
        ({"rounds": 1}, 1, (True, False)),
        ({"rounds": 5}, 5, (False, True)),
        ({"rounds": 5, "max_episode_steps": 3}, 3, (False, True)),
    ],
)
@pytest.mark.parametrize("env_id", ROUNDS)
def test_ends_of_episodes(env_id, options, steps, end):
    single, vector = gym.make(env_id, num_users=2, **options), gym.make_vec(env_id, 2, num_users=2, **options)
    for env in (single, vector):
        env.reset(seed=0)
        ends = [env.step(np.zeros(env.action_space.shape, np.float32))[2:4] for _ in range(steps)]
        assert [tuple(map(np.all, step)) for step in ends] == [(False, False)] * (steps - 1) + [end]


def test_devices_change_with_episodes_and_fading_with_rounds():
    env = gym.make(FULL, num_users=3).unwrapped
    for name, call in (
        ("state", lambda: env.state),
        ("observed", lambda: env.observed),
        ("step", lambda: env.step([])),
    ):
        with pytest.raises(RuntimeError, match=rf"^{name}: expected reset\(\) first, got a call before it$"):
            call()
    env.reset(seed=0)
    before = env.state
    env.step(np.zeros((3, 2)))
    assert (env.state.draft_time == before.draft_time).all()
    assert (env.state.spectral_efficiency != before.spectral_efficiency).all()
    env.reset()
    assert (env.state.draft_time != before.draft_time).all()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_copies_and_pickles_play_the_same(env_id, copied):
    single = gym.make(env_id, num_users=3).unwrapped
    vector = gym.make_vec(env_id, num_envs=2, vectorization_mode="vector_entry_point", num_users=3).unwrapped
    for env in (single, vector):
        env.reset(seed=0)
        other = copied(env)
        assert type(other) is type(env) is getattr(import_module(type(env).__module__), type(env).__qualname__)
        assert (env.env_id, type(env).__reduce__) == (env_id, object.__reduce__)
        action = np.zeros(env.action_space.shape, np.float32)
        for step in range(20):
            played = other.step(action.tolist() if step == 0 else action)  # actions may be lists
            assert (np.asarray(env.step(action)[1]) == np.asarray(played[1])).all()
