"""The mean of the channel, given the report."""

from dataclasses import dataclass

from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.controllers.estimators.channel import ChannelEstimator
from multispin_env.physics.radio import predictive_mean


@dataclass(frozen=True, eq=False)
class Mmse(ChannelEstimator):
    """r of the expected gain H̄ + ρ^{2d} (H − H̄): the least mean square error of the gain, not of r (ours)."""

    @override
    def predict(self, gain: FloatArray, mean_gain: FloatArray) -> FloatArray:
        return predictive_mean(gain, mean_gain, self.assumptions.correlation, self.assumptions.delay)
