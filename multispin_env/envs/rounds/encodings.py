"""Encodings of actions in rounds: a column of draft lengths, and a column of bandwidths if the agent chooses them."""

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import Array, FloatArray
from multispin_env.checks import require
from multispin_env.envs.actions import ActionCodec, stack_columns
from multispin_env.physics.chains import drafting_time
from multispin_env.physics.types import Decision, SystemState, checked_decision, checked_state
from multispin_env.solver.equalization import finish_together

LOG_FACTOR = 0.7
"""Logarithm of the largest bandwidth factor; with a larger one random actions starve devices."""

WEIGHT_COLUMNS, LOG_WEIGHTS = (-1.0, -0.95, 0.95, 1.0), (-math.log(1e4), -1.425, 1.425, math.log(1e4))
"""Logarithm of a weight in ``"shares"``, linear between these entries of the second column.

It is steep near the bounds, so that every decision has an action, with the precision of float32.
"""


@dataclass(frozen=True)
class RoundsCodec(ActionCodec[SystemState, Decision]):
    """Base of the encodings of rounds.

    A subclass implements `columns`, `bandwidth` and `bandwidth_columns`, and for another scale of lengths also
    `real_length` and `length_column`. Derivatives are in `slopes`.
    """

    common_draft_length: bool = False

    @override
    def decode(self, action: Array, state: SystemState) -> Decision:
        x = self.checked(action)
        length = np.rint(self.real_lengths(x))
        if state.batteries is not None:
            length = np.minimum(length, state.batteries.affordable)
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
        """Return the bandwidth (..., K) in Hz of an action x (..., K, columns) that has these lengths (..., K)."""

    @abstractmethod
    def bandwidth_columns(self, decision: Decision, state: SystemState) -> list[FloatArray]:
        """Return the columns after the first, (..., K) each, for the bandwidth of a decision."""

    def real_lengths(self, x: FloatArray) -> FloatArray:
        """Return draft lengths (..., K) before rounding for a checked action (..., K, columns)."""
        return self.real_length(self.common(x[..., 0]))

    def common(self, column: FloatArray) -> FloatArray:
        """Replace a column by its mean over users if lengths are common; this linear map is its own transpose."""
        if not self.common_draft_length:
            return column
        return np.broadcast_to(column.mean(-1, keepdims=True), column.shape)

    def equalized(self, length: FloatArray, state: SystemState, factor: FloatArray | float) -> FloatArray:
        """Return the bandwidth (..., K) in Hz with which all devices finish together, with Q / r_k times ``factor``."""
        token_time = self.scenario.uplink.token_time(state.spectral_efficiency) * factor
        drafting = drafting_time(self.scenario, length, state.draft_time, state.head_start)
        share = finish_together(self.scenario, state, length, drafting, token_time).share
        return self.scenario.total_bandwidth * share


class ResidualCodec(RoundsCodec):
    """``"residual"``, (K, 2): log-scale draft length, and a factor on the closed form's bandwidth.

    With this bandwidth, all devices would finish together if Q/r_k were (Q/r_k) f_k with ln f_k = 0.7 x_k. Encoding
    uses the latency φ of the decision: f_k = (φ − L_k T_k) / upload time, which is 1 for the last device to finish and
    larger for the others. If a factor exceeds the largest, encoding uses the largest φ with all factors in range; any φ
    above max_k L_k T_k gives the same bandwidths. It refuses a decision that needs a smaller factor than the smallest.
    A decision with unused bandwidth decodes to one that uses all of it.
    """

    columns = 2

    @override
    def bandwidth(self, x: FloatArray, length: FloatArray, state: SystemState) -> FloatArray:
        return self.equalized(length, state, np.exp(LOG_FACTOR * x[..., 1]))

    @override
    def bandwidth_columns(self, decision: Decision, state: SystemState) -> list[FloatArray]:
        drafting = drafting_time(self.scenario, decision.draft_length, state.draft_time, state.head_start)
        uplink, length = self.scenario.uplink, decision.draft_length
        drafting = uplink.with_access(drafting, length)
        uploading = uplink.upload_time(length, state.spectral_efficiency, decision.bandwidth)
        empty = decision.draft_length == 0  # needs no bandwidth for any factor
        latency = (drafting + uploading).max(-1, keepdims=True)
        highest = np.where(empty, np.inf, drafting + math.exp(LOG_FACTOR) * uploading).min(-1, keepdims=True)
        factor = (np.minimum(latency, highest) - drafting) / np.where(empty, 1.0, uploading)
        column = np.log(np.where(empty, 1.0, np.maximum(factor, np.finfo(np.float64).tiny))) / LOG_FACTOR
        expected = 'about half to twice that of equal latency with action="residual"; action="shares" has all'
        require("bandwidth", decision.bandwidth, column >= -1.0 - 1e-5, expected)
        return [column]


class SharesCodec(RoundsCodec):
    """``"shares"``, (K, 2): log-scale draft length, and the logarithm of a device's weight, without the closed form.

    Shares are proportional to weights. One unit is a factor of exp(0.3) up to ±4.75; from there to the limits, weights
    reach 1e4 and 1e-4. Encoding centres the logarithms of the weights; ratios above 1e8 saturate.
    """

    columns = 2

    @override
    def bandwidth(self, x: FloatArray, length: FloatArray, state: SystemState) -> FloatArray:
        weight = np.exp(np.interp(x[..., 1], WEIGHT_COLUMNS, LOG_WEIGHTS))
        weight *= self.scenario.total_bandwidth / np.add.reduce(weight, -1, keepdims=True)
        return weight

    @override
    def bandwidth_columns(self, decision: Decision, state: SystemState) -> list[FloatArray]:
        largest = decision.bandwidth.max(-1, keepdims=True)  # it may be 0 without a draft
        smallest = np.where(largest > 0.0, largest, 1.0) * np.exp(LOG_WEIGHTS[0] - LOG_WEIGHTS[-1])
        logit = np.log(np.maximum(decision.bandwidth, smallest))
        middle = 0.5 * (logit.max(-1, keepdims=True) + logit.min(-1, keepdims=True))
        return [np.interp(logit - middle, LOG_WEIGHTS, WEIGHT_COLUMNS)]


class LengthsCodec(RoundsCodec):
    """``"lengths"``, (K, 1): log-scale draft length; with the bandwidth, all devices finish together."""

    columns = 1

    @override
    def bandwidth(self, x: FloatArray, length: FloatArray, state: SystemState) -> FloatArray:
        return self.equalized(length, state, 1.0)

    @override
    def bandwidth_columns(self, decision: Decision, state: SystemState) -> list[FloatArray]:
        return []
