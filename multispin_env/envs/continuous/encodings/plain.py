"""Length, batch and uplink of every device, and nothing of any rule."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.envs.continuous.actions import OrderCodec, join_column, join_of, stacked
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState


class PlainOrders(OrderCodec):
    """``"plain"``, (K, 3): log-scale draft length; leave, take or wait in thirds; priority or log share.

    Where requests can be dropped, one column more: above 0 for that.
    A decision's patience is that of the environment, and it waits for no number of drafts; what it says of these, and
    of the batches that drafts aim at, is lost. Of priorities, the order is kept.
    """

    own_columns = 3

    def decode(self, action: NDArray[Any], state: ContinuousState) -> ContinuousDecision:
        """The three columns, as they are."""
        x = self.checked(action, state.phase.shape)
        length, join, key = x[..., 0], x[..., 1], x[..., 2]
        return ContinuousDecision(
            self.length(length),
            join_of(join),
            *self.uplink_fields(key),
            patience=self.waits(x.shape[:-2]),
            drop=self.drop_field(x, state),
        )

    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        """Middles of the thirds, ranks of the priorities."""
        decision = self.checked_continuous_decision(decision, state.phase.shape)
        columns = [self.length_column(decision.draft_length), join_column(decision.join), self.uplink_column(decision)]
        return stacked([*columns, *self.drop_columns(decision, state)])
