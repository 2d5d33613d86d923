"""Draft lengths, and shares of the bandwidth."""

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.envs.rounds.actions import LOG_LARGEST_FACTOR, ActionCodec
from multispin_env.physics.types import Decision, SystemState


class SharesCodec(ActionCodec):
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
