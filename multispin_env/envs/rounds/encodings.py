"""Encodings of a round's actions: the draft length, then the bandwidth if it is free; and derivatives by both.

Derivatives of the expected reward by lengths that are rounded are ours. With whole lengths the reward of one round is a
staircase in a real length. Its mean over many rounds is not: where the length passes the middle between two whole ones,
the reward changes by what one token more is worth, and how often it is there depends smoothly on the policy. So a
length within half a window of such a middle has the derivative (reward above − reward below) / window, and any other
length has none; as the window shrinks, the mean over rounds goes to the derivative of the mean reward. A round lasts as
long as its slowest device, so that a token more rarely pays for one device alone, and often for all together. What all
lengths together change is therefore looked at from further off, `COMMON` windows apart.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import require
from multispin_env.envs.engine import ActionCodec, columns_stacked
from multispin_env.physics.chains import drafting_time
from multispin_env.physics.radio import full_share_token_time, upload_time
from multispin_env.physics.rounds import price
from multispin_env.physics.types import Decision, RealDecision, SystemState, checked_decision, checked_state
from multispin_env.solver.equalization import Slopes, equal_finish, equal_latency, equal_latency_slopes

LARGEST_FACTOR = 1e4
"""Factor on bandwidth at the ends of an action's second column."""

LOG_LARGEST_FACTOR = math.log(LARGEST_FACTOR)


