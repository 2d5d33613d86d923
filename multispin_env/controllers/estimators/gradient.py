"""Weights of proportional fairness."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_real
from multispin_env.controllers.estimators.base import Estimator, Part, visible
from multispin_env.physics.types import Observed


@dataclass(frozen=True, eq=False)
class Gradient(Estimator):
    """ω_k = 1 / throughput_k, the gradient of Σ_k log(throughput_k) (ours).

    Parameters
    ----------
    floor
        Throughput in tokens/s > 0 that a user without any counts as having; default 1e-3.
    """

    part: ClassVar[Part] = "weights"

    floor: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("floor", self.floor, 1e-100)

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        throughput: FloatArray = visible("gradient", observed, "throughput")
        return 1.0 / np.maximum(throughput, self.floor)
