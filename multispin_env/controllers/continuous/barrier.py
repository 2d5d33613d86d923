"""The paper's rounds, as orders."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from multispin_env.controllers.continuous.base import Scheduler
from multispin_env.controllers.rounds.optimal import Optimal
from multispin_env.physics.continuous.types import ContinuousState, Join, Order


@dataclass(frozen=True, eq=False)
class Barrier(Scheduler):
    """Every batch waits for everybody; lengths and shares of the uplink are the best of one round (`Optimal`).

    It is the system of the paper: what a round gains and takes is what `expected_outcome` says.
    """

    discipline: ClassVar[str] = "reserved"

    def decide(self, state: ContinuousState) -> Order:
        """The decision of a round for the devices as they are."""
        decision = Optimal(self.scenario).decide(state.system)
        share = decision.bandwidth / self.scenario.total_bandwidth
        join = np.full(state.phase.shape, Join.WAIT)
        return Order(decision.draft_length, join, share=share)
