import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import flatten_space
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import FlattenObservation

import multispin_env as ms
from multispin_env.envs.actions import LIMIT
from multispin_env.evaluation.cases import StateCases
from multispin_env.registry import ENVIRONMENTS
from multispin_env.wrappers import by_device, flat_vector
from tests.families import LONG

pytestmark = pytest.mark.usefixtures("quick_prices")

IDS = ENVIRONMENTS.names()
FULL = "MultiSpin/Heterogeneous-v0"


def vector(env_id=FULL, num_envs=3, **options):
    return gym.make_vec(env_id, num_envs=num_envs, num_users=4, **options)


def actions(rng, space):
    return rng.uniform(-LIMIT, LIMIT, space.shape).astype(np.float32)


@pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("env_id", IDS)
def test_a_flat_vector_is_what_gymnasium_flattens(env_id, mode):
    options = {"max_episode_steps": 3, **LONG[env_id]}
    envs = flat_vector(vector(env_id, autoreset_mode=mode, **options))
    singles = [FlattenObservation(gym.make(env_id, num_users=4, **options)) for _ in range(3)]
    assert envs.single_observation_space == singles[0].observation_space
    assert envs.single_action_space == flatten_space(singles[0].action_space)
    rng = np.random.default_rng(0)
    seen = envs.reset(seed=5)[0]
    assert (seen == [env.reset(seed=5 + i)[0] for i, env in enumerate(singles)]).all()
    for _ in range(3):
        assert envs.observation_space.contains(seen)
        played = actions(rng, envs.action_space)
        seen, reward, _, truncated, infos = envs.step(played)
        steps = [env.step(action.reshape(4, -1)) for env, action in zip(singles, played, strict=True)]
        last = [np.stack([step[0] for step in steps]), seen]
        if mode is AutoresetMode.SAME_STEP and truncated.any():
            last[1] = np.stack(infos["final_obs"])
        assert (last[0] == last[1]).all()
        assert (reward == [step[1] for step in steps]).all()
    assert truncated.all()


def test_wrong_use():
    with pytest.raises(ValueError, match=r"^env: expected a vector environment of multispin_env, "):
        flat_vector(gym.make_vec("CartPole-v1", num_envs=2))
    with pytest.raises(ValueError, match=r"^env: expected an environment whose metric .*, got 'MultiSpin/Fair-v0'"):
        flat_vector(vector("MultiSpin/Fair-v0")).share_of_best(lambda observation: np.zeros((len(observation), 8)), 2)
    with pytest.raises(RuntimeError, match=r"^state: expected reset\(\) first, got a call before it$"):
        by_device(vector()).state()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
def test_copies_go_on_alike(copied):
    for envs in (flat_vector(vector()), by_device(vector())):
        envs.reset(seed=0)
        twin = copied(envs)
        action = np.zeros(envs.action_space.shape, np.float32)
        for _ in range(2):
            assert all(np.array_equal(*pair) for pair in zip(envs.step(action)[:2], twin.step(action)[:2], strict=True))


@pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("env_id", IDS)
def test_devices_see_their_own_numbers_and_what_is_shared(env_id, mode):
    options = {"max_episode_steps": 2, "autoreset_mode": mode, **LONG[env_id]}
    envs, twin = by_device(vector(env_id, **options)), vector(env_id, **options)
    seen, (observation, _) = envs.reset(seed=2)[0], twin.reset(seed=2)
    assert seen.dtype == np.float32
    rng = np.random.default_rng(0)
    for _ in range(2):
        assert envs.observation_space.contains(seen)
        assert (envs.state() == np.concatenate(list(observation.values()), -1)).all()
        second = {key: entry[1] for key, entry in observation.items()}
        assert all((seen[5, envs.positions[key]] == entry_of(second, key, 1)).all() for key in second)
        played = actions(rng, envs.action_space)
        seen, reward, terminated, truncated, infos = envs.step(played)
        observation, rewards, *ends, info = twin.step(played.reshape(twin.action_space.shape))
        assert (reward.reshape(3, 4) == rewards[:, None]).all()
        assert (truncated.reshape(3, 4) == ends[1][:, None]).all()
        assert not terminated.any()
        length, time = "draft_length", twin.unwrapped.config.info_keys.time
        assert (infos[length].reshape(3, 4) == info[length]).all()
        assert (infos[time].reshape(3, 4) == info[time][:, None]).all()
    assert truncated.all()
    if mode is AutoresetMode.SAME_STEP:
        last = info["final_obs"][1]
        assert all((infos["final_obs"][5][envs.positions[key]] == entry_of(last, key, 1)).all() for key in last)
        assert (infos["final_info"][length].reshape(3, 4) == info["final_info"][length]).all()
    elif mode is AutoresetMode.DISABLED:
        fresh, _ = envs.reset(options={"reset_mask": truncated})
        assert (fresh != seen).any()


def entry_of(observation, key, user):
    entry = observation[key]
    return entry if key == "shared" else entry.reshape(4, -1)[user]


@pytest.mark.parametrize("wrapped", [flat_vector, by_device])
def test_a_function_of_arrays_decides_as_in_the_environment(wrapped, rng):
    envs = wrapped(vector(action="lengths"))
    size, columns = (space.shape[-1] for space in (envs.observation_space, envs.action_space))
    weights = rng.normal(size=(size, columns)).astype(np.float32)
    act = lambda observation: 3.0 * np.tanh(observation @ weights)  # noqa: E731 (as a user would write it)
    seen, base = envs.reset(seed=0)[0], envs.unwrapped
    expected = base.decode_action(act(seen).reshape(base.action_space.shape))
    decision = envs.policy(act)(base.state)
    assert (decision.draft_length == expected.draft_length).all()
    assert decision.bandwidth == pytest.approx(expected.bandwidth, rel=1e-4)
    states = StateCases.draw(base.scenario, 20).state
    reached, best = (
        ms.expected_outcome(base.scenario, states, decide(states)).goodput.mean()
        for decide in (envs.policy(act), ms.make_controller("optimal", base.scenario))
    )
    assert envs.share_of_best(act, 20) == pytest.approx(reached / best, rel=1e-6)
