"""Derivatives of the reward with respect to actions, compared with differences of the reward."""

from copy import copy

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.actions import LIMIT
from multispin_env.envs.rounds.slopes import (
    _bandwidth_slopes,
    decision_slopes,
    equal_latency_slopes,
    interpolate_tokens,
)
from multispin_env.physics.rounds import round_outcome
from multispin_env.physics.types import RealDecision
from multispin_env.registry import ENCODINGS
from multispin_env.solver.equalization import equal_latency
from tests.families import SLOPING
from tests.solver.test_equalization import hostile_instances

FULL = "MultiSpin/Heterogeneous-v0"
KINK = {"num_users": 3, "verification_pieces": ((0.010, 0.001), (0.004, 0.0019)), "min_draft_length": 0}
KINK |= {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.001}


def played(env_id, action, **arguments):
    env = gym.make_vec(env_id, num_envs=3, action=action, **arguments)
    env.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(3):
        env.step(rng.uniform(-2.5, 2.5, env.action_space.shape).astype(np.float32))
    return env.unwrapped, rng.uniform(-3.5, 3.5, env.action_space.shape)


def relaxed_reward(env, action, weights):
    """Expected reward (n,), or weighted rate, at real lengths, interpolated between integers."""
    simulator = env._simulator
    action = simulator.actions.checked(action)
    length = simulator.actions.real_lengths(action)
    relaxed = RealDecision(length, simulator.actions.bandwidth(action, length, simulator.planned))
    low = np.floor(relaxed.draft_length).astype(int)
    expected = simulator.dynamics.acceptance.expectation(env.scenario, simulator.requests)
    part = relaxed.draft_length - low
    outcome = round_outcome(
        env.scenario, simulator.state, relaxed, (1.0 - part) * expected(low) + part * expected(low + 1)
    )
    if weights is not None:
        return (weights * outcome.tokens).sum(-1) / outcome.round_latency
    return copy(simulator.objective).reward(outcome)  # the environment does not play the round


def differences(env, action, weights=None, step=5e-6):
    slopes = np.zeros_like(action)
    for index in np.ndindex(*action.shape[1:]):
        ends = []
        for side in (step, -step):
            moved = action.copy()
            moved[(slice(None), *index)] += side
            ends.append(relaxed_reward(env, moved, weights))
        slopes[(slice(None), *index)] = (ends[0] - ends[1]) / (2.0 * step)
    return slopes


@pytest.mark.parametrize("action", ENCODINGS.names())
@pytest.mark.parametrize("env_id", SLOPING)
def test_slopes_are_differences_of_the_reward(env_id, action):
    env, actions = played(env_id, action, num_users=5)
    weights = np.random.default_rng(1).uniform(0.0, 2.0, (3, 5))
    for values in (None, weights):
        slopes = env.reward_slopes(actions, values)
        assert slopes == pytest.approx(differences(env, actions, values), rel=1e-5, abs=1e-6 * np.abs(slopes).max())


