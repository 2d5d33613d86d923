"""Derivatives of the reward of a round with respect to actions, for the agent `apg`.

For real lengths, the chain rule gives them: from the reward to rates, to lengths and bandwidths, and to the columns.

For rounded lengths, the reward of one round is a step function of the real length, but its mean over many rounds is
smooth: the reward changes at the middle between two integers, and the probability of a length near a middle depends
smoothly on the policy. So a length within half a window of a middle has the derivative (reward above − reward below) /
window, and any other length has 0. For small windows, the mean over rounds converges to the derivative of the mean
reward. A round lasts as long as its slowest device, so a longer draft of a single device rarely pays, but longer drafts
of all devices often do. The derivative with respect to a common change of all lengths is therefore a difference over
`COMMON_WINDOWS` windows.
"""

import math
from functools import singledispatch

import numpy as np

from multispin_env.arrays import Array, BoolArray, FloatArray, IntArray
from multispin_env.envs.actions import LIMIT
from multispin_env.envs.rounds.encodings import (
    LOG_FACTOR,
    LOG_WEIGHTS,
    WEIGHT_COLUMNS,
    LengthsCodec,
    ResidualCodec,
    RoundsCodec,
    SharesCodec,
)
from multispin_env.envs.rounds.simulator import RoundsSimulator
from multispin_env.physics.rounds import round_outcome
from multispin_env.physics.types import Decision, Outcome, RealDecision, SystemState
from multispin_env.scenario import Scenario
from multispin_env.solver.equalization import share_slopes


def reward_slopes(
    rounds: RoundsSimulator, action: Array, weights: FloatArray | float | None, window: float
) -> FloatArray:
    """Return the derivatives (n, K, columns) of the next reward; see `MultiSpinVectorEnv.reward_slopes`."""
    codec, planned = rounds.actions, rounds.planned
    x = codec.checked(action)
    length = codec.real_lengths(x)
    relaxed = RealDecision(length, codec.bandwidth(x, length, planned))
    tokens, token_slope = interpolate_tokens(rounds, length)
    scenario, state = rounds.scenario, rounds.state
    outcome = round_outcome(scenario, state, relaxed, tokens)
    weights = rounds.weights(outcome) if weights is None else weights
    by_length, by_bandwidth = decision_slopes(
        rounds.scenario, rounds.state.spectral_efficiency, relaxed, outcome, token_slope, weights
    )
    through_bandwidth, by_columns = _bandwidth_slopes(codec, x, length, planned, by_bandwidth)
    by_length = by_length + through_bandwidth
    if window:
        by_length = _whole_length_slopes(rounds, x, length, weights, window)
    return np.stack([codec.common(by_length * length_slope(codec, length)), *by_columns], -1) / LIMIT


