"""What the environments without the barrier can hide: what is seen then, what is not, and what actions start from."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_for_sb3

import multispin_env as ms
from multispin_env.envs.observations import past_entries
from multispin_env.physics.uplink import spectral_efficiency

ENDLESS, SERVING = "MultiSpin/Continuous-v0", "MultiSpin/Serving-v0"
BOTH = (ENDLESS, SERVING)
HIDDEN, OLD = {"acceptance_visible": False}, {"channel_report": "old"}
BLIND = {**HIDDEN, **OLD, "task_visible": False}
FAST = {
    ENDLESS: {"rho": 90.0, "mean_cycles": 4},
    SERVING: {"rho": 60.0, "load": 1.4, "mean_output": 9.0, "horizon": 8.0, "warm_up": 0.0},
}
"""Requests that end soon."""


def make(env_id, num_envs=6, **options):
    fast = {name: value for name, value in FAST[env_id].items() if options.get("acceptance_visible", True) is False}
    chosen = {"num_users": 4, "rho": 90.0, **fast, **options}
    return gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **chosen).unwrapped


def anything(env, rng):
    return rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)


@pytest.mark.parametrize("hidden", [HIDDEN, OLD, BLIND], ids=["acceptance", "channel", "both"])
@pytest.mark.parametrize("env_id", BOTH)
def test_what_is_shown(env_id, hidden):
    whole, partial = (list(make(env_id, **options).single_observation_space) for options in ({}, hidden))
    expected = set(whole)
    if hidden is not OLD:
        expected = expected - {"acceptance"} | past_entries("verification").keys()
    if hidden is BLIND:
        expected -= {"task"}
    if hidden is not HIDDEN:
        expected |= {"mean_channel"}
    assert set(partial) == expected
    kept = [key for key in whole if key in partial]
    assert [key for key in partial if key in kept] == kept  # in the order that they always have
    env = make(env_id, **hidden)
    assert env.variant.fully_observed is False
    assert make(env_id).variant.fully_observed is True


@pytest.mark.parametrize("hidden", [HIDDEN, OLD, BLIND], ids=["acceptance", "channel", "both"])
@pytest.mark.parametrize("env_id", BOTH)
def test_the_checkers_pass(env_id, hidden):
    env = gym.make(env_id, num_users=3, rho=80.0, **hidden).unwrapped
    check_env(env, skip_render_check=True)
    check_for_sb3(env)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP], ids=lambda mode: mode.value)
@pytest.mark.parametrize("encoding", ["residual", "full"])
@pytest.mark.parametrize("env_id", BOTH)
def test_a_vector_equals_single_environments_bit_for_bit(env_id, encoding, mode):
    """Copies are reset at different times, and so end at different times."""
    options = {"num_users": 3, "action": encoding, "max_episode_steps": 7, **FAST[env_id], **HIDDEN, **OLD}
    native = gym.make_vec(env_id, num_envs=3, vectorization_mode="vector_entry_point", autoreset_mode=mode, **options)
    sync = gym.make_vec(
        env_id, num_envs=3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **options
    )
    rng = np.random.default_rng(0)
    assert same(native.reset(seed=[7, 3, 11])[0], sync.reset(seed=[7, 3, 11])[0])
    for step in range(60):
        if step in (2, 5, 40):
            masked = {"reset_mask": np.arange(3) == step % 3}
            assert same(*(env.reset(seed=[None, step, None], options=masked)[0] for env in (native, sync)))
        played = rng.uniform(-1, 1, native.action_space.shape).astype(np.float32)
        (seen, *one), (other_seen, *other) = native.step(played), sync.step(played)
        assert same(seen, other_seen)
        assert all((x == y).all() for x, y in zip(one[:3], other[:3], strict=True))


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("env_id", BOTH)
def test_counts_are_those_of_an_independent_count(env_id):
    env = make(env_id, **HIDDEN)
    observation, _ = env.reset(seed=0)
    hits, misses, age = (np.zeros((6, 4), int) for _ in range(3))
    rng, ended, absent = np.random.default_rng(0), 0, 0
    for _ in range(80):
        rate, task = env.state.acceptance_rate, env.decode_observation(observation).observed.task
        observation, _, _, truncated, info = env.step(anything(env, rng))
        seen, verified = env.decode_observation(observation).observed, info["tokens"] > 0.0
        if truncated.any():
            break
        assert (seen.drafted == info["draft_length"]).all()
        assert (seen.accepted == np.where(verified, info["tokens"] - 1.0, 0.0)).all()
        if env_id == ENDLESS:
            new = verified & (env.state.acceptance_rate != rate)
            assert (seen.task[~new] == task[~new]).all()
        else:
            new = (info["finished"] + info["dropped"]) > 0.0
        for total, gained in ((hits, seen.accepted), (misses, seen.accepted < seen.drafted), (age, verified)):
            total[...] = np.where(new, 0, total + gained)
        assert (seen.age == age).all()
        assert (seen.hits == hits).all()
        assert (seen.misses == misses).all()
        ended, absent = ended + new.sum(), absent + (~verified).sum()
    assert ended > 50
    assert absent > 50


@pytest.mark.parametrize("action", ["residual", "full"])
@pytest.mark.parametrize("env_id", BOTH)
def test_acceptance_is_seen_in_tokens_alone(env_id, action):
    """Copies with other rates and the same luck are the same to the bit, until one gains other tokens."""
    envs = [make(env_id, 12, action=action, **HIDDEN) for _ in range(2)]
    core = envs[1]._engine._core
    core.system = replace(core.system, acceptance=replace(core.system.acceptance, mean=(0.6, 0.5, 0.55, 0.4)))
    assert same(*(env.reset(seed=3)[0] for env in envs))
    assert (envs[0].state.acceptance_rate != envs[1].state.acceptance_rate).all()
    rng, alike = np.random.default_rng(0), np.ones(12, dtype=bool)
    for step in range(25):
        played = anything(envs[0], rng)
        one, other = (env.step(played) for env in envs)
        alike &= (one[-1]["tokens"] == other[-1]["tokens"]).all(-1)
        assert alike.any() or step > 0
        assert all((one[0][key][alike] == other[0][key][alike]).all() for key in one[0])
        assert (one[-1]["duration"][alike] == other[-1]["duration"][alike]).all()
        decoded = [env.decode_action(played) for env in envs]  # what actions mean does not tell either
        assert (decoded[0].draft_length[alike] == decoded[1].draft_length[alike]).all()
    assert alike.sum() < 12


def test_only_the_reward_takes_expected_tokens():
    """By hand: E[N] = (1 − α^(L + 1)) / (1 − α) of the rates that there were, and whole tokens in the info."""
    rewards = []
    for reward in ("expected", "sampled"):
        env, rng = make(ENDLESS, reward=reward, **HIDDEN), np.random.default_rng(0)
        env.reset(seed=0)
        for _ in range(20):
            rate = env.state.acceptance_rate
            _, value, _, _, info = env.step(anything(env, rng))
            assert (info["tokens"] == np.round(info["tokens"])).all()
            expected = (1.0 - rate ** (info["draft_length"] + 1.0)) / (1.0 - rate) * (info["tokens"] > 0.0)
            tokens = expected if reward == "expected" else info["tokens"]
            assert value == pytest.approx((tokens.sum(-1) - 90.0 * info["duration"]) / 4.0, rel=1e-9, abs=1e-12)
            rewards.append(value)
    assert (rewards[0] != rewards[20]).any()


@pytest.mark.parametrize("law", ["independent", "gauss-markov", "static"])
@pytest.mark.parametrize("env_id", BOTH)
def test_an_old_channel_is_that_of_the_last_cycle(env_id, law):
    """Followed from outside: a device under way shows its own, one that starts shows what it last had under way."""
    env = make(env_id, channel_law=law, horizon=1e3, **OLD)
    observation, _ = env.reset(seed=0)
    rng, starting = np.random.default_rng(0), 0
    last = spectral_efficiency(env.scenario, env._engine._core.users.mean_gain)
    assert env.decode_observation(observation).state.spectral_efficiency == pytest.approx(last, rel=1e-5)
    assert (observation["mean_channel"] == observation["channel"]).all()
    for _ in range(60):
        before = env.state
        observation, *_, info = env.step(anything(env, rng))
        after, verified = env.state, info["tokens"] > 0.0
        start = (after.phase == ms.Phase.FREE) | (after.phase == ms.Phase.IDLE)
        last = np.where(start, np.where(verified, before.spectral_efficiency, last), after.spectral_efficiency)
        assert (env.glimpse.state.spectral_efficiency == last).all()
        assert env.decode_observation(observation).state.spectral_efficiency == pytest.approx(last, rel=1e-5)
        starting += start.sum()
        assert ((after.spectral_efficiency == last) | start).all()
    assert starting > 60


@pytest.mark.parametrize("env_id", BOTH)
def test_what_is_reported_changes_nothing_that_happens(env_id):
    envs, rng = [make(env_id, action="plain", **options) for options in ({}, OLD)], np.random.default_rng(0)
    for env in envs:
        env.reset(seed=0)
    for _ in range(40):
        played = anything(envs[0], rng)
        one, other = (env.step(played) for env in envs)
        assert (one[1] == other[1]).all()
        assert (one[-1]["tokens"] == other[-1]["tokens"]).all()
        assert (one[0]["ready"] == other[0]["ready"]).all()


@pytest.mark.parametrize("hidden", [HIDDEN, OLD, BLIND], ids=["acceptance", "channel", "both"])
@pytest.mark.parametrize("env_id", BOTH)
def test_a_glimpse_is_what_the_observation_shows(env_id, hidden):
    env, rng = make(env_id, **hidden), np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(30):
        observation, *_ = env.step(anything(env, rng))
    shown, known = env.decode_observation(observation), env.glimpse
    for name in ms.Observed.__slots__:
        one, other = getattr(shown.observed, name), getattr(known.observed, name)
        assert (one is None) == (other is None), name
        assert one is None or other == pytest.approx(one, rel=1e-5), name
    for name in ("spectral_efficiency", "acceptance_rate", "phase", "draft_length", "drafting_left", "age"):
        assert getattr(shown.state, name) == pytest.approx(getattr(known.state, name), rel=1e-5, abs=1e-6), name
    assert same(env._engine.observations.encode(known), observation)
    hides = "acceptance_visible" in hidden
    assert (known.state.acceptance_rate != env.state.acceptance_rate).all() == hides
    assert (known.observed.acceptance_rate is None) == hides


@pytest.mark.parametrize(
    ("env_id", "name"), [(ENDLESS, "groups+filter"), (SERVING, "groups+deadlines+filter")], ids=["endless", "serving"]
)
def test_zero_of_residual_is_the_scheduler_with_what_the_counts_say(env_id, name):
    """The same posterior, whether an estimator counts or the environment does."""
    rule = name.removesuffix("+filter")
    env = make(env_id, reference=rule, **HIDDEN)
    plug_in = ms.make_scheduler_plug_in(name, env.scenario, env.assumptions)
    truth = ms.make_scheduler(rule, env.scenario)
    env.reset(seed=0)
    nothing, differ = np.zeros(env.action_space.shape, np.float32), 0
    for _ in range(40):
        expected, decoded, known = plug_in.decide(env.glimpse), env.decode_action(nothing), truth(env.state)
        assert (decoded.draft_length == expected.draft_length).all()
        assert (decoded.join == expected.join).all()
        differ += (decoded.draft_length != known.draft_length).sum()
        *_, truncated, _ = env.step(nothing)
        if truncated.any():
            break
    assert differ > 0


def test_beliefs_come_nearer_to_the_truth_with_time():
    env = make(ENDLESS, 20, acceptance_visible=False, mean_cycles=float("inf"))
    env.reset(seed=0)
    nothing, errors = np.zeros(env.action_space.shape, np.float32), []
    for _ in range(160):
        errors.append(np.abs(env.glimpse.state.acceptance_rate - env.state.acceptance_rate).mean())
        env.step(nothing)
    first, middle, last = errors[0], np.mean(errors[50:60]), np.mean(errors[-10:])
    assert last < 0.8 * middle
    assert middle < 0.8 * first


def test_without_spread_requests_have_the_rates_of_their_tasks():
    env, plain = make(ENDLESS, acceptance_visible=False, spread=0.0, mean_cycles=float("inf")), make(ENDLESS)
    env.reset(seed=0)
    plain.reset(seed=0)
    assert (env.state.acceptance_rate == plain.state.acceptance_rate).all()
    assert env.glimpse.state.acceptance_rate == pytest.approx(env.state.acceptance_rate, rel=1e-4)
    assert env.assumptions.acceptance_spread == (0.0,) * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"acceptance_visible": "no"}, "^acceptance_visible: expected True or False, got 'no'$"),
        (
            {"channel_report": "olt"},
            r"^channel_report: expected one of \['fresh', 'old'\], got 'olt'; did you mean 'old'",
        ),
        ({"spread": 0.2}, "^spread: expected 0.08 where acceptance_visible is True, got 0.2$"),
        ({"mean_cycles": 3}, "^mean_cycles: expected 16.0 where acceptance_visible is True, got 3$"),
        ({"task_visible": False}, "^task_visible: expected True where acceptance_visible is True, got False$"),
        ({**HIDDEN, "mean_cycles": 0.5}, "^mean_cycles: expected a number ≥ 1 or infinity, got 0.5$"),
        ({**HIDDEN, "spread": 0.7}, "^spread of task 'MBPP.*': expected 0 or a number below"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        gym.make(ENDLESS, num_users=3, **arguments)
