import copy
import itertools
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as wrappers

import multispin_env as ms
from multispin_env.envs.rounds.known import Heterogeneous
from multispin_env.registry import ENCODINGS, ENVIRONMENTS
from tests.alike import equal
from tests.envs.continuous.played import AHEAD, BOTH, FAST, HIDDEN, OLD, SERVING
from tests.families import DEFAULTS, ENCODED, ON_SERVER, ROUNDS
from tests.refusals import refusals

pytestmark = pytest.mark.usefixtures("quick_prices")

FULL, ENERGY = "MultiSpin/Heterogeneous-v0", "MultiSpin/Energy-v0"


def make(env_id=FULL, num_envs=3, **options):
    options = {"num_users": 4, **options}
    return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **options)


@pytest.fixture
def few_rows(monkeypatch):
    """Random numbers are drawn for eight steps or three episodes at a time."""
    monkeypatch.setattr("multispin_env.physics.streams.MOST_ROWS", 8)
    for room in ("envs.rounds.simulator", "physics.continuous.core"):
        monkeypatch.setattr(f"multispin_env.{room}.EPISODES", 3)


LARGE = ((24, 1), (9, 70))
"""Numbers of environments and devices. NumPy reduces large arrays in another order."""

TWINS = (
    *((env_id, {"num_users": 4, "action": action}) for env_id, action in ENCODED if action != DEFAULTS[env_id].action),
    *((env_id, ON_SERVER) for env_id in ENVIRONMENTS.names()),
    (ENERGY, {"num_users": 4, "reward": "expected", "regret": True, "battery_rounds": 0.3}),
    (ENERGY, {"num_users": 4, "budget_time": 0.9}),
    (FULL, {"num_users": 4, "optimum": True, "reward": "expected"}),
    *(
        (FULL, {"num_envs": size, "num_users": users, "action": name, "reward": "expected"})
        for size, users in LARGE
        for name in ENCODINGS.names()
    ),
    *((env_id, {"num_users": 3, **FAST[env_id], **HIDDEN, **OLD}) for env_id in BOTH),
    (SERVING, {"num_users": 3, "action": "full", **FAST[SERVING], **HIDDEN, **OLD}),
    *((env_id, {"num_users": 3, "action": action, **AHEAD}) for env_id, action in ENCODED if env_id in BOTH),
)


NEXT_STEP, SAME_STEP, DISABLED = AutoresetMode
MODES = (
    *((mode, *twin) for twin, mode in zip(TWINS, itertools.cycle((NEXT_STEP, SAME_STEP)), strict=False)),
    *((mode, env_id, {"num_users": 4}) for env_id in ENVIRONMENTS.names() for mode in AutoresetMode),
    *((mode, env_id, {"num_users": 4, "rounds": 1}) for env_id in ROUNDS for mode in AutoresetMode),
)


@pytest.mark.parametrize(("mode", "env_id", "options"), MODES, ids=str)
def test_native_vector_equals_single_environments_bit_for_bit(mode, env_id, options, few_rows):
    """All episodes end at once, and after resets at different times."""
    short = {"rounds": 5} if env_id in ROUNDS else {"max_episode_steps": 5}
    options = {"num_envs": 3, "reward": "sampled", **short, **options}
    n, vector = options["num_envs"], {"autoreset_mode": mode}
    native = gym.make_vec(env_id, vectorization_mode="vector_entry_point", **vector, **options)
    sync = gym.make_vec(env_id, vectorization_mode="sync", vector_kwargs=vector, **options)
    seeds = [7, 3, 11, *range(20, 17 + n)]
    assert equal(native.reset(seed=seeds), sync.reset(seed=seeds))
    rng = np.random.default_rng(0)
    ends = []
    for t in range(18):
        if t in (7, 11, 15):
            masked = {"seed": [t if i == 1 else None for i in range(n)]}
            masked["options"] = {"reset_mask": np.arange(n) % 3 == t % 3}
            assert equal(*(env.reset(**masked) for env in (native, sync)))
        action = rng.uniform(-5.0, 5.0, native.action_space.shape).astype(np.float32)
        before = action.copy()
        step, expected = native.step(action), sync.step(action)
        assert all(map(equal, step, expected))
        assert (action == before).all()
        ends.append(step[2] | step[3])
        if mode is DISABLED and ends[-1].any():
            assert equal(*(env.reset(options={"reset_mask": ends[-1]}) for env in (native, sync)))
    ends = np.array(ends)
    assert ends.any(0).all()
    apart = options.get("rounds") != 1 or mode is NEXT_STEP
    assert (ends.any(1) == ends.all(1)).all() != apart


