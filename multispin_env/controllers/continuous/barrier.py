"""The paper's rounds, as decisions."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from multispin_env.controllers.continuous.base import Scheduler
from multispin_env.controllers.rounds.optimal import Optimal
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join
from multispin_env.physics.types import Decision, SystemState

LIGHT = 1e-4
"""Times the draft time of others that a device without a request is taken to need, so that nothing depends on it."""


@dataclass(frozen=True, eq=False)
class Barrier(Scheduler):
    """Every batch waits for everybody; lengths and shares of the uplink are the best of one round (`Optimal`).

    It is the system of the paper: what a round gains and takes is what `expected_outcome` says. Devices without a
    request count for nothing there, and get next to no bandwidth, but the time of the pass is still that of all.
    """

    discipline: ClassVar[str] = "reserved"

    def decide(self, state: ContinuousState) -> ContinuousDecision:
        """The decision of a round for the devices that have a request."""
        decision = self._optimal(state)
        share = decision.bandwidth / self.scenario.total_bandwidth
        join = np.full(state.phase.shape, Join.WAIT)
        return ContinuousDecision(decision.draft_length, join, share=share)

    def _optimal(self, state: ContinuousState) -> Decision:
        busy = state.busy
        if busy.all():
            return Optimal(self.scenario).decide(state.system)
        counted = busy | ~busy.any(-1, keepdims=True)  # where all are idle, whoever comes first has its share
        system = SystemState(
            np.where(counted, state.draft_time, LIGHT * self.scenario.mean_draft_time),
            np.where(counted, state.spectral_efficiency, 1.0 / LIGHT),
            state.acceptance_rate,
        )
        return Optimal(self.scenario, weights=counted.astype(np.float64)).decide(system)
