"""Assumed acceptance of the tasks, as arrays."""

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.assumptions import Assumptions
from multispin_env.physics.types import Observed


def prior_means(assumptions: Assumptions) -> FloatArray:
    """Mean α (tasks,), kept off 0 and 1, so that an observation can still move it."""
    return np.clip(assumptions.acceptance_mean, 1e-6, 1.0 - 1e-6)


def prior_mean(assumptions: Assumptions, observed: Observed) -> FloatArray:
    """Mean α (n, K) of each user's task, or over all tasks where the task is hidden."""
    means = prior_means(assumptions)
    if observed.task is None:
        return np.full(observed.draft_time.shape, means.mean())
    task: IntArray = observed.task
    chosen: FloatArray = means[task]
    return chosen
