"""What may be known where something is hidden: counts, old channels, beliefs; and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.radio import spectral_efficiency
from tests.alike import equal
from tests.envs.continuous.played import AHEAD, BLIND, BOTH, ENDLESS, HIDDEN, OLD, anything, make


@pytest.mark.parametrize("env_id", BOTH)
def test_counts_are_those_of_an_independent_count(env_id):
    env = make(env_id, **HIDDEN)
    observation, _ = env.reset(seed=0)
    hits, misses, age = (np.zeros((6, 4), int) for _ in range(3))
    rng, ended, absent = np.random.default_rng(0), 0, 0
    for _ in range(80):
        rate, task = env.state.acceptance_rate, env.decode_observation(observation).system.task
        observation, _, _, truncated, info = env.step(anything(env, rng))
        seen, verified = env.decode_observation(observation).system, info["tokens"] > 0.0
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


@pytest.mark.parametrize("action", ["residual", "tuned", "full"])
@pytest.mark.parametrize("env_id", BOTH)
def test_acceptance_is_seen_in_tokens_alone(env_id, action):
    """Copies with other rates and the same noise are the same to the bit, until one gains other tokens."""
    envs = [make(env_id, 12, action=action, **HIDDEN) for _ in range(2)]
    core = envs[1]._engine._core
    core.system = replace(core.system, acceptance=replace(core.system.acceptance, mean=(0.6, 0.5, 0.55, 0.4)))
    assert equal(*(env.reset(seed=3)[0] for env in envs))
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


@pytest.mark.parametrize("law", ["independent", "gauss-markov", "static"])
@pytest.mark.parametrize("env_id", BOTH)
def test_an_old_channel_is_that_of_the_last_cycle(env_id, law):
    """Followed from outside: a device under way shows its own, one that starts shows what it last had under way."""
    env = make(env_id, channel=law, horizon=1e3, **OLD)
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
        assert (env.observed.state.spectral_efficiency == last).all()
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


@pytest.mark.parametrize("ahead", [AHEAD, {}], ids=["ahead", "none"])
@pytest.mark.parametrize("hidden", [HIDDEN, OLD, BLIND], ids=["acceptance", "channel", "both"])
@pytest.mark.parametrize("env_id", BOTH)
def test_observed_is_what_the_observation_shows(env_id, hidden, ahead):
    env, rng = make(env_id, **hidden, **ahead), np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(30):
        observation, *_ = env.step(anything(env, rng))
    shown, known = env.decode_observation(observation), env.observed
    for name in ms.Observed.__slots__:
        one, other = getattr(shown.system, name), getattr(known.system, name)
        assert (one is None) == (other is None), name
        assert one is None or other == pytest.approx(one, rel=1e-5), name
    for name in ("spectral_efficiency", "acceptance_rate", "phase", "draft_length", "drafting_left", "age"):
        assert getattr(shown.state, name) == pytest.approx(getattr(known.state, name), rel=1e-5, abs=1e-6), name
    assert equal(env._engine.observations.encode(known), observation)
    hides = "acceptance_visible" in hidden
    assert (known.state.acceptance_rate != env.state.acceptance_rate).all() == hides
    assert (known.system.acceptance_rate is None) == hides


def test_beliefs_come_nearer_to_the_truth_with_time():
    env = make(ENDLESS, 20, acceptance_visible=False, mean_cycles=float("inf"))
    env.reset(seed=0)
    nothing, errors = np.zeros(env.action_space.shape, np.float32), []
    for _ in range(160):
        errors.append(np.abs(env.observed.state.acceptance_rate - env.state.acceptance_rate).mean())
        env.step(nothing)
    first, middle, last = errors[0], np.mean(errors[50:60]), np.mean(errors[-10:])
    assert last < 0.8 * middle
    assert middle < 0.8 * first
