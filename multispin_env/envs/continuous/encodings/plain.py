"""Length, batch and uplink of every device, and nothing of any rule."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.envs.continuous.actions import OrderCodec, join_column, join_of, stacked
from multispin_env.physics.continuous.types import ContinuousState, Order


class PlainOrders(OrderCodec):
    """``"plain"``, (K, 3): log-scale draft length; leave, take or wait in thirds; priority or log share.

    Where requests can be dropped, one column more: above 0 for that.
    An order's patience is that of the environment, and it waits for no number of drafts; what it says of these, and of
    the batches that drafts aim at, is lost. Of priorities, the order is kept.
    """

    own_columns = 3

    def decode(self, action: NDArray[Any], state: ContinuousState) -> Order:
        """The three columns, as they are."""
        x = self.checked(action, state.phase.shape)
        length, join, key = x[..., 0], x[..., 1], x[..., 2]
        return Order(
            self.length(length),
            join_of(join),
            *self.uplink_fields(key),
            patience=self.waits(x.shape[:-2]),
            drop=self.drop_field(x, state),
        )

    def encode(self, order: Order, state: ContinuousState) -> NDArray[np.float32]:
        """Middles of the thirds, ranks of the priorities."""
        order = self.checked_order(order, state.phase.shape)
        columns = [self.length_column(order.draft_length), join_column(order.join), self.uplink_column(order)]
        return stacked([*columns, *self.drop_columns(order, state)])
