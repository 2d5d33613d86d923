from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.continuous import endless, serving
from multispin_env.envs.observations import COUNTED
from multispin_env.physics.radio import spectral_efficiency
from multispin_env.simulation import reference
from tests.alike import equal
from tests.envs.continuous.played import AHEAD, BLIND, BOTH, ENDLESS, HIDDEN, OLD, SERVING, anything, make

pytestmark = pytest.mark.usefixtures("quick_prices")

both = pytest.mark.parametrize("env_id", BOTH)
hidden_parts = pytest.mark.parametrize("hidden", [HIDDEN, OLD, BLIND], ids=["acceptance", "channel", "both"])


@hidden_parts
@both
def test_entries(env_id, hidden):
    for ahead in (AHEAD, {}):
        known, partial = (list(make(env_id, **options, **ahead).single_observation_space) for options in ({}, hidden))
        assert {"head_start"} <= set(known) & set(partial) if ahead else "head_start" not in known + partial
    expected = set(known)
    if hidden is not OLD:
        expected = expected - {"acceptance"} | set(COUNTED)
    if hidden is BLIND:
        expected -= {"task"}
    if hidden is not HIDDEN:
        expected |= {"mean_channel"}
    assert set(partial) == expected
    assert [key for key in partial if key in known] == [key for key in known if key in partial]
    assert [make(env_id, **options).config.sees_state for options in ({}, hidden)] == [True, False]


@both
def test_counts_are_those_of_an_independent_count(env_id):
    env = make(env_id, **HIDDEN)
    observation, _ = env.reset(seed=0)
    counts = {name: np.zeros((6, 4), int) for name in ("hits", "misses", "age")}
    rng, ended, absent = np.random.default_rng(0), 0, 0
    for _ in range(80):
        rate, task = env.state.acceptance_rate, env.decode_observation(observation).system.task
        observation, _, _, truncated, info = env.step(anything(env, rng))
        shown, verified = env.decode_observation(observation).system, info["tokens"] > 0.0
        if truncated.any():
            break
        assert (shown.drafted == info["draft_length"]).all()
        assert (shown.accepted == np.where(verified, info["tokens"] - 1.0, 0.0)).all()
        if env_id == ENDLESS:
            new = verified & (env.state.acceptance_rate != rate)
            assert (shown.task[~new] == task[~new]).all()
        else:
            new = (info["finished"] + info["dropped"]) > 0.0
        gains = shown.accepted, shown.accepted < shown.drafted, verified
        for (name, count), gain in zip(counts.items(), gains, strict=True):
            count[...] = np.where(new, 0, count + gain)
            assert (getattr(shown, name) == count).all()
        ended, absent = ended + new.sum(), absent + (~verified).sum()
    assert min(ended, absent) > 50


@pytest.mark.parametrize("action", ["residual", "tuned", "full"])
@both
def test_acceptance_is_observed_only_through_tokens(env_id, action):
    """Environments with other rates and the same random numbers are equal until they gain other tokens."""
    envs = [make(env_id, 12, action=action, **HIDDEN) for _ in range(2)]
    core = envs[1]._simulator._core
    core.system = replace(core.system, acceptance=replace(core.system.acceptance, mean=(0.6, 0.5, 0.55, 0.4)))
    assert equal(*(env.reset(seed=3)[0] for env in envs))
    assert (envs[0].state.acceptance_rate != envs[1].state.acceptance_rate).all()
    rng, same = np.random.default_rng(0), np.ones(12, dtype=bool)
    for step in range(25):
        played = anything(envs[0], rng)
        (ours, *_, info), (theirs, *_, other_info) = (env.step(played) for env in envs)
        same &= (info["tokens"] == other_info["tokens"]).all(-1)
        assert same.any() or step > 0
        assert all((ours[key][same] == theirs[key][same]).all() for key in ours)
        assert (info["duration"][same] == other_info["duration"][same]).all()
        decoded = [env.decode_action(played) for env in envs]
        assert (decoded[0].draft_length[same] == decoded[1].draft_length[same]).all()
    assert same.sum() < 12


@pytest.mark.parametrize("law", ["independent", "gauss-markov", "static"])
@both
def test_old_channels_are_those_of_the_last_cycle(env_id, law):
    """A device shows the channel of the present draft, else that of the last one; the simulation does not change."""
    env, twin = (make(env_id, action="plain", channel=law, horizon=1e3, **options) for options in (OLD, {}))
    observation, _ = env.reset(seed=0)
    twin.reset(seed=0)
    rng, starting = np.random.default_rng(0), 0
    last = spectral_efficiency(env.scenario, env._simulator._core.users.mean_gain)
    assert env.decode_observation(observation).state.spectral_efficiency == pytest.approx(last, rel=1e-5)
    assert (observation["mean_channel"] == observation["channel"]).all()
    for _ in range(60):
        before, played = env.state, anything(env, rng)
        observation, reward, _, _, info = env.step(played)
        fresh, other_reward, _, _, other_info = twin.step(played)
        assert (reward == other_reward).all()
        assert (info["tokens"] == other_info["tokens"]).all()
        assert (observation["ready"] == fresh["ready"]).all()
        after, verified = env.state, info["tokens"] > 0.0
        start = (after.phase == ms.physics.Phase.FREE) | (after.phase == ms.physics.Phase.IDLE)
        last = np.where(start, np.where(verified, before.spectral_efficiency, last), after.spectral_efficiency)
        assert (env.observed.state.spectral_efficiency == last).all()
        assert env.decode_observation(observation).state.spectral_efficiency == pytest.approx(last, rel=1e-5)
        starting += start.sum()
    assert starting > 60


