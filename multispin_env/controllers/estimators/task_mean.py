"""Acceptance as past data give it."""

from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.controllers.beliefs.task_prior import prior_mean
from multispin_env.controllers.estimators.base import Estimator, Part
from multispin_env.physics.types import Observed


@dataclass(frozen=True, eq=False)
class TaskMean(Estimator):
    """Mean α of the user's task, as the paper's control assumes ([MS] Table I); over all tasks where it is hidden."""

    part: ClassVar[Part] = "acceptance_rate"

    @override
    def estimate(self, observed: Observed) -> FloatArray:
        return prior_mean(self.assumptions, observed)
