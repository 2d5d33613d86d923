"""Arithmetic that the estimators of the channel share."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_real
from multispin_env.controllers.estimators.base import Estimator, Part
from multispin_env.physics.radio import channel_gain, spectral_efficiency
from multispin_env.physics.types import Observed


@dataclass(frozen=True, eq=False)
class ChannelEstimator(Estimator):
    """From a report d rounds old to r now, by way of the power gain (ours).

    A hidden H̄ is the running average of the user's reported gains, shrunk to the middle of the scenario's range:
    (s H̄_mid + Σ H) / (s + number of reports). Every call counts as a report.

    Parameters
    ----------
    mean_gain_strength
        s > 0: reports that the middle of the range is worth. Reports of a slow channel repeat themselves, so it is
        larger than the 17 or so that independent ones would call for; default 100.
    """

    part: ClassVar[Part] = "spectral_efficiency"

    mean_gain_strength: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("mean_gain_strength", self.mean_gain_strength, 0.0, open_low=True)

    @override
    def blank(self, n: int) -> dict[str, NDArray[Any]]:
        return {"gains": np.zeros((n, self.scenario.num_users)), "reports": np.zeros((n, 1))}

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        report = np.ascontiguousarray(observed.spectral_efficiency)
        gain = channel_gain(self.scenario, report)
        self.memory["gains"] = self.memory["gains"] + gain
        self.memory["reports"] = self.memory["reports"] + 1.0
        if self.assumptions.correlation**self.assumptions.delay == 1.0:
            return report
        mean_gain = self._average() if observed.mean_gain is None else np.ascontiguousarray(observed.mean_gain)
        return spectral_efficiency(self.scenario, self.predict(gain, mean_gain))

    @abstractmethod
    def predict(self, gain: FloatArray, mean_gain: FloatArray) -> FloatArray:
        """Gain now (n, K) from the reported one and its mean."""

    def _average(self) -> FloatArray:
        middle, strength = 0.5 * (self.scenario.mean_gain_low + self.scenario.mean_gain_high), self.mean_gain_strength
        average: FloatArray = (strength * middle + self.memory["gains"]) / (strength + self.memory["reports"])
        return average
