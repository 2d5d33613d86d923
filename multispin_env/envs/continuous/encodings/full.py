"""All that a decision says."""

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.envs.continuous.actions import OrderCodec, join_column, join_of, next_batch, stacked
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState

FARTHEST = 63
"""Batches after the next that a draft can aim at."""

LONGEST = 1e4
"""Seconds, the longest patience but for ever; the shortest is its inverse, or none at all."""

LOG_LONGEST = math.log(LONGEST)

INSIDE = 0.99
"""Entries of patience up to it are on a logarithmic scale; -1 is none, 1 is for ever."""


class FullOrders(OrderCodec):
    """``"full"``, (K, 6): as ``"plain"``, then the batch that a draft aims at, patience, and drafts to wait for.

    The last two are for all: means over users are read; drops, where there are any, come behind them. Of priorities the
    order is kept; numbers are kept to the precision of float32. Every controller can play with it.
    """

    own_columns: ClassVar[int] = 6

    def decode(self, action: NDArray[Any], state: ContinuousState) -> ContinuousDecision:
        """All columns."""
        x = self.checked(action, state.phase.shape)
        length, join, key, aim = (x[..., column] for column in range(4))
        patience, fewest = (x[..., column].mean(-1) for column in (4, 5))
        return ContinuousDecision(
            self.length(length),
            join_of(join),
            *self.uplink_fields(key),
            patience=_patience_of(patience),
            least_batch=np.rint(1.0 + 0.5 * (fewest + 1.0) * (self.scenario.num_users - 1)).astype(np.int64),
            aim=next_batch(state) + np.rint(0.5 * FARTHEST * (aim + 1.0)).astype(np.int64),
            drop=self.drop_field(x, state),
        )

    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        """Inverse of `decode`; without an aim, the next batch; without patience, for ever."""
        shape, users = state.phase.shape, self.scenario.num_users
        decision = self.checked_continuous_decision(decision, shape)
        aim = np.broadcast_to(next_batch(state), shape) if decision.aim is None else decision.aim
        fewest = np.ones(shape[:-1]) if decision.least_batch is None else decision.least_batch
        patience = np.full(shape[:-1], np.inf) if decision.patience is None else decision.patience
        common = [_patience_column(patience), 2.0 * (fewest - 1.0) / max(users - 1, 1) - 1.0]
        return stacked(
            [
                self.length_column(decision.draft_length),
                join_column(decision.join),
                self.uplink_column(decision),
                2.0 * (aim - next_batch(state)) / FARTHEST - 1.0,
                *(np.broadcast_to(column[..., None], shape) for column in common),
                *self.drop_columns(decision, state),
            ]
        )


def _patience_of(x: FloatArray) -> FloatArray:
    """Seconds, (...) of (...)."""
    inside = np.exp(LOG_LONGEST / INSIDE * np.clip(x, -INSIDE, INSIDE))
    beyond = 0.5 * (1.0 + INSIDE)
    return np.where(x > beyond, np.inf, np.where(x < -beyond, 0.0, inside))


def _patience_column(patience: FloatArray) -> FloatArray:
    log = np.log(np.clip(patience, 1.0 / LONGEST, LONGEST)) * (INSIDE / LOG_LONGEST)
    return np.where(patience > LONGEST, 1.0, np.where(patience < 0.5 / LONGEST, -1.0, log))