@pytest.mark.parametrize("env_id", [FULL, "MultiSpin/HiddenAcceptance-v0"])
def test_slopes_of_the_share_are_differences_of_it(env_id):
    env, actions = played(env_id, "residual", num_users=5, reward="share")
    best = ms.make_controller("optimal", env.scenario)(env.state)
    goodput = ms.expected_outcome(env.scenario, env.state, best).goodput
    expected = differences(env, actions, 1.0 / goodput[:, None])
    assert env.reward_slopes(actions) == pytest.approx(expected, rel=1e-5, abs=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("action", ENCODINGS.names())
@pytest.mark.parametrize(
    "arguments",
    [
        *({"num_users": 1}, {"num_users": 40}, {"num_users": 4, "draft_time_spread": 0.999}),
        *({"num_users": 4, "total_bandwidth": 1e4}, {"num_users": 4, "total_bandwidth": 1e11}),
        *({"num_users": 4, "min_draft_length": 0}, {"num_users": 4, "max_draft_length": 200}),
        {"scenario": "qwen3.5", "server": "a100-7b-gemm", "payload": "ids", "min_draft_length": 0, "num_users": 3},
        *({**KINK, "max_draft_length": 3}, KINK, {**KINK, "padded_verification": True}),
        {**KINK, "verification_pieces": (), "verification_fixed_time": 0.02},
    ],
)
def test_slopes_of_extreme_systems(action, arguments):
    env, actions = played(FULL, action, **arguments)
    expected = differences(env, actions)
    assert env.reward_slopes(actions) == pytest.approx(expected, rel=1e-4, abs=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("action", ENCODINGS.names())
@pytest.mark.parametrize(("low", "high"), [(0, 25), (1, 1), (0, 1)])
@pytest.mark.parametrize("end", [-LIMIT, LIMIT])
def test_slopes_at_the_limits_are_finite(action, low, high, end):
    env, actions = played(FULL, action, num_users=3, min_draft_length=low, max_draft_length=high)
    slopes = env.reward_slopes(np.full_like(actions, end))
    assert np.isfinite(slopes).all()
    if low == high:
        assert not slopes[..., 0].any()


def test_slopes_play_no_step_and_check_arguments():
    env, actions = played("MultiSpin/HiddenAcceptance-v0", "residual", num_users=3)
    before = env.state
    real, rounded = (env.reward_slopes(actions, window=window) for window in (0.0, 0.3))
    assert (real[..., 1] == rounded[..., 1]).all()
    assert (real[..., 0] != rounded[..., 0]).any()
    assert (env.state.acceptance_rate == before.acceptance_rate).all()
    assert (env.state.spectral_efficiency == before.spectral_efficiency).all()
    for arguments, words in (
        ((np.full_like(actions, np.nan),), r"action\[0, 0, 0\]: expected numbers in \[-5, 5\], got nan"),
        ((actions[:2],), r"action: expected shape \(3, 3, 2\), got \(2, 3, 2\)"),
        ((actions, np.ones(3)), r"weights: expected shape \(3, 3\), got \(3,\)"),
        *(((actions, None, window), "window: expected a finite number") for window in (-0.1, 1.1, np.nan)),
    ):
        with pytest.raises(ValueError, match=words):
            env.reward_slopes(*arguments)
    with pytest.raises(ValueError, match="reward_slopes: expected an encoding with derivatives, got object"):
        _bandwidth_slopes(object(), None, None, None, None)


def test_tokens_are_interpolated():
    env = gym.make_vec(FULL, num_envs=2, num_users=3, max_draft_length=6).unwrapped
    env.reset(seed=0)
    rate = env.state.acceptance_rate
    for length, low in ((1.0, 1), (2.25, 2), (5.5, 5), (6.0, 5)):
        tokens, slope = interpolate_tokens(env._simulator, np.full((2, 3), length))
        below, above = (sum(rate**i for i in range(n + 1)) for n in (low, low + 1))
        assert slope == pytest.approx(above - below)
        assert tokens == pytest.approx(below + (length - low) * (above - below))


@pytest.mark.parametrize("action", ENCODINGS.names())
@pytest.mark.parametrize("name", ["Heterogeneous", "Homogeneous", "DelayedChannel"])
def test_sum_of_slopes_of_rounded_lengths_is_the_change_of_the_reward(name, action):
    """Along a path of the length of one user, or of the common one, between lengths outside all windows."""
    env, actions = played(f"MultiSpin/{name}-v0", action, num_users=4, server="a100-32b", min_draft_length=0)
    codec, simulator = env.config.actions, env._simulator
    users = slice(None) if codec.common_draft_length else 1
    ends = LIMIT * codec.length_column(np.array([2.0, 4.0]))
    path, step = np.linspace(*ends, 401, retstep=True)
    actions[:, :, 0] = LIMIT * codec.length_column(np.array(3.0))
    total = 0.0
    for column in path[:-1] + 0.5 * step:
        actions[:, users, 0] = column
        slopes = env.reward_slopes(actions, window=0.3)[:, users, 0]
        total = total + (slopes.sum(-1) if slopes.ndim == 2 else slopes) * step
    rewards = []
    for column in ends:
        actions[:, users, 0] = column
        outcome = simulator.expected(simulator.actions.decode(actions, simulator.planned))
        rewards.append(copy(simulator.objective).reward(outcome))
    assert total == pytest.approx(rewards[1] - rewards[0], rel=0.02, abs=1e-3)


def test_devices_without_a_draft_do_not_finish_last():
    scenario = ms.Scenario.preset("llama2", num_users=2, min_draft_length=0)
    state = ms.sample_state(scenario, np.random.default_rng(0))
    decision = RealDecision(np.array([0.0, 3.0]), np.array([0.0, 5e6]))
    outcome = round_outcome(scenario, state, decision, np.array([1.0, 2.0]))
    by_length, by_bandwidth = decision_slopes(
        scenario, state.spectral_efficiency, decision, outcome, np.array([0.5, 0.25]), 1.0
    )
    assert by_bandwidth[0] == 0.0 < by_bandwidth[1]
    assert by_length[0] == pytest.approx(0.5 / outcome.round_latency)
    for lengths in (np.zeros(3), np.array([0.0, 2.0, 3.0])):
        state = ms.SystemState(np.full(3, 0.01), np.ones(3), np.ones(3))
        by_length, by_log = equal_latency_slopes(scenario, state, lengths, np.full(3, 0.02), np.array([1.0, 2.0, 3.0]))
        assert np.isfinite(by_length).all()
        assert by_log[0] == 0.0


def test_the_delay_of_a_device_without_a_draft_has_no_effect():
    scenario = ms.Scenario.preset("llama2", num_users=3, min_draft_length=0)
    state = ms.SystemState(np.full(3, 0.01), np.ones(3), np.ones(3))
    lengths, others = np.array([0.0, 2.0, 3.0]), (np.full(3, 0.02), np.array([1.0, 2.0, 3.0]))
    late, later = (
        equal_latency_slopes(scenario.replace(access_delay=(delay, 0.0, 0.1)), state, lengths, *others)
        for delay in (0.0, 2.0)
    )
    assert (late[0] == later[0]).all()
    assert (late[1] == later[1]).all()


@pytest.mark.parametrize("padded", [False, True])
def test_a_draft_at_a_kink_of_the_server_costs_what_the_next_token_costs(padded):
    law = {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.0, "padded_verification": padded}
    pieces = ((2.0**-6, 2.0**-10), (0.0, 2.0**-10 + 2.0**-8))  # equal for 4 tokens
    scenario = ms.Scenario.preset("llama2", num_users=2, verification_pieces=pieces, **law)
    state, ends = ms.SystemState(np.full(2, 1e-9), np.full(2, 1e9), np.full(2, 0.5)), []
    for longer in (0.0, 1e-6):
        decision = RealDecision(np.array([1.0 + longer, 1.0]), np.full(2, 5e6))
        outcome = round_outcome(scenario, state, decision, np.ones(2))
        slopes = decision_slopes(scenario, state.spectral_efficiency, decision, outcome, np.zeros(2), 1.0)
        ends.append((float(outcome.goodput), slopes[0][0]))
    assert ends[0][1] == pytest.approx((ends[1][0] - ends[0][0]) / 1e-6, rel=1e-3)


@pytest.mark.parametrize("case", list(hostile_instances())[::3], ids=lambda case: f"K{len(case[0])}")
def test_slopes_of_equal_latency_are_differences(case):
    """For a random direction of lengths and of uploads, and a random weighting of the shares."""
    lengths, draft_time, token_time = case
    weights, direction, factor = np.random.default_rng(len(lengths)).uniform(0.0, 1.0, (3, len(lengths)))

    def value(step, other):
        moved = lengths * (1.0 + step * direction), draft_time, token_time * np.exp(other * factor)
        return (weights * equal_latency(*moved).share).sum()

    scenario = ms.Scenario.preset("llama2", num_users=len(lengths))
    state = ms.SystemState(draft_time, np.ones_like(draft_time), np.ones_like(draft_time))
    by_length, by_log = equal_latency_slopes(scenario, state, lengths, token_time, weights)
    step = 1e-5
    length_change = (value(step, 0.0) - value(-step, 0.0)) / (2.0 * step)
    upload_change = (value(0.0, step) - value(0.0, -step)) / (2.0 * step)
    assert (by_length * lengths * direction).sum() == pytest.approx(length_change, rel=1e-4, abs=1e-8)
    assert (by_log * factor).sum() == pytest.approx(upload_change, rel=1e-4, abs=1e-8)
