"""The channel as it was."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.controllers.estimators.base import Estimator, Part
from multispin_env.physics.types import Observed


@dataclass(frozen=True, eq=False)
class LastReport(Estimator):
    """The reported r, taken for the present one (ours)."""

    part: ClassVar[Part] = "spectral_efficiency"

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        return observed.spectral_efficiency
