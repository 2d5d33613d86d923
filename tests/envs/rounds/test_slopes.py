"""Derivatives of the reward by actions, against differences of the reward itself."""

from copy import copy

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.envs.rounds.encodings import RoundsCodec
from multispin_env.envs.rounds.slopes import decision_slopes, equal_latency_slopes, interpolate_tokens
from multispin_env.physics.rounds import price
from multispin_env.physics.tokens import expected_tokens
from multispin_env.physics.types import RealDecision
from multispin_env.registry import ENCODINGS
from multispin_env.solver.equalization import equal_latency
from tests.families import SLOPING
from tests.solver.test_equalization import hostile_instances

STEP = 1e-6


def played(env_id, action, **arguments):
    """A vector some rounds into its episodes, and actions for it that are no round numbers."""
    env = gym.make_vec(env_id, num_envs=3, action=action, **arguments)
    env.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(3):
        env.step(rng.uniform(-0.5, 0.5, env.action_space.shape).astype(np.float32))
    return env, rng.uniform(-0.7, 0.7, env.action_space.shape)


def relaxed_reward(env, action):
    """Reward (n,) at real lengths, with expected tokens between those of the whole lengths beside them."""
    batch = env.unwrapped._engine
    length = batch.actions.real_lengths(action)
    relaxed = RealDecision(length, batch.actions.bandwidth(action, length, batch.planned))
    low = np.floor(relaxed.draft_length).astype(int)
    expected = batch._core.dynamics.acceptance.expectation(env.unwrapped.scenario, batch._core.requests)
    part = relaxed.draft_length - low
    tokens = (1.0 - part) * expected(low) + part * expected(low + 1)
    outcome = price(env.unwrapped.scenario, batch.state, relaxed, tokens)
    return copy(batch.objective).reward(outcome)  # a copy: the round is not played


def differences(env, action):
    found = np.zeros_like(action)
    for index in np.ndindex(*action.shape[1:]):
        ends = []
        for side in (STEP, -STEP):
            moved = action.copy()
            moved[(slice(None), *index)] += side
            ends.append(relaxed_reward(env, moved))
        found[(slice(None), *index)] = (ends[0] - ends[1]) / (2.0 * STEP)
    return found


