"""Greedy, with the uplink by deadline."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.controllers.continuous.greedy import Greedy
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Demand

NEVER = 1e12
"""Seconds, behind all deadlines."""


@dataclass(frozen=True, eq=False)
class EarliestDeadline(Greedy):
    """`Greedy` whose uplink goes to the request that is due first (Liu and Layland 1973, earliest deadline first).

    Until the first token has come, a request is due when that token is, if this is earlier. Theirs is for one processor
    that each job needs once; here a request needs the uplink and the server many times, and only the uplink goes by
    deadline, since the batch takes all that is there. With endless requests it is `Greedy`.
    """

    def decide(self, state: ContinuousState) -> ContinuousDecision:
        """The order of `Greedy`, with deadlines for priorities."""
        return super().decide(state).changed(priority=next_deadline(state.demand))


def next_deadline(demand: Demand) -> FloatArray:
    """When the first token that may be late is due, (n, K) s; `NEVER` where none is."""
    due = np.minimum(demand.first_due, demand.due)
    return np.where(np.isfinite(due), due, NEVER)
