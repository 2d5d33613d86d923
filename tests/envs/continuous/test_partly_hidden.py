"""Environments that hide something: what is shown, what is rewarded, what actions start from, bad arguments."""

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.continuous import serving, variants
from multispin_env.envs.observations import COUNTED
from multispin_env.simulation import reference
from tests.envs.continuous.played import AHEAD, BLIND, BOTH, ENDLESS, HIDDEN, OLD, SERVING, anything, make

pytestmark = pytest.mark.usefixtures("quick_prices")


@pytest.mark.parametrize("hidden", [HIDDEN, OLD, BLIND], ids=["acceptance", "channel", "both"])
@pytest.mark.parametrize("env_id", BOTH)
def test_what_is_shown(env_id, hidden):
    for ahead in (AHEAD, {}):
        whole, partial = (list(make(env_id, **options, **ahead).single_observation_space) for options in ({}, hidden))
        assert {"head_start"} <= set(whole) & set(partial) if ahead else "head_start" not in whole + partial
    expected = set(whole)
    if hidden is not OLD:
        expected = expected - {"acceptance"} | set(COUNTED)
    if hidden is BLIND:
        expected -= {"task"}
    if hidden is not HIDDEN:
        expected |= {"mean_channel"}
    assert set(partial) == expected
    kept = [key for key in whole if key in partial]
    assert [key for key in partial if key in kept] == kept  # in the order that they always have
    env = make(env_id, **hidden)
    assert env.variant.learning.sees_state is False
    assert make(env_id).variant.learning.sees_state is True


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


@pytest.mark.parametrize(
    ("env_id", "name"), [(ENDLESS, "groups+filter"), (SERVING, "groups+deadlines+filter")], ids=["endless", "serving"]
)
def test_zero_of_residual_is_the_scheduler_with_what_the_counts_say(env_id, name):
    """The same posterior, whether an estimator counts or the environment does."""
    rule = name.removesuffix("+filter")
    env = make(env_id, reference=rule, **HIDDEN)
    plug_in = ms.make_controller(name, env.scenario, env.assumptions)
    truth = ms.make_controller(rule, env.scenario)
    env.reset(seed=0)
    nothing, differ = np.zeros(env.action_space.shape, np.float32), 0
    for _ in range(40):
        expected, decoded, known = plug_in(env.observed), env.decode_action(nothing), truth(env.state)
        assert (decoded.draft_length == expected.draft_length).all()
        assert (decoded.join == expected.join).all()
        differ += (decoded.draft_length != known.draft_length).sum()
        *_, truncated, _ = env.step(nothing)
        if truncated.any():
            break
    assert differ > 0


def test_without_spread_requests_have_the_rates_of_their_tasks():
    env, plain = make(ENDLESS, acceptance_visible=False, spread=0.0, mean_cycles=float("inf")), make(ENDLESS)
    env.reset(seed=0)
    plain.reset(seed=0)
    assert (env.state.acceptance_rate == plain.state.acceptance_rate).all()
    assert env.observed.state.acceptance_rate == pytest.approx(env.state.acceptance_rate, rel=1e-4)
    assert env.assumptions.acceptance_spread == (0.0,) * 4


@pytest.mark.parametrize("env_id", BOTH)
def test_the_price_is_that_of_the_system_in_which_requests_differ(env_id, monkeypatch):
    """Measured for a moment, and not remembered."""
    short = {"COPIES": 2, "WARM_UP": 0.0, "MEASURED": 0.5, "SERVED_COPIES": 2, "SERVED_WARM_UP": 0.0, "SERVED": 3.0}
    for name, value in short.items():
        monkeypatch.setattr(reference, name, value)
    for room in (variants, serving):
        monkeypatch.setattr(room, "reference_rate", reference.reference_rate.__wrapped__)
    monkeypatch.setattr(serving, "reference_tokens_in_time", reference.reference_tokens_in_time.__wrapped__)
    plain, same_rates, others = (
        gym.make(env_id, num_users=2, **options).unwrapped.variant.objective(ms.Scenario.preset("llama2", num_users=2))
        for options in ({}, {**HIDDEN, "spread": 0.0}, {**HIDDEN, "spread": 0.3})
    )
    assert plain != others
    if env_id == SERVING:  # a device keeps its task there
        assert plain == same_rates
