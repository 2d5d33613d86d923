"""Encodings of a round's actions: the draft length, then the bandwidth if it is free."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import require
from multispin_env.envs.engine import ActionCodec, stack_columns
from multispin_env.physics.chains import drafting_time
from multispin_env.physics.radio import full_share_token_time, upload_time
from multispin_env.physics.types import Decision, SystemState, checked_decision, checked_state
from multispin_env.solver.equalization import equal_finish

_LARGEST_FACTOR = 1e4
"""Factor on bandwidth at the ends of an action's second column."""

LOG_LARGEST_FACTOR = math.log(_LARGEST_FACTOR)


@dataclass(frozen=True)
class RoundsCodec(ActionCodec[SystemState, Decision]):
    """Base of the encodings of rounds.

    A subclass has `columns` and the two methods of the bandwidth; with another scale of lengths also `real_length` and
    `length_column`. `equalized` is the bandwidth with which all devices finish together. Derivatives are in `slopes`.
    """

    common_draft_length: bool = False  # whether all devices draft the same number of tokens

    @override
    def decode(self, action: NDArray[Any], state: SystemState) -> Decision:
        x = self.checked(action)
        length = np.rint(self.real_lengths(x))
        return Decision(length.astype(np.int64), self.bandwidth(x, length, state))

    @override
    def encode(self, decision: Decision, state: SystemState) -> NDArray[np.float32]:
        decision = checked_decision(self.scenario, decision)
        length = decision.draft_length
        if self.common_draft_length:
            require("draft_length", length, length == length[..., :1], "one common length in this environment")
        return stack_columns([self.length_column(length), *self.bandwidth_columns(decision, state)])

    @override
    def checked_state(self, state: SystemState) -> SystemState:
        return checked_state(self.scenario, state)

    @abstractmethod
    def bandwidth(self, x: FloatArray, length: FloatArray, state: SystemState) -> FloatArray:
        """Bandwidth (..., K) in Hz that an action x (..., K, columns) means with lengths (..., K), whole or real."""

    @abstractmethod
    def bandwidth_columns(self, decision: Decision, state: SystemState) -> list[FloatArray]:
        """Columns after the first, (..., K) each, that mean the bandwidth of a decision."""

    def real_lengths(self, x: FloatArray) -> FloatArray:
        """Lengths (..., K) before rounding, of a checked action (..., K, columns)."""
        return self.real_length(self.common(x[..., 0]))

    def common(self, column: FloatArray) -> FloatArray:
        """Mean over users for all of them where their length is common; it is its own transpose."""
        if not self.common_draft_length:
            return column
        return np.broadcast_to(column.mean(-1, keepdims=True), column.shape)

    def equalized(self, length: FloatArray, state: SystemState, factor: FloatArray | float) -> FloatArray:
        """Bandwidth (..., K) in Hz with which all devices finish together if Q / r_k is ``factor`` times as large."""
        token_time = full_share_token_time(self.scenario, state.spectral_efficiency) * factor
        drafting = drafting_time(self.scenario, length, state.draft_time, state.head_start)
        return self.scenario.total_bandwidth * equal_finish(drafting, length * token_time).share


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
        highest = np.where(nothing, np.inf, drafting + _LARGEST_FACTOR * uploading).min(-1, keepdims=True)
        factor = (np.minimum(latency, highest) - drafting) / np.where(nothing, 1.0, uploading)
        log_factor = np.log(np.where(nothing, 1.0, np.maximum(factor, 1.0 / _LARGEST_FACTOR)))
        return [np.arcsinh(log_factor / LOG_FACTOR_SCALE) / SHARPNESS]


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


class LengthsCodec(RoundsCodec):
    """``"lengths"``, (K, 1): log-scale draft length; bandwidth is always the equal-latency root."""

    columns = 1

    def bandwidth(self, x: FloatArray, length: FloatArray, state: SystemState) -> FloatArray:
        """The equal-latency root."""
        return self.equalized(length, state, 1.0)

    def bandwidth_columns(self, decision: Decision, state: SystemState) -> list[FloatArray]:
        """None."""
        return []
