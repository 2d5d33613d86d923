"""States that are met."""

import numpy as np

import multispin_env as ms
from multispin_env.controllers.factory import make_controller
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem

BUSY = ms.Workload(
    arrivals=ms.make_arrivals("poisson"),
    rate=4.0,
    lengths=ms.make_lengths("geometric", mean_output=20.0, mean_prompt=30.0),
    level=ms.ServiceLevel(ttft=1.5, e2el=1.0, e2el_per_token=0.08),
)
"""Requests enough that some wait, and some are late."""


def states_of(scenario, copies=6, steps=7, controller="groups", workload=None):
    """States that a controller meets."""
    core = ContinuousCore(ContinuousSystem.of(scenario, workload=workload), copies, drawn=workload is not None)
    for copy in range(copies):
        core.seed(copy, np.random.default_rng(copy))
    core.reset()
    rule = make_controller(controller, scenario)
    for _ in range(steps):
        yield core.state
        core.step(rule(core.state))
