"""Systems with requests that tests put controllers into."""

import numpy as np

from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.types import Phase
from multispin_env.physics.workload import Arriving, ServiceLevel

LAWS = (
    {},
    {"server": "a100-32b"},
    {"verification_pieces": ((0.0, 0.001),), "padded_verification": True, "round_trip_time": 0.02},
    {"min_draft_length": 0},
)
"""Laws of verification, and other things that lengths depend on."""


class Requests:
    """Poisson requests of geometric length."""

    closed = False
    level = ServiceLevel(ttft=1.0, e2el=0.3, e2el_per_token=0.06)

    def open(self, rng, users):
        def more(rows):
            output = rng.geometric(1 / 20, (rows, users))
            return Arriving(rng.exponential(1.0, (rows, users)), rng.integers(0, 50, (rows, users)), output)

        return more


def core_of(scenario, copies, seed=0):
    core = ContinuousCore(ContinuousSystem.of(scenario, workload=Requests()), copies, drawn=True)
    for copy, generator in enumerate(np.random.default_rng(seed).spawn(copies)):
        core.seed(copy, generator)
    core.reset()
    return core


def in_phase(state, phase):
    """The state with these phases, everybody with a request or without."""
    has = phase != Phase.IDLE
    demand = state.demand.changed(wanted=100 * has, output=100 * has, due=np.where(has, 50.0, np.inf))
    return state.changed(phase=phase, demand=demand)


def shown(core, drafted, accepted, batch):
    """The state with counts of the last verification."""
    shape = core.state.phase.shape
    demand = core.state.demand.changed(
        drafted=np.broadcast_to(drafted, shape), accepted=np.broadcast_to(accepted, shape)
    )
    return core.state.changed(demand=demand, batch=np.broadcast_to(batch, shape[:1]))
