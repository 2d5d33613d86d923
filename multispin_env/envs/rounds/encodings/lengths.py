"""Draft lengths only."""

from multispin_env.arrays import FloatArray
from multispin_env.envs.rounds.actions import ActionCodec
from multispin_env.physics.types import Decision, SystemState


class LengthsCodec(ActionCodec):
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