@pytest.mark.parametrize("action", ENCODINGS.names())
@pytest.mark.parametrize("env_id", SLOPING)
def test_slopes_are_those_of_the_reward(env_id, action):
    env, actions = played(env_id, action, num_users=5)
    assert env.unwrapped.reward_slopes(actions) == pytest.approx(differences(env, actions), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("action", ENCODINGS.names())
@pytest.mark.parametrize(
    "arguments",
    [
        {"num_users": 1},
        {"num_users": 40},
        {"num_users": 4, "total_bandwidth": 1e4},
        {"num_users": 4, "total_bandwidth": 1e11},
        {"num_users": 4, "draft_time_spread": 0.999},
        {"num_users": 4, "min_draft_length": 0},
        {"num_users": 4, "max_draft_length": 200},
        {"scenario": "qwen3.5", "server": "a100-7b-gemm", "payload": "ids", "min_draft_length": 0, "num_users": 3},
    ],
)
def test_slopes_of_extreme_systems(action, arguments):
    env, actions = played("MultiSpin/Heterogeneous-v0", action, **arguments)
    wanted = differences(env, actions)
    assert env.unwrapped.reward_slopes(actions) == pytest.approx(wanted, rel=1e-4, abs=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("action", ENCODINGS.names())
@pytest.mark.parametrize("lengths", [(0, 25), (1, 1), (0, 1)])
@pytest.mark.parametrize("end", [-1.0, 1.0])
def test_slopes_at_the_ends_are_numbers(action, lengths, end):
    low, high = lengths
    env, actions = played(
        "MultiSpin/Heterogeneous-v0", action, num_users=3, min_draft_length=low, max_draft_length=high
    )
    found = env.unwrapped.reward_slopes(np.full_like(actions, end))
    assert np.isfinite(found).all()
    if low == high:
        assert not found[..., 0].any()


def test_slopes_play_nothing_and_refuse_bad_actions():
    env, actions = played("MultiSpin/HiddenAcceptance-v0", "residual", num_users=3)
    before = env.unwrapped.state
    env.unwrapped.reward_slopes(actions)
    assert (env.unwrapped.state.acceptance_rate == before.acceptance_rate).all()
    assert (env.unwrapped.state.spectral_efficiency == before.spectral_efficiency).all()
    with pytest.raises(ValueError, match=r"action\[0, 0, 0\]: expected numbers in \[-1, 1\], got nan"):
        env.unwrapped.reward_slopes(np.full_like(actions, np.nan))
    with pytest.raises(ValueError, match=r"action: expected shape \(3, 3, 2\), got \(2, 3, 2\)"):
        env.unwrapped.reward_slopes(actions[:2])


class Alike(RoundsCodec):
    """The same bandwidth for all, without derivatives."""

    columns = 1

    def bandwidth(self, x, length, state):
        return np.full(length.shape, self.scenario.total_bandwidth / length.shape[-1])

    def bandwidth_columns(self, decision, state):
        return []


def test_an_encoding_may_have_no_derivatives():
    ENCODINGS.register("alike", Alike)
    try:
        env, actions = played("MultiSpin/Heterogeneous-v0", "alike", num_users=3)
        with pytest.raises(ValueError, match="reward_slopes: expected an encoding that has derivatives, got Alike"):
            env.unwrapped.reward_slopes(actions)
    finally:
        ENCODINGS.unregister("alike")


def test_climbing_the_slopes_reaches_the_optimum():
    """Followed state by state, they lead where the closed form is: what they promise is there."""
    env = gym.make_vec("MultiSpin/Heterogeneous-v0", num_envs=20, num_users=6, action="lengths")
    env.reset(seed=0)
    actions = np.zeros(env.action_space.shape)
    for round_ in range(800):
        actions = np.clip(actions + 0.5 / (1.0 + 0.02 * round_) * env.unwrapped.reward_slopes(actions), -1.0, 1.0)
    scenario, state = env.unwrapped.scenario, env.unwrapped.state
    reached = ms.expected_outcome(scenario, state, env.unwrapped.decode_action(actions)).goodput
    best = ms.expected_outcome(scenario, state, ms.make_controller("optimal", scenario)(state)).goodput
    assert (reached / best).mean() > 0.998


def test_expected_tokens_lie_on_a_line_between_whole_lengths():
    """At the longest one the line is the one below it."""
    env = gym.make_vec("MultiSpin/Heterogeneous-v0", num_envs=2, num_users=3, max_draft_length=6)
    env.reset(seed=0)
    rate = env.unwrapped.state.acceptance_rate
    core = env.unwrapped._engine._core
    for length, low in ((1.0, 1), (2.25, 2), (5.5, 5), (6.0, 5)):
        tokens, slope = interpolate_tokens(core, np.full((2, 3), length))
        whole = [sum(rate**i for i in range(n + 1)) for n in (low, low + 1)]
        assert slope == pytest.approx(whole[1] - whole[0])
        assert tokens == pytest.approx(whole[0] + (length - low) * (whole[1] - whole[0]))


def whole_reward(env, action):
    """Expected reward (n,) of an action as it is played, which it is not."""
    batch = env.unwrapped._engine
    outcome = batch._core.expected(batch.actions.decode(action, batch.planned))
    return copy(batch.objective).reward(outcome)


@pytest.mark.parametrize("action", ENCODINGS.names())
@pytest.mark.parametrize("variant", ["Heterogeneous", "Homogeneous", "DelayedChannel"])
def test_slopes_of_whole_lengths_add_up_to_the_change_of_the_reward(variant, action):
    """Along a path of one user's length, or of the common one, from and to where no window is."""
    env, actions = played(f"MultiSpin/{variant}-v0", action, num_users=4, server="a100-32b", min_draft_length=0)
    codec = env.unwrapped.config.actions
    users = slice(None) if codec.common_draft_length else 1
    ends = codec.length_column(np.array([2.0, 4.0]))
    path, step = np.linspace(*ends, 401, retstep=True)
    actions[:, :, 0] = codec.length_column(np.array(3.0))
    total = 0.0
    for column in path[:-1] + 0.5 * step:
        actions[:, users, 0] = column
        slopes = env.unwrapped.reward_slopes(actions, window=0.3)[:, users, 0]
        total = total + (slopes.sum(-1) if slopes.ndim == 2 else slopes) * step
    rewards = []
    for column in ends:
        actions[:, users, 0] = column
        rewards.append(whole_reward(env, actions))
    assert total == pytest.approx(rewards[1] - rewards[0], rel=0.02, abs=1e-3)


def test_slopes_of_whole_lengths_leave_bandwidth_alone():
    env, actions = played("MultiSpin/Heterogeneous-v0", "residual", num_users=4)
    real, whole = (env.unwrapped.reward_slopes(actions, window=window) for window in (0.0, 0.3))
    assert (real[..., 1] == whole[..., 1]).all()
    assert (real[..., 0] != whole[..., 0]).any()
    for window in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="window: expected a finite number"):
            env.unwrapped.reward_slopes(actions, window=window)


@pytest.mark.parametrize(
    "fields", [{}, {"padded_verification": True}, {"verification_pieces": (), "verification_fixed_time": 0.02}]
)
@pytest.mark.parametrize("start", [[3.2, 1.1, 2.4], [0.2, 0.3, 0.1]], ids=["steep", "flat"])
def test_slopes_by_decisions_are_differences(fields, start):
    law = {"verification_pieces": ((0.010, 0.001), (0.004, 0.0019)), "verification_time_per_draft": 0.001}
    law |= {"verification_fixed_time": 0.0, "min_draft_length": 0} | fields
    scenario = ms.Scenario.preset("llama2", num_users=3, **law)
    state = ms.sample_state(scenario, np.random.default_rng(1))
    length, bandwidth, weights = np.array(start), np.full(3, 3e6), np.array([1.0, 0.5, 2.0])

    def priced(length, bandwidth):
        return price(scenario, state, RealDecision(length, bandwidth), expected_tokens(length, state.acceptance_rate))

    def value(length, bandwidth):
        outcome = priced(length, bandwidth)
        return (weights * outcome.tokens).sum() / outcome.round_latency

    step, decay = 1e-6, -np.log(state.acceptance_rate)
    token_slope = decay * state.acceptance_rate ** (length + 1.0) / (1.0 - state.acceptance_rate)
    by_length, by_bandwidth = decision_slopes(
        scenario, RealDecision(length, bandwidth), priced(length, bandwidth), token_slope, weights
    )
    for user in range(3):
        move = step * (np.arange(3) == user)
        difference = (value(length + move, bandwidth) - value(length - move, bandwidth)) / (2.0 * step)
        assert by_length[user] == pytest.approx(difference, rel=1e-4, abs=1e-7)
        wide = 1e6 * move
        difference = (value(length, bandwidth + wide) - value(length, bandwidth - wide)) / 2.0
        assert by_bandwidth[user] == pytest.approx(difference, rel=1e-4, abs=1e-12)


def test_a_device_that_drafts_nothing_is_not_waited_for():
    scenario = ms.Scenario.preset("llama2", num_users=2, min_draft_length=0)
    state = ms.sample_state(scenario, np.random.default_rng(0))
    decision = RealDecision(np.array([0.0, 3.0]), np.array([0.0, 5e6]))
    outcome = price(scenario, state, decision, np.array([1.0, 2.0]))
    by_length, by_bandwidth = decision_slopes(scenario, decision, outcome, np.array([0.5, 0.25]), 1.0)
    assert by_bandwidth[0] == 0.0
    assert by_bandwidth[1] > 0.0
    latency = price(scenario, state, decision, np.ones(2)).round_latency
    assert by_length[0] == pytest.approx(0.5 / latency)


@pytest.mark.parametrize("case", list(hostile_instances())[::3], ids=lambda case: f"K{len(case[0])}")
def test_slopes_of_the_equal_latency_agree_with_differences(case):
    """Of a random weighting of the shares: real lengths, and uploads that all change by a factor of their own."""
    lengths, draft_time, token_time = case
    rng = np.random.default_rng(len(lengths))
    weights, direction, factor = rng.uniform(0.0, 1.0, (3, len(lengths)))

    def value(step, other):
        moved = lengths * (1.0 + step * direction), draft_time, token_time * np.exp(other * factor)
        return (weights * equal_latency(*moved).share).sum()

    by_length, by_log = equal_latency_slopes(lengths, draft_time, token_time, weights)
    step = 1e-5
    length_change = (value(step, 0.0) - value(-step, 0.0)) / (2.0 * step)
    upload_change = (value(0.0, step) - value(0.0, -step)) / (2.0 * step)
    assert (by_length * lengths * direction).sum() == pytest.approx(length_change, rel=1e-4, abs=1e-8)
    assert (by_log * factor).sum() == pytest.approx(upload_change, rel=1e-4, abs=1e-8)


def test_slopes_where_nobody_or_not_everybody_drafts():
    draft_time, token_time, by_share = np.full(3, 0.01), np.full(3, 0.02), np.array([1.0, 2.0, 3.0])
    for lengths in (np.zeros(3), np.array([0.0, 2.0, 3.0])):
        by_length, by_log = equal_latency_slopes(lengths, draft_time, token_time, by_share)
        assert np.isfinite(by_length).all()
        assert by_log[0] == 0.0