@dataclass(frozen=True)
class RoundsCodec(ActionCodec):
    """Base of the encodings of rounds.

    A subclass has `columns` and the three methods of the bandwidth; with another scale of lengths also `real_length`,
    `length_column` and `length_slope`. `equalized` is the bandwidth with which all devices finish together.
    """

    common_draft_length: bool = False  # whether all devices draft the same number of tokens

    @override
    def decode(self, action: NDArray[Any], state: SystemState) -> Decision:
        x = self.checked(action)
        length = np.rint(self._real_lengths(x))
        return Decision(length.astype(np.int64), self.bandwidth(x, length, state))

    def relaxed(self, x: FloatArray, state: SystemState) -> RealDecision:
        """As `decode` of a checked action, with lengths that are not rounded: it has derivatives by the action."""
        length = self._real_lengths(x)
        return RealDecision(length, self.bandwidth(x, length, state))

    def pull_back(self, x: FloatArray, state: SystemState, slopes: RealDecision) -> FloatArray:
        """Derivatives by the action (..., K, columns) of a number, from those by the decision that `relaxed` gives."""
        length = self._real_lengths(x)
        by_length, by_columns = self.bandwidth_slopes(x, length, state, slopes.bandwidth)
        column = (slopes.draft_length + by_length) * self.length_slope(length)
        return np.stack([self._common(column), *by_columns], -1)

    @override
    def encode(self, decision: Decision, state: SystemState) -> NDArray[np.float32]:
        decision = checked_decision(self.scenario, decision)
        length = decision.draft_length
        if self.common_draft_length:
            require("draft_length", length, length == length[..., :1], "one common length in this environment")
        return columns_stacked([self.length_column(length), *self.bandwidth_columns(decision, state)])

    @override
    def checked_state(self, state: SystemState) -> SystemState:
        return checked_state(self.scenario, state)

    @abstractmethod
    def bandwidth(self, x: FloatArray, length: FloatArray, state: SystemState) -> FloatArray:
        """Bandwidth (..., K) in Hz that an action x (..., K, columns) means with lengths (..., K), whole or real."""

    @abstractmethod
    def bandwidth_columns(self, decision: Decision, state: SystemState) -> list[FloatArray]:
        """Columns after the first, (..., K) each, that mean the bandwidth of a decision."""

    @abstractmethod
    def bandwidth_slopes(
        self, x: FloatArray, length: FloatArray, state: SystemState, by_bandwidth: FloatArray
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Derivatives of a number by L, as far as L decides on bandwidth, and by the columns after the first.

        ``by_bandwidth`` are its derivatives by the bandwidth, (..., K).
        """

    def _real_lengths(self, x: FloatArray) -> FloatArray:
        return self.real_length(self._common(x[..., 0]))

    def _common(self, column: FloatArray) -> FloatArray:
        """Mean over users for all of them where their length is common; it is its own transpose, so slopes too."""
        if not self.common_draft_length:
            return column
        return np.broadcast_to(column.mean(-1, keepdims=True), column.shape)

    def equalized(self, length: FloatArray, state: SystemState, factor: FloatArray | float) -> FloatArray:
        """Bandwidth (..., K) in Hz with which all devices finish together if Q / r_k is ``factor`` times as large."""
        token_time = full_share_token_time(self.scenario, state.spectral_efficiency) * factor
        drafting = drafting_time(self.scenario, length, state.draft_time, state.head_start)
        return self.scenario.total_bandwidth * equal_finish(drafting, length * token_time).share

    def equalized_slopes(
        self, length: FloatArray, state: SystemState, factor: FloatArray | float, by_bandwidth: FloatArray
    ) -> Slopes:
        """Derivatives of a number by the lengths and by ln(Q / r_k), from those by the bandwidth of `equalized`."""
        token_time = full_share_token_time(self.scenario, state.spectral_efficiency) * factor
        at = equal_latency(length, state.draft_time, token_time)
        by_share = self.scenario.total_bandwidth * by_bandwidth
        return equal_latency_slopes(at, length, state.draft_time, token_time, by_share)


SHARPNESS = 5.0
"""β of ln f(x) = ln(1e4) sinh(β x) / sinh β: slope 0.62 at x = 0, where learned policies work."""

LOG_FACTOR_SCALE = LOG_LARGEST_FACTOR / math.sinh(SHARPNESS)


def residual_factor(x: FloatArray) -> FloatArray:
    """f(x): f(0) = 1, fine near 0, 1e4 and 1e-4 at the ends."""
    grown = np.exp(SHARPNESS * x)  # twice sinh is this minus its inverse: digits lost near 0 don't show in f
    return np.exp((0.5 * LOG_FACTOR_SCALE) * (grown - 1.0 / grown))


class ResidualCodec(RoundsCodec):
    """``"residual"``, (K, 2): log-scale draft length, and a factor on the closed form's bandwidth.

    Bandwidth is the equal-latency root with Q/r_k replaced by (Q/r_k) f(x_k); zero is the closed form. The inverse
    takes φ as the latency of the decision: f_k = (φ − L_k T_k) / upload time, which is 1 for the last device to
    finish and more for the others; where that exceeds 1e4, it takes the largest φ at which all factors are in
    range (any φ above max_k L_k T_k gives the same bandwidths). Factors more than 1e8 apart saturate. A decision
    that leaves bandwidth unused decodes to one that spends all of it.
    """

    columns = 2

    def bandwidth(self, x: FloatArray, length: FloatArray, state: SystemState) -> FloatArray:
        """The equal-latency root, for uploads f(x) times as long."""
        return self.equalized(length, state, residual_factor(x[..., 1]))

    def bandwidth_columns(self, decision: Decision, state: SystemState) -> list[FloatArray]:
        """x of the factors that the decision's bandwidth means."""
        drafting = drafting_time(self.scenario, decision.draft_length, state.draft_time, state.head_start)
        uploading = upload_time(self.scenario, decision.draft_length, state.spectral_efficiency, decision.bandwidth)
        nothing = decision.draft_length == 0  # needs no bandwidth, whatever the factor
        latency = (drafting + uploading).max(-1, keepdims=True)
        highest = np.where(nothing, np.inf, drafting + LARGEST_FACTOR * uploading).min(-1, keepdims=True)
        factor = (np.minimum(latency, highest) - drafting) / np.where(nothing, 1.0, uploading)
        log_factor = np.log(np.where(nothing, 1.0, np.maximum(factor, 1.0 / LARGEST_FACTOR)))
        return [np.arcsinh(log_factor / LOG_FACTOR_SCALE) / SHARPNESS]

    def bandwidth_slopes(
        self, x: FloatArray, length: FloatArray, state: SystemState, by_bandwidth: FloatArray
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Through the root, and through the factor."""
        slopes = self.equalized_slopes(length, state, residual_factor(x[..., 1]), by_bandwidth)
        log_factor_slope = LOG_FACTOR_SCALE * SHARPNESS * np.cosh(SHARPNESS * x[..., 1])
        return slopes.draft_length, [slopes.log_token_time * log_factor_slope]


class SharesCodec(RoundsCodec):
    """``"shares"``, (K, 2): linear draft length, and a softmax logit for the share; nothing of the closed form.

    Shares are softmax(ln(1e4) x): any two differ by at most 1e8. The inverse centres the logits; shares further
    apart than that saturate.
    """

    columns = 2

    def real_length(self, column: FloatArray) -> FloatArray:
        """Length before rounding: low + (x + 1)/2 (high − low), a linear scale."""
        low, high = self.length_range
        return low + (0.5 * (high - low)) * (column + 1.0)

    def length_column(self, length: FloatArray | IntArray) -> FloatArray:
        """Entries of column 0; −1 where there is only one length."""
        low, high = self.length_range
        return 2.0 * (length - low) / max(high - low, 1) - 1.0

    def length_slope(self, length: FloatArray) -> FloatArray:
        """Half the range of lengths, everywhere."""
        low, high = self.length_range
        return np.full_like(length, 0.5 * (high - low))

    def bandwidth(self, x: FloatArray, length: FloatArray, state: SystemState) -> FloatArray:
        """The budget times softmax(ln(1e4) x)."""
        weight = np.exp(LOG_LARGEST_FACTOR * x[..., 1])
        return weight * (self.scenario.total_bandwidth / np.add.reduce(weight, -1, keepdims=True))

    def bandwidth_columns(self, decision: Decision, state: SystemState) -> list[FloatArray]:
        """Centred logits of the shares."""
        smallest = self.scenario.total_bandwidth * np.exp(-2.0 * LOG_LARGEST_FACTOR)
        logit = np.log(np.maximum(decision.bandwidth, smallest))  # a device that drafts nothing may have none
        middle = 0.5 * (logit.max(-1, keepdims=True) + logit.min(-1, keepdims=True))
        return [np.clip((logit - middle) / LOG_LARGEST_FACTOR, -1.0, 1.0)]

    def bandwidth_slopes(
        self, x: FloatArray, length: FloatArray, state: SystemState, by_bandwidth: FloatArray
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Of the softmax; lengths have no part in it."""
        bandwidth = self.bandwidth(x, length, state)
        middle = (by_bandwidth * bandwidth).sum(-1, keepdims=True) / self.scenario.total_bandwidth
        return np.zeros_like(length), [LOG_LARGEST_FACTOR * bandwidth * (by_bandwidth - middle)]


class LengthsCodec(RoundsCodec):
    """``"lengths"``, (K, 1): log-scale draft length; bandwidth is always the equal-latency root."""

    columns = 1

    def bandwidth(self, x: FloatArray, length: FloatArray, state: SystemState) -> FloatArray:
        """The equal-latency root."""
        return self.equalized(length, state, 1.0)

    def bandwidth_columns(self, decision: Decision, state: SystemState) -> list[FloatArray]:
        """None."""
        return []

    def bandwidth_slopes(
        self, x: FloatArray, length: FloatArray, state: SystemState, by_bandwidth: FloatArray
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Through the root alone."""
        return self.equalized_slopes(length, state, 1.0, by_bandwidth).draft_length, []


COMMON = 2.5
"""Windows between the two sets of lengths, all longer and all shorter, whose difference is the sum of the derivatives.

Without it policies got stuck at lengths, or at 0, from which no single step leads away.
"""


def whole_length_slopes(
    codec: RoundsCodec,
    state: SystemState,
    planned: SystemState,
    expected_tokens: Callable[[IntArray], FloatArray],
    action: FloatArray,
    length: FloatArray,
    weights: FloatArray | float,
    window: float,
) -> FloatArray:
    """Derivatives (n, K) of Σ_k ω_k N_k / T_e2e by the real lengths that an action means, and that are rounded.

    ``state`` prices the round, ``planned`` decodes actions, the weights are ω, and the window is in tokens.
    """

    def value(rows: IntArray | slice, decision: Decision, tokens: FloatArray) -> FloatArray:
        """Σ_k ω_k N_k / T_e2e (m,) of decisions (m, K) in these copies."""
        own = weights[rows] if isinstance(weights, np.ndarray) else weights
        outcome = price(codec.scenario, state[rows], decision, tokens)
        found: FloatArray = np.add.reduce(own * outcome.tokens, -1) / outcome.round_latency
        return found

    def shifted(length: FloatArray) -> FloatArray:
        """The same (n,) with other real lengths, rounded."""
        whole = np.rint(length).clip(*codec.length_range).astype(np.int64)
        decision = Decision(whole, codec.bandwidth(action, whole.astype(np.float64), planned))
        return value(slice(None), decision, expected_tokens(whole))

    whole = codec.decode(action, planned)
    rows, users, other, side = _passed(length, whole.draft_length, codec, window)
    tokens = expected_tokens(whole.draft_length)
    before = value(slice(None), whole, tokens)
    changed = np.where(users, other[rows], whole.draft_length[rows])
    decision = Decision(changed, codec.bandwidth(action[rows], changed.astype(np.float64), planned[rows]))
    after = value(rows, decision, np.where(users, expected_tokens(other)[rows], tokens[rows]))
    gain = (after - before[rows]) / window / users.sum(-1)
    slopes = np.zeros_like(length)
    index, user = np.nonzero(users)
    slopes[rows[index], user] = gain[index] * side[rows[index], user]
    longer, shorter = (shifted(length + side * 0.5 * COMMON * window) for side in (1.0, -1.0))
    missing = (longer - shorter) / (COMMON * window) - slopes.sum(-1)
    return slopes + (missing / length.shape[-1])[:, None]


def _passed(
    length: FloatArray, whole: IntArray, codec: RoundsCodec, window: float
) -> tuple[IntArray, BoolArray, IntArray, IntArray]:
    """Which lengths are so near to a middle that they count, and where they would lead.

    Copies (m,), one for each of them; whose lengths they are, (m, K); the whole lengths on the other sides of the
    middles, (n, K); and 1 where these are longer, else −1, or 0 at the ends of the range, (n, K).
    """
    low, high = codec.length_range
    other = np.where(length >= whole, whole + 1, whole - 1).clip(low, high)
    near = (other != whole) & (np.abs(length - 0.5 * (whole + other)) < 0.5 * window)
    if codec.common_draft_length:
        rows = np.flatnonzero(near[:, 0])
        users = np.ones((len(rows), length.shape[-1]), dtype=bool)
    else:
        rows, user = np.nonzero(near)
        users = np.arange(length.shape[-1]) == user[:, None]
    return rows, users, other, other - whole
