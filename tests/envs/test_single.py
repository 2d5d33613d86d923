import copy
import pickle
import subprocess
import sys
from importlib import import_module

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3

import multispin_env as ms
from multispin_env.physics.tokens import verification_time
from multispin_env.registry import ENVIRONMENTS
from tests.envs.continuous.played import AHEAD, BLIND, BOTH, HIDDEN, OLD
from tests.families import ENCODED, ON_SERVER, REWARDED

pytestmark = pytest.mark.usefixtures("quick_prices")

IDS = ENVIRONMENTS.names()
FULL = "MultiSpin/Heterogeneous-v0"


def episode(env, seed, rounds=20):
    """Observations and rewards of fixed actions."""
    observation, _ = env.reset(seed=seed)
    actions = np.random.default_rng(99)
    found = [*observation.values()]
    for _ in range(rounds):
        action = actions.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        observation, reward, _, _, info = env.step(action)
        found += [*observation.values(), np.array(reward), *info.values()]
    return np.concatenate([np.ravel(part) for part in found])


CHECKED = (
    *((env_id, {"action": action}) for env_id, action in ENCODED),
    *((env_id, {"reward": reward, "render_mode": "rgb_array"}) for env_id, reward in REWARDED),
    *((env_id, ON_SERVER) for env_id in IDS),
    *((env_id, {"num_users": 3, "rho": 80.0, **hidden}) for env_id in BOTH for hidden in (HIDDEN, OLD, BLIND)),
    *((env_id, {"num_users": 3, **AHEAD, "action": action}) for env_id, action in ENCODED if env_id in BOTH),
)


@pytest.mark.parametrize(("env_id", "options"), CHECKED, ids=str)
def test_both_checkers(env_id, options):
    """Without warnings, which are errors in all tests."""
    env = gym.make(env_id, **options).unwrapped
    check_gymnasium(env, skip_render_check="render_mode" not in options)
    check_sb3(env)


@pytest.mark.parametrize(("env_id", "reward"), REWARDED)
def test_one_seed_one_result(env_id, reward):
    env = gym.make(env_id, reward=reward, num_users=5)
    first = episode(env, 3)
    assert (episode(env, 3) == first).all()
    assert (episode(gym.make(env_id, reward=reward, num_users=5), 3) == first).all()
    assert (episode(env, 4) != first).any()


def test_same_in_another_process():
    code = (
        "import gymnasium as gym, numpy as np;"  # the package comes by the prefix
        f"env = gym.make('multispin_env:{FULL}', num_users=5); env.reset(seed=3);"
        "print(repr(sum(env.step(np.zeros((5, 2), np.float32))[1] for _ in range(9))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    env = gym.make(FULL, num_users=5)
    env.reset(seed=3)
    assert repr(sum(env.step(np.zeros((5, 2), np.float32))[1] for _ in range(9))) == done.stdout.strip()


def test_fading_does_not_depend_on_how_tokens_are_counted():
    states = []
    for reward in ("expected", "sampled"):
        env = gym.make(FULL, reward=reward, num_users=4)
        env.reset(seed=1)
        for _ in range(70 - 6):
            env.step(np.zeros((4, 2), np.float32))
        states.append(env.unwrapped.state.spectral_efficiency)
    assert (states[0] == states[1]).all()


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


def test_sampled_reward_is_drawn_around_the_expected():
    env = gym.make(FULL, num_users=4, reward="sampled", scenario=ms.Scenario.preset("llama2"))
    env.reset(seed=0)
    drawn, expected = [], []
    for _ in range(64):
        action = np.zeros((4, 2), np.float32)
        decision = env.unwrapped.decode_action(action)
        expected.append(float(ms.expected_outcome(env.unwrapped.scenario, env.unwrapped.state, decision).goodput))
        drawn.append(env.step(action)[-1]["goodput"])
    error = np.array(drawn) - expected
    assert error.std() > 0
    assert abs(error.mean()) < 4 * error.std() / 8


def test_a_longer_draft_takes_the_server_longer():
    env = gym.make(FULL, action="lengths", **ON_SERVER).unwrapped
    times = []
    for level in (-1.0, 0.0, 1.0):
        env.reset(seed=1)
        *_, info = env.step(np.full(env.action_space.shape, level, np.float32))
        times.append(float(verification_time(env.scenario, info["draft_length"])))
        assert info["round_latency"] >= times[-1]
    assert times[0] == env.scenario.verification_time  # nobody drafts
    assert times[0] < times[1] < times[2] > 1.2 * times[0]


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


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_user": 3}, TypeError, "got an unexpected keyword argument 'num_user'.*did you mean 'num_users'"),
        (
            {"optimumm": True},
            TypeError,
            "MultiSpin/Heterogeneous-v0: got an unexpected .*'optimumm'.*did you mean 'optimum'",
        ),
        ({"num_users": 0}, ValueError, "num_users: expected an integer ≥ 1, got 0"),
        ({"total_bandwidth": -1.0}, ValueError, r"total_bandwidth: expected a finite number in \(0, inf\), got -1\.0"),
        ({"scenario": "lama2"}, ValueError, "scenario preset: expected one of .*, got 'lama2'; did you mean 'llama2'"),
        ({"action": "share"}, ValueError, r"action: expected one of .*, got 'share'.*did you mean 'shares'"),
        ({"reward": "sample"}, ValueError, r"reward: expected one of .*, got 'sample'.*did you mean 'sampled'"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        gym.make(FULL, **options)


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