def assert_same_fields(shown, observed):
    for name in ms.Observed.__slots__:
        value, expected = getattr(shown, name), getattr(observed, name)
        assert (value is None) == (expected is None), name
        assert value is None or value == pytest.approx(expected, rel=1e-5), name


@pytest.mark.parametrize("name", ["HiddenAcceptance", "RecordedAcceptance", "DelayedChannel", "Fair", "DraftAhead"])
def test_observed_is_the_content_of_the_observation_in_rounds(name):
    env = gym.make_vec(f"MultiSpin/{name}-v0", num_envs=20, num_users=5).unwrapped
    env.reset(seed=0)
    observation = env.step(np.zeros(env.action_space.shape, np.float32))[0]
    assert_same_fields(env.decode_observation(observation), env.observed)


@pytest.mark.parametrize("ahead", [AHEAD, {}], ids=["ahead", "none"])
@hidden_parts
@both
def test_observed_is_the_content_of_the_observation(env_id, hidden, ahead):
    env, rng = make(env_id, **hidden, **ahead), np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(30):
        observation, *_ = env.step(anything(env, rng))
    shown, observed = env.decode_observation(observation), env.observed
    assert_same_fields(shown.system, observed.system)
    for name in ("spectral_efficiency", "acceptance_rate", "phase", "draft_length", "drafting_left", "age"):
        expected = getattr(observed.state, name)
        assert getattr(shown.state, name) == pytest.approx(expected, rel=1e-5, abs=1e-6), name
    assert equal(env._simulator.observations.encode(observed), observation)
    is_hidden = "acceptance_visible" in hidden
    assert (observed.state.acceptance_rate != env.state.acceptance_rate).all() == is_hidden
    assert (observed.system.acceptance_rate is None) == is_hidden


@pytest.mark.parametrize("reward", ["expected", "sampled"])
def test_only_rewards_take_expected_tokens(reward):
    """E[N] = (1 − α^(L + 1)) / (1 − α); tokens in the info are drawn."""
    env, rng = make(ENDLESS, reward=reward, **HIDDEN), np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(20):
        rate = env.state.acceptance_rate
        _, value, _, _, info = env.step(anything(env, rng))
        assert (info["tokens"] == np.round(info["tokens"])).all()
        expected = (1.0 - rate ** (info["draft_length"] + 1.0)) / (1.0 - rate) * (info["tokens"] > 0.0)
        tokens = expected if reward == "expected" else info["tokens"]
        assert value == pytest.approx((tokens.sum(-1) - 90.0 * info["duration"]) / 4.0, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("env_id", "rule"), [(ENDLESS, "groups"), (SERVING, "groups+deadlines")])
def test_zero_of_residual_is_the_rule_with_the_estimator(env_id, rule):
    env = make(env_id, reference=rule, **HIDDEN)
    plug_in = ms.make_controller(f"{rule}+filter", env.scenario, env.assumptions)
    clairvoyant = ms.make_controller(rule, env.scenario)
    env.reset(seed=0)
    zero, different = np.zeros(env.action_space.shape, np.float32), 0
    for _ in range(40):
        expected, decoded = plug_in(env.observed), env.decode_action(zero)
        assert (decoded.draft_length == expected.draft_length).all()
        assert (decoded.join == expected.join).all()
        different += (decoded.draft_length != clairvoyant(env.state).draft_length).sum()
        *_, truncated, _ = env.step(zero)
        if truncated.any():
            break
    assert different > 0


def test_without_spread_requests_have_the_rates_of_their_tasks():
    env, plain = make(ENDLESS, acceptance_visible=False, spread=0.0, mean_cycles=float("inf")), make(ENDLESS)
    env.reset(seed=0)
    plain.reset(seed=0)
    assert (env.state.acceptance_rate == plain.state.acceptance_rate).all()
    assert env.observed.state.acceptance_rate == pytest.approx(env.state.acceptance_rate, rel=1e-4)
    assert env.assumptions.acceptance_spread == (0.0,) * 4


@both
def test_prices_depend_on_the_spread(env_id, monkeypatch):
    short = {"COPIES": 2, "WARM_UP": 0.0, "MEASURED": 0.5, "SERVED_COPIES": 2, "SERVED_WARM_UP": 0.0, "SERVED": 3.0}
    for name, value in short.items():
        monkeypatch.setattr(reference, name, value)
    for module in (endless, serving):
        monkeypatch.setattr(module, "reference_rate", reference.reference_rate.__wrapped__)
    monkeypatch.setattr(serving, "reference_tokens_in_time", reference.reference_tokens_in_time.__wrapped__)
    plain, same_rates, others = (
        ms.EnvConfig.of(env_id, num_users=2, **options).objective(1)
        for options in ({}, {**HIDDEN, "spread": 0.0}, {**HIDDEN, "spread": 0.3})
    )
    assert plain != others
    assert plain == same_rates or env_id == ENDLESS  # where the task changes with the request
