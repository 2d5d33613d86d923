"""Derivatives of a round's reward by actions: from the reward to rates, to lengths and bandwidths, to action columns.

`apg` learns from them. With real lengths they follow by the chain rule. Derivatives by rounded lengths are ours. With
whole lengths the reward of one round is a staircase in a real length. Its mean over many rounds is not: where the
length passes the middle between two whole ones, the reward changes by what one token more earns, and how often it is
there depends smoothly on the policy. So a length within half a window of such a middle has the derivative
(reward above − reward below) / window, and any other length has none; as the window shrinks, the mean over rounds goes
to the derivative of the mean reward. A round lasts as long as its slowest device, so that a token more rarely pays for
one device alone, and often for all together. What all lengths together change is therefore looked at from further off,
`COMMON_WINDOWS` windows apart.
"""

import math
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.envs.objectives import Objective
from multispin_env.envs.rounds.encodings import (
    LOG_FACTOR_SCALE,
    LOG_LARGEST_FACTOR,
    SHARPNESS,
    LengthsCodec,
    ResidualCodec,
    RoundsCodec,
    SharesCodec,
    residual_factor,
)
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.rounds import price
from multispin_env.physics.rounds_core import RoundsCore
from multispin_env.physics.tokens import pass_tokens
from multispin_env.physics.types import Decision, Outcome, RealDecision, SystemState
from multispin_env.scenario import Scenario
from multispin_env.solver.equalization import equal_latency


def reward_slopes(
    codec: RoundsCodec,
    objective: Objective,
    core: RoundsCore,
    planned: SystemState,
    action: NDArray[Any],
    weights: FloatArray | float | None,
    window: float,
) -> FloatArray:
    """Derivatives (n, K, columns) of the next reward, as `MultiSpinVectorEnv.reward_slopes` says.

    The state of ``core`` prices the round; ``planned`` decodes actions.
    """
    x = codec.checked(action)
    length = codec.real_lengths(x)
    relaxed = RealDecision(length, codec.bandwidth(x, length, planned))
    tokens, token_slope = interpolate_tokens(core, length)
    outcome = price(core.scenario, core.state, relaxed, tokens)
    weights = objective.weights(outcome) if weights is None else weights
    by_length, by_bandwidth = decision_slopes(core.scenario, relaxed, outcome, token_slope, weights)
    through_bandwidth, by_columns = _bandwidth_slopes(codec, x, length, planned, by_bandwidth)
    by_length = by_length + through_bandwidth
    if window:
        by_length = _whole_length_slopes(codec, core, planned, x, length, weights, window)
    return np.stack([codec.common(by_length * length_slope(codec, length)), *by_columns], -1)


