"""The vector that agents learn in, copy by copy; and its seeds, none of which is watched, tuned or measured on."""

import itertools
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

import multispin_env as ms
from agents import AGENTS
from agents.measures import Measure
from agents.vec_env import RESERVED, NativeVecEnv, avoid_reserved, first_seed, make_vec_env
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation import statistics
from multispin_env.evaluation.cases import held_out
from multispin_env.evaluation.contenders import ContenderError
from tests.families import REWARDED

FULL, HIDDEN = "MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0"


def settings(env_id=FULL, **options):
    scenario = ms.Scenario.preset("llama2", num_users=4)
    return EnvConfig.of(env_id, scenario, **options)


@pytest.mark.parametrize(("env_id", "reward"), REWARDED)
def test_every_copy_equals_a_single_environment_bit_for_bit(env_id, reward):
    batch = make_vec_env(settings(env_id, reward=reward), 3, max_episode_steps=10, seed=5)
    scenario = ms.Scenario.preset("llama2", num_users=4)
    singles = [gym.make(env_id, scenario=scenario, reward=reward, max_episode_steps=10) for _ in range(3)]
    observations = batch.reset()
    for i, env in enumerate(singles):
        observation, _ = env.reset(seed=5 + i)
        assert all((observations[key][i] == value).all() for key, value in observation.items())
    rng = np.random.default_rng(0)
    for _ in range(25):
        actions = rng.uniform(-1, 1, (3, *batch.action_space.shape)).astype(np.float32)
        observations, rewards, dones, infos = batch.step(actions)
        for i, env in enumerate(singles):
            observation, reward, _, truncated, info = env.step(actions[i])
            assert batch.durations[i] == info[batch.env.config.variant.comparison.info.time]
            assert rewards[i] == np.float32(reward)
            assert dones[i] == truncated
            if truncated:
                assert infos[i]["TimeLimit.truncated"]
                last = infos[i]["terminal_observation"]
                assert all((last[key] == value).all() for key, value in observation.items())
                observation, _ = env.reset()
            assert all((observations[key][i] == value).all() for key, value in observation.items())


def test_works_with_the_wrappers_of_stable_baselines():
    env = VecNormalize(VecMonitor(make_vec_env(settings(), 2, 5, seed=0)), norm_obs_keys=["compute"])
    env.reset()
    infos = [env.step(np.zeros((2, 4, 2), np.float32))[3] for _ in range(5)][-1]
    assert infos[0]["episode"]["l"] == 5


def test_attributes():
    env = make_vec_env(settings(), 3, 5, seed=0)
    assert env.get_attr("max_episode_steps") == [5, 5, 5]
    assert env.env_is_wrapped(gym.Wrapper, [0]) == [False]
    with pytest.raises(NotImplementedError, match=r"set_attr: expected no call, .*, got 'x'"):
        env.set_attr("x", 1)
    with pytest.raises(NotImplementedError, match=r"env_method: expected no call, .*, got 'render'"):
        env.env_method("render")


def test_only_copies_that_restart_in_the_same_step():
    env = gym.make_vec(FULL, num_envs=2, vectorization_mode="vector_entry_point")
    with pytest.raises(ValueError, match="autoreset_mode: expected 'SameStep', got 'NextStep'"):
        NativeVecEnv(env.unwrapped, 0)


def test_pictures_of_all_copies():
    options = {"autoreset_mode": "SameStep", "render_mode": "rgb_array", "num_users": 3}
    env = gym.make_vec(FULL, num_envs=2, vectorization_mode="vector_entry_point", **options)
    adapter = NativeVecEnv(env.unwrapped, 0)
    adapter.reset()
    assert [image.shape for image in adapter.get_images()] == [(450, 800, 3)] * 2


def test_seeds_are_taken_once():
    env = make_vec_env(settings(), 2, 3, seed=5)
    first, again = env.reset(), env.reset()
    assert (first["channel"] != again["channel"]).any()  # seeds are taken once
    env.seed(5)
    assert (env.reset()["channel"] == first["channel"]).all()
    assert env.get_images() == [None, None]
    assert env.get_attr("num_envs", [1]) == [2]


FRESH = 10**6
"""As in the test of the pretrained agents' scores."""

COPIES = 10**5
"""More than any agent trains on at once."""


def ranges():
    """Every range of seeds that the project draws cases from, by what it is for."""
    table = held_out(settings(HIDDEN))
    fresh = held_out(settings(HIDDEN), offset=FRESH)
    return {
        "states of tables": range(statistics.HELD_OUT_SEED, statistics.HELD_OUT_SEED + 1),
        "states of validation": range(statistics.VALIDATION_SEED, statistics.VALIDATION_SEED + 1),
        "fresh states": range(statistics.HELD_OUT_SEED + FRESH, statistics.HELD_OUT_SEED + FRESH + 1),
        "validation and tuning": range(statistics.TUNING_SEED, statistics.TUNING_SEED + statistics.SEED_ROOM),
        "episodes of tables": range(table.seed, table.seed + FRESH),
        "fresh episodes": range(fresh.seed, fresh.seed + FRESH),
    }


def test_ranges_are_apart():
    for (name, one), (other, two) in itertools.combinations(ranges().items(), 2):
        assert one.stop <= two.start or two.stop <= one.start, (name, other)
    assert max(one.stop for one in ranges().values()) + COPIES < 2**32


def test_training_stays_away_from_all_of_them():
    assert max(AGENTS.load(name).num_envs for name in AGENTS.names()) < COPIES
    for name, one in ranges().items():
        for copies in (1, 64, COPIES):
            edges = (one.start - copies, one.start - copies + 1, one.start - 1, one.start, one.stop - 1, one.stop)
            for drawn in edges:
                first = avoid_reserved(drawn, copies)
                assert first + copies <= one.start or one.stop <= first, (name, copies, drawn)
    assert [avoid_reserved(seed, 64) for seed in (0, 10**8, 2**31 - 1)] == [
        0,
        10**8,
        2**31 - 1,
    ]


def test_training_is_seeded_so(monkeypatch):
    """Of 3,000 runs some draw a seed of those that are kept."""
    drawn = [int(np.random.SeedSequence([seed, 0]).generate_state(1)[0] >> 1) for seed in range(3000)]
    assert any(seed in reserved for seed in drawn for reserved in RESERVED)
    assert [first_seed(seed, 0, 128) for seed in range(3000)] == [avoid_reserved(seed, 128) for seed in drawn]


def test_parts_of_a_run_play_other_episodes():
    firsts = sorted(first_seed(seed, part, 64) for seed in range(20) for part in (0, 1, 2, 4000))
    assert np.diff(firsts).min() > 64


@pytest.mark.parametrize("env_id", [FULL, HIDDEN])
def test_cases_are_drawn_from_the_seeds_of_their_use(env_id):
    """A run watches itself on other cases than it is measured on."""
    measure = Measure(settings(env_id))
    seen = []

    class SeenError(Exception):
        pass

    def play(cases, contender, progress=None):
        seen.append(cases.seed)
        raise SeenError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure.kind, "play", play)
        for call in (measure.validation, lambda: measure.report(SimpleNamespace(policy=None), "", 2)):
            with pytest.raises((SeenError, ContenderError)):
                call()
    assert seen == {FULL: [260_604_582, 260_604_581], HIDDEN: [1_000_000_000, 1_100_000_000]}[env_id]
