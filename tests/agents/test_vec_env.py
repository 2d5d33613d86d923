"""Vector environment of training, against single ones; its seeds are disjoint from those of measurements."""

import itertools

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from multispin_agents import AGENTS
from multispin_agents.measures import Measure
from multispin_agents.vec_env import RESERVED, NativeVecEnv, avoid_reserved, first_seed, make_vec_env
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation import statistics
from multispin_env.evaluation.cases import held_out
from tests.families import REWARDED, ROUNDS

FULL, HIDDEN = "MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0"


LENGTHS = {
    **{env_id: {"rounds": 10} for env_id in ROUNDS},
    "MultiSpin/Continuous-v0": {"horizon": 0.4, "reference": "own-pace"},
    "MultiSpin/Serving-v0": {"horizon": 0.4, "warm_up": 0.1, "mean_output": 5.0},
}


@pytest.mark.usefixtures("quick_prices")
@pytest.mark.parametrize(("env_id", "reward"), REWARDED)
def test_every_environment_equals_a_single_one_bit_for_bit(env_id, reward):
    options = {"num_users": 4, "reward": reward, **LENGTHS[env_id]}
    batch, ended = make_vec_env(env_id, 3, 5, **options), 0
    singles = [Monitor(gym.make(env_id, **options)) for _ in range(3)]

    def check(observations, index, observation):
        assert all((observations[key][index] == value).all() for key, value in observation.items())

    observations = batch.reset()
    for i, env in enumerate(singles):
        check(observations, i, env.reset(seed=5 + i)[0])
    rng = np.random.default_rng(0)
    for _ in range(25):
        actions = rng.uniform(-5.0, 5.0, (3, *batch.action_space.shape)).astype(np.float32)
        observations, rewards, dones, infos = batch.step(actions)
        for i, env in enumerate(singles):
            observation, reward, terminated, truncated, info = env.step(actions[i])
            assert batch.durations[i] == info[batch.env.config.info_keys.time]
            assert rewards[i] == np.float32(reward)
            assert (dones[i], terminated) == (truncated, False)
            if truncated:
                assert infos[i]["TimeLimit.truncated"]
                check({key: [value] for key, value in infos[i]["terminal_observation"].items()}, 0, observation)
                observation, _ = env.reset()
                ended += 1
            check(observations, i, observation)
    assert ended


@pytest.mark.parametrize(("rounds", "truncated"), [(1, False), (5, True)])
def test_episodes_end_as_in_the_loop_of_stable_baselines(rounds, truncated):
    """With the infos of ``Monitor``, and PPO learns the same, bit for bit."""
    options = {"num_users": 3, "rounds": rounds}
    batch = make_vec_env(FULL, 2, **options)
    loop = DummyVecEnv([lambda: Monitor(gym.make(FULL, **options))] * 2)
    for env in (batch, loop):
        env.seed(7)
        env.reset()
    for _ in range(12):
        ends, expected = (env.step(np.full((2, 3, 2), 0.5, np.float32))[2:] for env in (batch, loop))
        assert (ends[0] == expected[0]).all()
        for info, other in zip(ends[1], expected[1], strict=True):
            assert info.get("TimeLimit.truncated") == (truncated if "episode" in other else None)
            assert ("episode" in info) == ("episode" in other)
            for name in info.get("episode", ()):
                assert info["episode"][name] == pytest.approx(other["episode"][name], abs=1e-6)
    learnt = []
    for env in (batch, loop):
        model = PPO("MultiInputPolicy", env, n_steps=8, batch_size=8, n_epochs=2, seed=1).learn(32)
        learnt.append((model.policy.state_dict(), model.ep_info_buffer[-1]["l"]))
    assert learnt[0][1] == learnt[1][1] == rounds
    assert all(th.equal(value, learnt[1][0][name]) for name, value in learnt[0][0].items())


@pytest.mark.parametrize("options", [{"num_user": 3}, {"rounds": 0}, {"scenario": "lama2"}, {"action": "length"}])
def test_arguments_are_refused_as_by_gymnasium(options):
    errors = []
    for make in (gym.make, make_vec_env):
        with pytest.raises((TypeError, ValueError)) as error:
            make(FULL, **options)
        errors.append((error.type, str(error.value).partition(" (expected")[0].partition(" was raised")[0]))
    assert errors[0] == errors[1]
    with pytest.raises(ValueError, match=r"env: expected .*; did you mean 'MultiSpin/Heterogeneous-v0'"):
        make_vec_env("MultiSpin/Heterogenous-v0")