def interpolate_tokens(rounds: RoundsSimulator, length: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the expected tokens (n, K) of real lengths and their slopes, by linear interpolation between integers."""
    scenario = rounds.scenario
    low = np.floor(length).clip(scenario.min_draft_length, scenario.max_draft_length - 1).astype(np.int64)
    below = rounds.expected_tokens(low)
    slope = rounds.expected_tokens(low + 1) - below
    return below + slope * (length - low), slope


def decision_slopes(
    scenario: Scenario,
    spectral_efficiency: FloatArray,
    decision: RealDecision,
    outcome: Outcome,
    token_slope: FloatArray,
    weights: FloatArray | float,
) -> tuple[FloatArray, FloatArray]:
    """Return the derivatives of Σ_k ω_k N_k / T_e2e with respect to lengths and bandwidths (..., K).

    ``outcome`` is that of the decision, ``token_slope`` is E[N_k]', and ``weights`` is ω. A larger
    L_k increases the tokens and the verification time. For the first device that finishes last, the latency also
    changes, by T_k + Q / (B_k r_k) per token of L_k and by −L_k Q / (B_k² r_k) per Hz of B_k, times the elasticity b
    R'(b) / R(b) of another link. Devices without a draft or bandwidth never finish last.
    """
    last = np.arange(outcome.tokens.shape[-1]) == outcome.ready_time.argmax(-1)[..., None]
    total = outcome.round_latency[..., None]
    rates = np.add.reduce(weights * outcome.tokens, -1)[..., None] / total
    waited = np.where(last, rates / total, 0.0)
    length, bandwidth = (np.where(x > 0.0, x, 1.0) for x in (decision.draft_length, decision.bandwidth))
    won = weights * token_slope / total - rates / total * scenario.law.slopes(decision.draft_length)
    by_length = won - waited * (outcome.draft_time + outcome.upload_time) / length
    by_bandwidth = waited * outcome.upload_time / bandwidth
    return by_length, by_bandwidth * scenario.uplink.elasticity(spectral_efficiency, bandwidth)


@singledispatch
def length_slope(codec: RoundsCodec, length: FloatArray) -> FloatArray:
    """Return the derivative of an encoding's `real_length` with respect to column 0, at the given real lengths."""
    low, high = codec.length_range
    return 0.5 * math.log(1.0 + high - low) * (1.0 + length - low)


@singledispatch
def _bandwidth_slopes(
    codec: RoundsCodec, x: FloatArray, length: FloatArray, state: SystemState, by_bandwidth: FloatArray
) -> tuple[FloatArray, list[FloatArray]]:
    """Convert derivatives with respect to bandwidth to those with respect to L and to the columns after the first.

    ``by_bandwidth`` has shape (..., K). A new encoding registers its function here, and also with `length_slope` if it
    has another scale of lengths.
    """
    raise ValueError(f"reward_slopes: expected an encoding with derivatives, got {type(codec).__name__}")


@_bandwidth_slopes.register(ResidualCodec)
@_bandwidth_slopes.register(LengthsCodec)  # with a factor of 1
def _(
    codec: RoundsCodec, x: FloatArray, length: FloatArray, state: SystemState, by_bandwidth: FloatArray
) -> tuple[FloatArray, list[FloatArray]]:
    column = x[..., 1] if codec.columns == 2 else np.zeros(1)
    token_time = codec.scenario.uplink.token_time(state.spectral_efficiency) * np.exp(LOG_FACTOR * column)
    by_share = codec.scenario.total_bandwidth * by_bandwidth
    by_length, by_log_factor = equal_latency_slopes(codec.scenario, state, length, token_time, by_share)
    return by_length, [LOG_FACTOR * by_log_factor][: codec.columns - 1]


@_bandwidth_slopes.register
def _(
    codec: SharesCodec, x: FloatArray, length: FloatArray, state: SystemState, by_bandwidth: FloatArray
) -> tuple[FloatArray, list[FloatArray]]:
    bandwidth = codec.bandwidth(x, length, state)
    middle = (by_bandwidth * bandwidth).sum(-1, keepdims=True) / codec.scenario.total_bandwidth
    slopes = np.diff(LOG_WEIGHTS) / np.diff(WEIGHT_COLUMNS)
    by_log_weight = bandwidth * (by_bandwidth - middle)
    return np.zeros_like(length), [slopes[np.digitize(x[..., 1], WEIGHT_COLUMNS[1:-1])] * by_log_weight]


def equal_latency_slopes(
    scenario: Scenario, state: SystemState, length: FloatArray, token_time: FloatArray, by_share: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Convert derivatives with respect to the shares of `finish_together` to derivatives with respect to L and ln c.

    All arrays are (..., K), without head starts. The shares change by ds_k = a_k dL_k + s_k d ln c_k − p_k dφ
    (`share_slopes`). Since Σ_k s_k = 1, p_k dφ subtracts the mean, weighted by p, of the other two terms.
    """
    growth, pull, per_token = share_slopes(scenario, state, length, token_time)
    total = np.add.reduce(pull, -1)[..., None]
    relative = by_share - np.add.reduce(by_share * pull, -1)[..., None] / np.where(total > 0.0, total, 1.0)
    return relative * per_token, relative * growth


COMMON_WINDOWS = 2.5
"""Distance, in windows, of the two common changes of all lengths from which their derivative is computed.

Without this derivative, policies got stuck at lengths that no change of a single device improves.
"""


def _whole_length_slopes(
    rounds: RoundsSimulator, x: FloatArray, length: FloatArray, weights: FloatArray | float, window: float
) -> FloatArray:
    codec, planned, expected_tokens = rounds.actions, rounds.planned, rounds.expected_tokens

    def value(rows: IntArray | slice, whole: IntArray, tokens: FloatArray) -> FloatArray:
        decision = Decision(whole, codec.bandwidth(x[rows], whole.astype(np.float64), planned[rows]))
        outcome = round_outcome(rounds.scenario, rounds.state[rows], decision, tokens)
        weight = weights[rows] if isinstance(weights, np.ndarray) else weights
        return np.add.reduce(weight * outcome.tokens, -1) / outcome.round_latency

    def shifted(by: float) -> FloatArray:
        whole = np.rint(length + by).clip(*codec.length_range).astype(np.int64)
        return value(slice(None), whole, expected_tokens(whole))

    whole = np.rint(length).astype(np.int64)
    rows, users, other = _near_a_middle(codec, length, whole, window)
    tokens = expected_tokens(whole)
    before = value(slice(None), whole, tokens)
    changed = np.where(users, other[rows], whole[rows])
    after = value(rows, changed, np.where(users, expected_tokens(other)[rows], tokens[rows]))
    gain = (after - before[rows]) / window / users.sum(-1)
    slopes = np.zeros_like(length)
    index, user = np.nonzero(users)
    slopes[rows[index], user] = gain[index] * (other - whole)[rows[index], user]
    missing = (shifted(0.5 * COMMON_WINDOWS * window) - shifted(-0.5 * COMMON_WINDOWS * window)) / (
        COMMON_WINDOWS * window
    ) - slopes.sum(-1)
    return slopes + (missing / length.shape[-1])[:, None]


def _near_a_middle(
    codec: RoundsCodec, length: FloatArray, whole: IntArray, window: float
) -> tuple[IntArray, BoolArray, IntArray]:
    """Find lengths within half a window of a middle: rows (m,), users (m, K), and the second closest integers (n, K).

    At the limits of the range, the second integer equals the first.
    """
    other = np.where(length >= whole, whole + 1, whole - 1).clip(*codec.length_range)
    near = (other != whole) & (np.abs(length - 0.5 * (whole + other)) < 0.5 * window)
    if codec.common_draft_length:
        rows = np.flatnonzero(near[:, 0])
        return rows, np.ones((len(rows), length.shape[-1]), dtype=bool), other
    rows, user = np.nonzero(near)
    return rows, np.arange(length.shape[-1]) == user[:, None], other
