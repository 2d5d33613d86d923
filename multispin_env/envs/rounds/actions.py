"""Actions in [-1, 1] to decisions and back; one file for each encoding, ``registry.ENCODINGS`` names them.

All have one row for each user. Column 0 is the draft length, column 1 (if there is one) the bandwidth. Where the
draft length is common, it is read from the mean of column 0 over users.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.checks import require
from multispin_env.envs.codec import BoxCodec
from multispin_env.physics.types import Decision, RealDecision, SystemState
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.physics.validation import checked_decision
from multispin_env.solver.equalization import Slopes, equal_latency, equal_latency_slopes

LARGEST_FACTOR = 1e4
"""Factor on bandwidth at the ends of an action's second column."""

LOG_LARGEST_FACTOR = math.log(LARGEST_FACTOR)


@dataclass(frozen=True)
class ActionCodec(BoxCodec, ABC):
    """Base of the encodings.

    A subclass has `columns` and the three methods of the bandwidth; with another scale of lengths also `real_length`,
    `length_column` and `length_slope`. `equalized` is the bandwidth with which all devices finish together.

    Parameters
    ----------
    scenario
        The system.
    common_draft_length
        Whether all devices draft the same number of tokens.
    """

    common_draft_length: bool

    def decode(self, action: NDArray[Any], state: SystemState) -> Decision:
        """Decision (..., K) of an action (..., K, columns) in a state (..., K).

        Raises
        ------
        ValueError
            For a wrong shape, NaN, or an entry outside [-1, 1].
        """
        x = self.checked(action, state.draft_time.shape)
        length = np.rint(self._real_lengths(x))
        return Decision(length.astype(np.int64), self.bandwidth(x, length, state))

    def relaxed(self, action: NDArray[Any], state: SystemState) -> RealDecision:
        """As `decode`, with lengths that are not rounded: a function of the action that has derivatives."""
        x = self.checked(action, state.draft_time.shape)
        length = self._real_lengths(x)
        return RealDecision(length, self.bandwidth(x, length, state))

    def pull_back(self, action: NDArray[Any], state: SystemState, slopes: RealDecision) -> FloatArray:
        """Derivatives by the action (..., K, columns) of a number, from those by the decision that `relaxed` gives.

        Parameters
        ----------
        action, state
            As in `decode`.
        slopes
            ∂ / ∂L_k and ∂ / ∂B_k, arrays (..., K).
        """
        x = self.checked(action, state.draft_time.shape)
        length = self._real_lengths(x)
        by_length, by_columns = self.bandwidth_slopes(x, length, state, slopes.bandwidth)
        column = (slopes.draft_length + by_length) * self.length_slope(length)
        return np.stack([self._common(column), *by_columns], -1)

    def encode(self, decision: Decision, state: SystemState) -> NDArray[np.float32]:
        """Action (..., K, columns) that decodes to this decision (..., K) in this state (..., K).

        Raises
        ------
        ValueError
            For a bad decision, or one with different lengths where the length is common.
        """
        decision = checked_decision(self.scenario, decision)
        length = decision.draft_length
        if self.common_draft_length:
            require("draft_length", length, length == length[..., :1], "one common length in this environment")
        columns = [self.length_column(length), *self.bandwidth_columns(decision, state)]
        return np.clip(np.stack(columns, -1), -1.0, 1.0).astype(np.float32)

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
        token_time = full_share_token_time(self.scenario, state.spectral_efficiency)
        return self.scenario.total_bandwidth * equal_latency(length, state.draft_time, token_time * factor).share

    def equalized_slopes(
        self, length: FloatArray, state: SystemState, factor: FloatArray | float, by_bandwidth: FloatArray
    ) -> Slopes:
        """Derivatives of a number by the lengths and by ln(Q / r_k), from those by the bandwidth of `equalized`."""
        token_time = full_share_token_time(self.scenario, state.spectral_efficiency) * factor
        at = equal_latency(length, state.draft_time, token_time)
        by_share = self.scenario.total_bandwidth * by_bandwidth
        return equal_latency_slopes(at, length, state.draft_time, token_time, by_share)
