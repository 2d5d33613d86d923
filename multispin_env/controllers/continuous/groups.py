"""Groups that draft while others are verified."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.continuous.background import Background, aside
from multispin_env.controllers.continuous.base import Scheduler, checked_rate
from multispin_env.controllers.continuous.fit import fit, fit_ratio
from multispin_env.controllers.continuous.launch import Launch
from multispin_env.controllers.continuous.price import fluid_rate
from multispin_env.physics.continuous.types import ContinuousState, Join, Order, Phase

LAST = 1e9
"""Priority behind all batches."""


@dataclass(frozen=True, eq=False)
class Groups(Scheduler):
    """A device of batch m drafts for batch m + G, which waits for it; lengths fit into that time (ours).

    The uplink goes by batch, and inside a batch the shortest upload goes first. A device in a deep fade is put aside:
    it drafts as little as it may, is last on the uplink, and no batch waits for it (`aside`).

    Parameters
    ----------
    groups
        G ≥ 1. One group is `Synchronous`.
    rho
        ρ > 0 in tokens/s, what a second of delay costs: the rate itself is right. ``None``: an estimate from each
        state (`fluid_rate`). An array has the batch shape of the states.
    air_price
        λ ≥ 0, tokens for a second of the whole band.
    """

    groups: int = 2
    rho: FloatArray | float | None = None
    air_price: float = 0.0

    def __post_init__(self) -> None:
        check_integer("groups", self.groups, 1)
        checked_rate("rho", self.rho)
        check_real("air_price", self.air_price, 0.0)

    def decide(self, state: ContinuousState) -> Order:
        """Lengths by `fit`; the next batch waits for the devices that aim at it."""
        scenario = self.scenario
        faded = aside(scenario, state) & (self.groups > 1)
        free = state.phase == Phase.FREE
        aim = np.where(free, self._aim(state), state.aim)
        work = Background.of(scenario, state, faded)
        length = np.where(free, scenario.min_draft_length, state.draft_length)
        rho = self._price(state)
        for place in range(self.groups):
            starts = free & ~faded & (aim - state.batch[:, None] == place)
            rows = np.flatnonzero(starts.any(-1))
            if rows.size:
                some, begin = state[rows], starts[rows]
                fitted = self._fitted(some, work[rows], begin, place, rho[rows])
                length[rows] = np.where(begin, fitted, length[rows])
                work = work.add(state, starts, length, place)
        return ordered(state, length, aim, faded)

    def _fitted(
        self, state: ContinuousState, work: Background, starts: BoolArray, place: int, rho: FloatArray
    ) -> IntArray:
        due = work.due(place)
        launch = Launch.of(
            self.scenario, state, starts, work.up_to(place), due, rho, air_price=self.air_price
        )
        if self.rho is not None or self.groups > 1:
            return fit(launch)
        return fit_ratio(launch)

    def _aim(self, state: ContinuousState) -> IntArray:
        """Batches (n, K) that free devices aim at: G after the last, and at the start the groups one after the other."""
        turn = np.arange(self.scenario.num_users) % self.groups
        batch = state.batch[:, None]
        return np.where(batch == 0, turn, batch - 1 + self.groups)

    def _price(self, state: ContinuousState) -> FloatArray:
        if self.rho is None:
            return fluid_rate(self.scenario, state, self.groups)
        return np.broadcast_to(np.asarray(self.rho, dtype=np.float64).reshape(-1), state.batch.shape)


def ordered(state: ContinuousState, length: IntArray, aim: IntArray, faded: BoolArray) -> Order:
    """The order (n, K) under which the next batch waits for those that aim at it, and uploads go by batch."""
    waited = ~faded
    nearest = np.where(waited, aim, LAST).min(-1)[:, None]
    join = np.where(faded, Join.TAKE, np.where(aim == nearest, Join.WAIT, Join.LEAVE))
    priority = np.where(faded, LAST, aim - state.batch[:, None])
    return Order(length, join, priority=priority, aim=aim)
