"""The mean of the channel, given the report."""

from dataclasses import dataclass

from multispin_env.arrays import FloatArray
from multispin_env.controllers.estimators.channel import ChannelEstimator
from multispin_env.physics.channels import predictive_mean


@dataclass(frozen=True, eq=False)
class Mmse(ChannelEstimator):
    """r of the expected gain H̄ + ρ^{2d} (H − H̄): the least mean square error of the gain, not of r (ours)."""

    def predict(self, gain: FloatArray, mean_gain: FloatArray) -> FloatArray:
        """Return the expected gain."""
        return predictive_mean(gain, mean_gain, self.assumptions.correlation, self.assumptions.delay)
