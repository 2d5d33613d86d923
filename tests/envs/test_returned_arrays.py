"""Whatever is handed out is the caller's: written into, it changes nothing that the environment does later."""

from dataclasses import fields

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from multispin_env.registry import ENVIRONMENTS

pytestmark = pytest.mark.usefixtures("quick_prices")

OPTIONS = {"num_users": 3, "reward": "sampled"}
OWN = {  # what fills the infos of each environment most
    "MultiSpin/HiddenAcceptance-v0": {"privileged": True, "history": True, "optimum": True, "mean_rounds": 3},
    "MultiSpin/RecordedAcceptance-v0": {"privileged": True, "history": True, "optimum": True, "mean_rounds": 3},
    "MultiSpin/DelayedChannel-v0": {"privileged": True, "plan_quantile": 0.2, "delay": 2, "optimum": True},
    "MultiSpin/Fair-v0": {},
    "MultiSpin/DraftAhead-v0": {"acceptance": "by-request"},
    "MultiSpin/Continuous-v0": {"horizon": 0.5},
    "MultiSpin/Serving-v0": {"horizon": 3.0, "warm_up": 0.0},
}


def arrays(handed_out):
    """Every array in what an environment returned, however deep."""
    if isinstance(handed_out, dict):
        handed_out = list(handed_out.values())
    if isinstance(handed_out, np.ndarray) and handed_out.dtype != object:
        yield handed_out
    elif isinstance(handed_out, list | tuple | np.ndarray):
        for part in handed_out:
            yield from arrays(part)


def spoilt(handed_out):
    """Write garbage into every array; returns how many there were."""
    found = list(arrays(handed_out))
    for array in found:
        assert array.flags.writeable
        array[...] = True if array.dtype == bool else 7
    return len(found)


def values(batched):
    return [value for field in fields(batched) if (value := getattr(batched, field.name)) is not None]


def options_of(env_id):
    """Arguments under which most is handed out."""
    return {**OPTIONS, "render_mode": "rgb_array", **OWN.get(env_id, {"optimum": True})}


def everything(env, action):
    """What one more round hands out, and what can be asked for then."""
    returned = env.step(action)
    base = env.unwrapped
    decision, seen = base.decode_action(action), base.decode_observation(returned[0])
    return [returned, values(base.state), values(decision), base.encode_action(decision), values(seen)]


def plays_on_unmoved(env, twin, rounds):
    """Play two equal environments, spoil all that one hands out, and compare; returns how much was spoilt."""
    rng, count = np.random.default_rng(0), 0
    for _ in range(rounds):
        action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        own, other = everything(env, action), everything(twin, action)
        mine, theirs = list(arrays(own)), list(arrays(other))
        assert len(mine) == len(theirs)
        assert all(map(np.array_equal, mine, theirs))
        count += spoilt(own)
    pictures = [list(arrays(one.render())) for one in (env, twin)] if env.render_mode else [[], []]
    assert all(map(np.array_equal, *pictures))
    assert (len(pictures[0]) > 0) == bool(env.render_mode)
    return count


def shapes(info):
    return {key: (np.shape(value), np.asarray(value).dtype) for key, value in info.items()}


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_entries_stand_in_the_order_of_their_space(env_id):
    """Whoever joins the values of an observation gets what joining the entries of the space says."""
    env = gym.make(env_id, **options_of(env_id))
    envs = gym.make_vec(env_id, num_envs=2, **options_of(env_id), max_episode_steps=2)
    for one, space in ((env, env.observation_space), (envs, envs.single_observation_space)):
        assert list(one.reset(seed=0)[0]) == list(space) == list(one.observation_space)
        for _ in range(4):
            assert list(one.step(np.zeros(one.action_space.shape, np.float32))[0]) == list(space)
    observations = env.unwrapped.config.observations
    if env.unwrapped.variant.learning.sees_state:
        assert list(observations.encode(env.unwrapped.state)) == list(observations.space)


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_a_reset_tells_what_a_step_tells(env_id):
    """The same entries, of the same shapes and types, all 0; single and vector, whatever its autoreset mode."""
    env = gym.make(env_id, **options_of(env_id))
    _, before = env.reset(seed=0)
    assert shapes(before) == shapes(env.step(np.zeros(env.action_space.shape, np.float32))[-1])
    assert not any(np.any(value) for value in before.values())
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        envs = gym.make_vec(env_id, num_envs=2, autoreset_mode=mode, max_episode_steps=2, **options_of(env_id))
        _, before = envs.reset(seed=0)
        told = shapes(envs.step(np.zeros(envs.action_space.shape, np.float32))[-1])
        assert shapes(before) == told
        for _ in range(4):
            later = envs.step(np.zeros(envs.action_space.shape, np.float32))[-1]
            assert {key: value for key, value in shapes(later).items() if "final" not in key} == told


@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_single_environments_keep_nothing_that_they_hand_out(env_id):
    env, twin = (gym.make(env_id, **options_of(env_id)) for _ in "ab")
    twin.reset(seed=4)
    assert spoilt(env.reset(seed=4)) >= 4
    assert plays_on_unmoved(env, twin, 4) > 4 * 10


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP], ids=lambda mode: mode.value)
@pytest.mark.parametrize("env_id", ENVIRONMENTS.names())
def test_vectors_keep_nothing_that_they_hand_out(env_id, mode):
    """One of two copies truncates before the other, so that ``final_info`` and restarts are met."""
    arguments = {**options_of(env_id), "max_episode_steps": 3, "autoreset_mode": mode}
    env, twin = (gym.make_vec(env_id, num_envs=2, **arguments) for _ in "ab")
    for one in (env, twin):
        one.reset(seed=4)
        returned = one.step(np.zeros(one.action_space.shape, np.float32))
        if one is env:
            spoilt(returned)
    late = {"reset_mask": np.array([False, True])}
    own, other = env.reset(options=late), twin.reset(options=late)
    assert all(map(np.array_equal, arrays(own), arrays(other)))
    assert spoilt(own) >= 4
    assert plays_on_unmoved(env, twin, 7) > 7 * 10
