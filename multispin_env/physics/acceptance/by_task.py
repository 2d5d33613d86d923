"""Acceptance known from the task."""

from dataclasses import dataclass

import numpy as np

from multispin_env.checks import FloatArray, IntArray
from multispin_env.scenario import Scenario


@dataclass(frozen=True)
class ByTask:
    """α_k is the mean of the device's task, as the paper's control assumes ([MS] Table I)."""

    def rates(self, scenario: Scenario, task: IntArray) -> FloatArray:
        """Mean acceptance rates (..., K) of the tasks (..., K)."""
        means = np.array([task.acceptance_rate for task in scenario.tasks])
        rates: FloatArray = means[task]
        return rates


BY_TASK = ByTask()
