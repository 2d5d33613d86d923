"""A cautious guess of the channel, given the report."""

from dataclasses import dataclass

from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_real
from multispin_env.controllers.estimators.channel import ChannelEstimator
from multispin_env.physics.radio import predictive_quantile


@dataclass(frozen=True, eq=False)
class Quantile(ChannelEstimator):
    """r that the channel stays below with a given probability, by the law of the gain given the report (ours).

    Parameters
    ----------
    quantile
        Probability q in (0, 1). A low one plans for a bad channel: the round waits for the last device, so what
        matters is the worst of K. ``None`` is 1 / (K + 1), where the worst of K is in the mean; of those tried for
        K = 8 and 20 by ``benchmarks/tune_estimators.py``, none does better in both.
    """

    quantile: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantile is not None:
            check_real("quantile", self.quantile, 0.0, 1.0, open_low=True, open_high=True)

    @override
    def predict(self, gain: FloatArray, mean_gain: FloatArray) -> FloatArray:
        correlation, delay = self.assumptions.correlation, self.assumptions.delay
        probability = 1.0 / (self.scenario.num_users + 1.0) if self.quantile is None else self.quantile
        return predictive_quantile(probability, gain, mean_gain, correlation, delay)