def interpolate_tokens(core: RoundsCore, length: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Expected tokens (n, K) of real lengths, on the line between the whole ones beside them, and its slope."""
    scenario = core.scenario
    low = np.floor(length).clip(scenario.min_draft_length, scenario.max_draft_length - 1).astype(np.int64)
    below = core.expected_tokens(low)
    slope = core.expected_tokens(low + 1) - below
    return below + slope * (length - low), slope


def decision_slopes(
    scenario: Scenario, decision: RealDecision, outcome: Outcome, token_slope: FloatArray, weights: FloatArray | float
) -> tuple[FloatArray, FloatArray]:
    """Derivatives of Σ_k ω_k N_k / T_e2e by lengths and bandwidths (..., K), at a decision that `price` has priced.

    By L_k, tokens grow with ``token_slope``, E[N_k]'; the verification by its own slope; and the latency of the device
    that the server waits for, the first of these if there are several, by T_k + Q / (B_k r_k). With B_k that latency
    grows by −L_k Q / (B_k² r_k). A device without a draft or without bandwidth is not waited for. ``weights``: ω.
    """
    latency = outcome.draft_time + outcome.upload_time
    last = np.arange(latency.shape[-1]) == latency.argmax(-1)[..., None]
    total = outcome.round_latency[..., None]
    rates = np.add.reduce(weights * outcome.tokens, -1)[..., None] / total
    waited = np.where(last, rates / total, 0.0)
    length, bandwidth = (np.where(x > 0.0, x, 1.0) for x in (decision.draft_length, decision.bandwidth))
    won = weights * token_slope / total - rates / total * _verification_slopes(scenario, decision.draft_length)
    return won - waited * latency / length, waited * outcome.upload_time / bandwidth


def _verification_slopes(scenario: Scenario, length: FloatArray) -> FloatArray:
    """Derivatives of T_ver by lengths (..., K) in s/token; at a kink of the steeper line.

    In a padded pass the longest draft alone counts, the first of several.
    """
    law = scenario.law
    if law.flat:  # for speed: nothing is counted
        return np.zeros(1)
    x, start, slope = pass_tokens(scenario, length)[..., None], *np.array(sorted(law.lines, key=lambda line: line[1])).T
    times = start + slope * x
    per_token = slope[len(slope) - 1 - times[..., ::-1].argmax(-1)][..., None]
    if not law.padded:
        return per_token * np.ones_like(length)
    users = length.shape[-1]
    return per_token * np.where(np.arange(users) == length.argmax(-1)[..., None], float(users), 0.0)


@singledispatch
def length_slope(codec: RoundsCodec, length: FloatArray) -> FloatArray:
    """Derivative of an encoding's `real_length` by the entry of column 0, at these real lengths."""
    low, high = codec.length_range
    return 0.5 * math.log(1.0 + high - low) * (1.0 + length - low)


@length_slope.register
def _(codec: SharesCodec, length: FloatArray) -> FloatArray:
    low, high = codec.length_range
    return np.full_like(length, 0.5 * (high - low))


@singledispatch
def _bandwidth_slopes(
    codec: RoundsCodec, x: FloatArray, length: FloatArray, state: SystemState, by_bandwidth: FloatArray
) -> tuple[FloatArray, list[FloatArray]]:
    """Derivatives of a number by L, as far as L decides on bandwidth, and by the columns after the first.

    ``by_bandwidth`` are its derivatives by the bandwidth that the action x means, (..., K). Another encoding registers
    its own function here, and with `length_slope` if its lengths are on another scale.
    """
    raise ValueError(f"reward_slopes: expected an encoding that has derivatives, got {type(codec).__name__}")


@_bandwidth_slopes.register(ResidualCodec)
@_bandwidth_slopes.register(LengthsCodec)  # whose factor is 1
def _(
    codec: RoundsCodec, x: FloatArray, length: FloatArray, state: SystemState, by_bandwidth: FloatArray
) -> tuple[FloatArray, list[FloatArray]]:
    column = x[..., 1] if codec.columns == 2 else np.zeros(1)
    token_time = full_share_token_time(codec.scenario, state.spectral_efficiency) * residual_factor(column)
    by_share = codec.scenario.total_bandwidth * by_bandwidth
    by_length, by_log_factor = equal_latency_slopes(length, state.draft_time, token_time, by_share)
    by_column = by_log_factor * (LOG_FACTOR_SCALE * SHARPNESS * np.cosh(SHARPNESS * column))
    return by_length, [by_column][: codec.columns - 1]


@_bandwidth_slopes.register
def _(
    codec: SharesCodec, x: FloatArray, length: FloatArray, state: SystemState, by_bandwidth: FloatArray
) -> tuple[FloatArray, list[FloatArray]]:
    bandwidth = codec.bandwidth(x, length, state)
    middle = (by_bandwidth * bandwidth).sum(-1, keepdims=True) / codec.scenario.total_bandwidth
    return np.zeros_like(length), [LOG_LARGEST_FACTOR * bandwidth * (by_bandwidth - middle)]


def equal_latency_slopes(
    length: FloatArray, draft_time: FloatArray, token_time: FloatArray, by_share: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Derivatives of a number by L and by ln c, from those by the shares s_k of `equal_latency`, (..., K) each.

    With room ρ_k = φ − L_k T_k, s_k = c_k L_k / ρ_k and p_k = s_k / ρ_k, the shares change by
    ds_k = (c_k φ / ρ_k²) dL_k + s_k d ln c_k − p_k dφ at held ΣS = 1, so that p_k dφ takes the mean, weighted by p,
    of what the other two add up to. Lengths, T and c are as there, without head starts.
    """
    at = equal_latency(length, draft_time, token_time)
    busy = at.share > 0.0
    latency = at.latency[..., None]
    room = np.where(busy, length * token_time / np.where(busy, at.share, 1.0), latency)  # φ − L T, with all digits
    room = np.where(room > 0.0, room, 1.0)  # nobody drafts: nothing changes
    pull = at.share / room
    total = np.add.reduce(pull, -1)[..., None]
    relative = by_share - np.add.reduce(by_share * pull, -1)[..., None] / np.where(total > 0.0, total, 1.0)
    return relative * token_time * latency / room**2, relative * at.share


COMMON_WINDOWS = 2.5
"""Windows between the two sets of lengths, all longer and all shorter, whose difference is the sum of the derivatives.

Without it policies got stuck at lengths, or at 0, from which no single step leads away.
"""


def _whole_length_slopes(
    codec: RoundsCodec,
    core: RoundsCore,
    planned: SystemState,
    x: FloatArray,
    length: FloatArray,
    weights: FloatArray | float,
    window: float,
) -> FloatArray:
    """Derivatives (n, K) of Σ_k ω_k N_k / T_e2e by the real lengths of an action, rounded, in a window of tokens."""

    def value(rows: IntArray | slice, whole: IntArray, tokens: FloatArray) -> FloatArray:
        decision = Decision(whole, codec.bandwidth(x[rows], whole.astype(np.float64), planned[rows]))
        outcome = price(core.scenario, core.state[rows], decision, tokens)
        weight = weights[rows] if isinstance(weights, np.ndarray) else weights
        rate: FloatArray = np.add.reduce(weight * outcome.tokens, -1) / outcome.round_latency
        return rate

    def shifted(by: float) -> FloatArray:
        whole = np.rint(length + by).clip(*codec.length_range).astype(np.int64)
        return value(slice(None), whole, core.expected_tokens(whole))

    whole = np.rint(length).astype(np.int64)
    rows, users, other = _near_a_middle(codec, length, whole, window)
    tokens = core.expected_tokens(whole)
    before = value(slice(None), whole, tokens)
    changed = np.where(users, other[rows], whole[rows])
    after = value(rows, changed, np.where(users, core.expected_tokens(other)[rows], tokens[rows]))
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
    """Lengths in the window of a middle: their copies (m,) and users (m, K), and all lengths' other sides (n, K).

    At the ends of the range the other side is the length itself.
    """
    other = np.where(length >= whole, whole + 1, whole - 1).clip(*codec.length_range)
    near = (other != whole) & (np.abs(length - 0.5 * (whole + other)) < 0.5 * window)
    if codec.common_draft_length:
        rows = np.flatnonzero(near[:, 0])
        return rows, np.ones((len(rows), length.shape[-1]), dtype=bool), other
    rows, user = np.nonzero(near)
    return rows, np.arange(length.shape[-1]) == user[:, None], other
