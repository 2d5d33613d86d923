"""Returned arrays belong to the caller: writing into them does not change the environment."""

from dataclasses import fields

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from multispin_env.registry import ENVIRONMENTS

pytestmark = pytest.mark.usefixtures("quick_prices")

ARGUMENTS = {  # with the most entries of info
    "MultiSpin/HiddenAcceptance-v0": {"privileged": True, "history": True, "optimum": True, "mean_rounds": 3},
    "MultiSpin/RecordedAcceptance-v0": {"privileged": True, "history": True, "optimum": True, "mean_rounds": 3},
    "MultiSpin/DelayedChannel-v0": {"privileged": True, "plan_quantile": 0.2, "delay": 2, "optimum": True},
    "MultiSpin/Fair-v0": {},
    "MultiSpin/DraftAhead-v0": {"acceptance": "by-request"},
    "MultiSpin/Energy-v0": {"rounds": 9, "regret": True},
    "MultiSpin/Continuous-v0": {"horizon": 0.5, "acceptance_visible": False},
    "MultiSpin/Serving-v0": {"horizon": 3.0, "warm_up": 0.0},
}
MODES = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
every_id = pytest.mark.parametrize("env_id", ENVIRONMENTS.names())


def make(env_id, mode=None, max_episode_steps=2):
    options = {"num_users": 3, "reward": "sampled", "render_mode": "rgb_array"}
    options |= ARGUMENTS.get(env_id, {"optimum": True, "rounds": 9})
    if mode is None:
        return gym.make(env_id, **options)
    return gym.make_vec(env_id, 2, autoreset_mode=mode, max_episode_steps=max_episode_steps, **options)


def zero(env):
    return np.zeros(env.action_space.shape, np.float32)


def arrays(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, np.ndarray) and value.dtype != object:
        yield value
    elif isinstance(value, list | tuple | np.ndarray):
        for part in value:
            yield from arrays(part)


def overwrite(value):
    """Write garbage into every array; return their number."""
    written = list(arrays(value))
    for array in written:
        assert array.flags.writeable
        array[...] = True if array.dtype == bool else 7
    return len(written)


def values(batched):
    return [value for field in fields(batched) if (value := getattr(batched, field.name)) is not None]


def play_and_overwrite(env, twin, rounds):
    """Play two equal environments, overwrite all results of one of them, and compare; return the number of arrays."""
    rng, count = np.random.default_rng(0), 0
    for _ in range(rounds):
        action = rng.uniform(-5.0, 5.0, env.action_space.shape).astype(np.float32)
        results = []
        for base in (env, twin):
            step = base.step(action)
            base = base.unwrapped
            decision, state = base.decode_action(action), base.decode_observation(step[0])
            results.append([step, values(base.state), values(decision), base.encode_action(decision), values(state)])
        ours, theirs = (list(arrays(result)) for result in results)
        assert len(ours) == len(theirs)
        assert all(map(np.array_equal, ours, theirs))
        count += overwrite(results[0])
        observed = [base.unwrapped.observed for base in (env, twin)]
        shown = [arrays(values(getattr(seen, "system", seen))) for seen in observed]
        assert all(map(np.array_equal, *shown))
    ours, theirs = (list(arrays(base.render())) for base in (env, twin))
    assert ours
    assert all(map(np.array_equal, ours, theirs))
    return count


@every_id
def test_keys_of_a_reset_and_a_step(env_id):
    """Entries of observations are in the order of the space; those of info are the same after a reset and a step."""

    def shapes(info):
        return {key: (np.shape(x), np.asarray(x).dtype) for key, x in info.items() if "final" not in key}

    for mode in (None, *MODES):
        env = make(env_id, mode)
        observation, before = env.reset(seed=0)
        base = env.unwrapped
        space = list(base.config.observations.space)
        assert list(observation) == space == list(env.observation_space)
        assert mode or not any(np.any(value) for value in before.values())
        for _ in range(5):
            observation, *_, info = env.step(zero(env))
            assert list(observation) == space
            assert shapes(info) == shapes(before)
        if base.config.sees_state:
            assert list(base.config.observations.encode(base.state)) == space


@pytest.mark.parametrize("mode", [None, *MODES], ids=str)
@every_id
def test_environments_keep_no_returned_array(env_id, mode):
    """One of two environments of a vector truncates first, with ``final_info`` and restarts."""
    env, twin = (make(env_id, mode, 3) for _ in "ab")
    twin.reset(seed=4)
    assert overwrite(env.reset(seed=4)) >= 4
    if mode is not None:
        assert overwrite(env.step(zero(env))) >= 4
        twin.step(zero(twin))
        ours, theirs = (base.reset(options={"reset_mask": np.array([False, True])}) for base in (env, twin))
        assert all(map(np.array_equal, arrays(ours), arrays(theirs)))
        assert overwrite(ours) >= 4
    rounds = 4 if mode is None else 7
    assert play_and_overwrite(env, twin, rounds) > rounds * 10