def test_spaces_and_wrappers_of_gymnasium():
    env = make(num_envs=6)
    assert env.observation_space.contains(env.reset(seed=0)[0])
    assert env.single_observation_space == gym.make(FULL, num_users=4).observation_space
    assert env.action_space.shape == (6, 4, 2)
    observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation)
    assert (reward.dtype, terminated.dtype, truncated.dtype) == (np.float64, bool, bool)
    modes = (env.metadata["autoreset_mode"], make(autoreset_mode="SameStep").metadata["autoreset_mode"])
    assert modes == (NEXT_STEP, SAME_STEP)
    env = wrappers.DictInfoToList(wrappers.RecordEpisodeStatistics(wrappers.NormalizeReward(make(rounds=5))))
    env.reset(seed=0)
    infos = [env.step(np.zeros((3, 4, 2), np.float32))[-1] for _ in range(5)][-1]
    assert infos[2]["episode"]["l"] == 5
    assert infos[2]["accepted_tokens"].shape == (4,)
    flat = wrappers.NormalizeObservation(wrappers.FlattenObservation(make()))
    assert flat.reset(seed=0)[0].shape == (3, 15)


def test_steps_need_a_reset_at_first_and_after_the_end_without_autoreset():
    env, action = make(num_envs=7, autoreset_mode=AutoresetMode.DISABLED, rounds=2), np.zeros((7, 4, 2), np.float32)
    for name, call in (("step", lambda: env.step(action)), ("state", lambda: env.unwrapped.state)):
        words = rf"{name}: expected reset\(\) first, got a call before the reset of environments \[0, 1, 2, 3, 4\]"
        with pytest.raises(RuntimeError, match=words):
            call()
    env.reset(options={"reset_mask": np.arange(7) != 1})
    with pytest.raises(RuntimeError, match=r"before the reset of environments \[1\]$"):
        env.step(action)
    env.reset(seed=0)
    env.step(action)
    env.reset(options={"reset_mask": np.arange(7) == 3})
    assert env.step(action)[3].tolist() == [True] * 3 + [False] + [True] * 3
    with pytest.raises(RuntimeError, match=r"got ended episodes \[0, 1, 2, 4, 5\]$"):  # the first five
        env.step(action)
    env.reset(options={"reset_mask": np.arange(7) != 3})
    env.step(action)


def test_bad_and_ignored_actions():
    env, twin = make(), make()
    env.reset(seed=0)
    twin.reset(seed=0)
    bad = np.zeros((3, 4, 2), np.float32)
    bad[1, 2, 0] = np.nan
    with pytest.raises(ValueError, match=r"action\[1, 2, 0\]: expected numbers in \[-5, 5\], got nan"):
        env.step(bad)
    with pytest.raises(ValueError, match=r"action: expected shape \(3, 4, 2\), got \(2, 4, 2\)"):
        env.step(np.zeros((2, 4, 2)))
    good = np.full((3, 4, 2), 0.3, np.float32)
    assert all(map(equal, env.step(good), twin.step(good)))
    _, reward, _, truncated, info = env.step(np.full((3, 4, 2), np.nan, np.float32))  # all restart
    assert not reward.any()
    assert not truncated.any()
    assert not any(value.any() for key, value in info.items() if not key.startswith("_"))


MASK = r"reset_mask: expected a bool array of shape \(3,\) with at least one True, got "


test_refusals = refusals(
    (lambda: make().reset(seed=[1, 2]), r"seed: expected one seed for each environment \(3\), got 2"),
    (lambda: make().reset(seed=-1), "seed: expected an integer ≥ 0, got -1"),
    (lambda: make().reset(seed=[1, 2.5, 3]), r"seed\[1\]: expected an integer ≥ 0, got 2\.5"),
    *(
        (lambda mask=mask: make().reset(options={"reset_mask": mask}), MASK)
        for mask in (np.ones(2, bool), np.zeros(3, bool), [True, True, True])
    ),
    (lambda: make(num_envs=0), "num_envs: expected an integer ≥ 1, got 0"),
    (lambda: make(max_episode_steps=0), "max_episode_steps: expected an integer ≥ 1, got 0"),
    (lambda: make(autoreset_mode="Never"), r"autoreset_mode: expected one of \['NextStep', .*\], got 'Never'"),
    (lambda: make(copy="yes"), "copy: expected True or False, got 'yes'"),
    (lambda: make(render_mode="human"), r"render_mode: expected one of \['rgb_array'\], got 'human'"),
    (lambda: ms.envs.unregister_environment("Mine/Brief-v0"), "Mine/Brief-v0"),
    (lambda: ms.register_environment(ENVIRONMENTS.load(FULL)), FULL),
    (lambda: ms.register_environment(type("Reused", (Heterogeneous,), {})), "^config: .* with its own env_id"),
    (
        lambda: ms.register_environment(type("P", (Heterogeneous,), {"env_id": "P-v0", "__annotations__": {"x": int}})),
        "^config: expected @dataclass",
    ),
)


class Brief(Heterogeneous):
    env_id = "Mine/Brief-v0"


def test_register_and_unregister():
    for _ in range(2):
        ms.register_environment(Brief)
        vector, single = make("Mine/Brief-v0").unwrapped, gym.make("Mine/Brief-v0").unwrapped
        ms.envs.unregister_environment("Mine/Brief-v0")
        assert "Mine/Brief-v0" not in (*gym.registry, *ENVIRONMENTS.names())
        for env in (vector, single):
            env.reset(seed=0)
            for other in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
                assert (other.env_id, type(other)) == ("Mine/Brief-v0", type(env))
                assert (other.state.draft_time == env.state.draft_time).all()