@pytest.mark.parametrize("seed", [-1, 2.5, *(reserved.start for reserved in RESERVED), RESERVED[-1].stop - 1])
def test_seeds_of_measurements_are_refused(seed):
    with pytest.raises(ValueError, match=rf"^seed: expected .*, got {seed}"):
        make_vec_env(FULL, 2, seed, num_users=3)


def test_attributes_seeds_and_wrappers_of_stable_baselines():
    env = make_vec_env(FULL, 2, 5, num_users=4, rounds=5)
    assert env.get_attr("max_episode_steps") == [-1, -1]
    assert env.get_attr("num_envs", [1]) == [2]
    assert env.env_is_wrapped(gym.Wrapper, [0]) == [False]
    assert env.get_images() == [None, None]
    for name, arguments in (("set_attr", ("x", 1)), ("env_method", ("x",))):
        with pytest.raises(NotImplementedError, match=rf"{name}: expected no call, .*, got 'x'"):
            getattr(env, name)(*arguments)
    first, again = env.reset(), env.reset()
    assert (first["channel"] != again["channel"]).any()  # a seed is used once
    env.seed(5)
    assert (env.reset()["channel"] == first["channel"]).all()
    wrapped = VecNormalize(VecMonitor(env), norm_obs_keys=["compute"])
    wrapped.reset()
    infos = [wrapped.step(np.zeros((2, 4, 2), np.float32))[3] for _ in range(5)][-1]
    assert infos[0]["episode"]["l"] == 5


def test_the_autoreset_mode_and_pictures():
    options = {"vectorization_mode": "vector_entry_point", "render_mode": "rgb_array", "num_users": 3}
    with pytest.raises(ValueError, match="autoreset_mode: expected 'SameStep', got 'NextStep'"):
        NativeVecEnv(gym.make_vec(FULL, num_envs=2, **options).unwrapped, 0)
    adapter = NativeVecEnv(gym.make_vec(FULL, num_envs=2, autoreset_mode="SameStep", **options).unwrapped, 0)
    adapter.reset()
    assert [image.shape for image in adapter.get_images()] == [(450, 800, 3)] * 2


FRESH, NUM_ENVS = 10**6, 10**5  # offset of fresh cases; more environments than any agent has


def ranges():
    table, fresh = held_out(EnvConfig.of(HIDDEN)), held_out(EnvConfig.of(HIDDEN), offset=FRESH)
    states = (statistics.HELD_OUT_SEED, statistics.VALIDATION_SEED, statistics.HELD_OUT_SEED + FRESH)
    tuning = statistics.TUNING_SEED
    episodes = [range(cases.seed, cases.seed + FRESH) for cases in (table, fresh)]
    use = [*(range(seed, seed + 1) for seed in states), range(tuning, tuning + statistics.NUM_EPISODE_SEEDS), *episodes]
    return sorted(use, key=lambda seeds: seeds.start)


def test_training_plays_no_cases_of_measurements():
    assert all(first.stop <= second.start for first, second in itertools.pairwise(ranges()))
    assert ranges()[-1].stop + NUM_ENVS < 2**32
    assert max(AGENTS.load(name).num_envs for name in AGENTS.names()) < NUM_ENVS
    for seeds, num_envs in itertools.product(ranges(), (1, 64, NUM_ENVS)):
        start, stop = seeds.start, seeds.stop
        for drawn in (start - num_envs, start - num_envs + 1, start - 1, start, stop - 1, stop):
            first = avoid_reserved(drawn, num_envs)
            assert first + num_envs <= start or stop <= first
    assert [avoid_reserved(seed, 64) for seed in (0, 10**8, 2**31 - 1)] == [0, 10**8, 2**31 - 1]
    make_vec_env(FULL, 2, RESERVED[-1].stop, num_users=3)


def test_seeds_of_training():
    """Some of 3,000 runs draw reserved seeds; parts of a run play different episodes."""
    drawn = [int(np.random.SeedSequence([seed, 0]).generate_state(1)[0] >> 1) for seed in range(3000)]
    assert any(seed in reserved for seed in drawn for reserved in RESERVED)
    assert [first_seed(seed, 0, 128) for seed in range(3000)] == [avoid_reserved(seed, 128) for seed in drawn]
    firsts = sorted(first_seed(seed, part, 64) for seed in range(20) for part in (0, 1, 2, 4000))
    assert np.diff(firsts).min() > 64


@pytest.mark.parametrize(
    ("env_id", "seeds"), [(FULL, (260_604_582, 260_604_581)), (HIDDEN, (1_000_000_000, 1_100_000_000))]
)
def test_validation_and_comparison_draw_different_cases(env_id, seeds):
    measure = Measure(EnvConfig.of(env_id, num_users=4))
    assert (measure._watched.seed, measure.compared(2).seed) == seeds
