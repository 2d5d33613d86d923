"""Batches at fixed times."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_real
from multispin_env.controllers.base import ContinuousController
from multispin_env.controllers.continuous.launch import longest_paying
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join, Phase
from multispin_env.physics.uplink import full_share_token_time


@dataclass(frozen=True, eq=False)
class Clock(ContinuousController):
    """A batch starts a period P after the last one did, or when the server is free, with what is there (ours).

    Every token of a draft brings what its time costs: α^L ≥ ν T + (λ + ν κ) u. A batch also starts when all devices are
    there. The time of the last start is worked out from how many devices it freed; of a law of verification by tokens,
    drafts without tokens count for it.

    Parameters
    ----------
    period
        P ≥ 0, as a part of the time of a pass of all devices without drafts.
    time_price
        ν ≥ 0, tokens for a second of a device.
    air_price
        λ ≥ 0, tokens for a second of the whole band.
    queue
        κ ≥ 0, seconds that an upload takes for each second of the whole band.

    The defaults are the best of 24 random choices in the mean over sixteen systems
    (``python -m benchmarks.tune_controllers clock --seconds 8``). The lengths ignore what tokens cost the server.
    """

    period: float = 0.3
    time_price: float = 8.0
    air_price: float = 0.0
    queue: float = 1.0

    def __post_init__(self) -> None:
        for name in ("period", "time_price", "air_price", "queue"):
            check_real(name, getattr(self, name), 0.0)

    def decide(self, state: ContinuousState) -> ContinuousDecision:
        """Wait for all, with patience until the period is over."""
        shape = state.phase.shape
        patience = np.maximum(self.period * self.scenario.verification_time - self._last_pass(state), 0.0)
        return ContinuousDecision(
            self._lengths(state), np.full(shape, Join.WAIT), priority=np.zeros(shape), patience=patience
        )

    def _last_pass(self, state: ContinuousState) -> FloatArray:
        """How long ago the last batch started, (n,) s."""
        demand = state.demand
        freed = np.where(demand.never_ends, state.phase == Phase.FREE, demand.drafted + demand.accepted > 0).sum(-1)
        time = np.asarray(self.scenario.pass_time(freed, freed))
        return np.where(state.batch == 0, 0.0, time)

    def _lengths(self, state: ContinuousState) -> IntArray:
        token_air = full_share_token_time(self.scenario, state.spectral_efficiency)
        price = self.time_price * (state.draft_time + self.queue * token_air) + self.air_price * token_air
        return longest_paying(self.scenario, state.acceptance_rate, price)
