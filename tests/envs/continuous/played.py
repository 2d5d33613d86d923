"""States that are met."""

import numpy as np

from multispin_env.controllers.continuous.factory import make_scheduler
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem


def states_of(scenario, copies=6, steps=7, scheduler="groups"):
    """States that a scheduler meets."""
    core = ContinuousCore(ContinuousSystem.of(scenario), copies, drawn=False)
    for copy in range(copies):
        core.seed(copy, np.random.default_rng(copy))
    core.reset()
    rule = make_scheduler(scheduler, scenario)
    for _ in range(steps):
        yield core.state
        core.step(rule(core.state))
