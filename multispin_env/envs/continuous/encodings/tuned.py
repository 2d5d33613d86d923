"""Options of a rule, read from the state."""

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from multispin_env.controllers.continuous.launch import ordered_sum
from multispin_env.envs.continuous.actions import OrderCodec
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState


class TunedOrders(OrderCodec):
    """``"tuned"``, (K, options): the reference controller, with options read from the action.

    Zero is the controller as it is. Of options that all devices share, the mean over users is read. What a controller
    can't be told by its options is lost; drops, where requests end, are the controller's own.
    """

    own_columns: ClassVar[int] = 0

    @property
    def columns(self) -> int:
        """One for each option; ``ValueError`` for a controller without any."""
        if not self.rule.tunable:
            raise ValueError(
                f"reference: expected a controller whose options can be tuned, for 'tuned', got {self.reference!r}"
            )
        return len(self.rule.tunable)

    def decode(self, action: NDArray[Any], state: ContinuousState) -> ContinuousDecision:
        """The order of the rule with these options."""
        x = self.checked(action, state.phase.shape)
        options = {}
        for column, (name, tunable) in enumerate(self.rule.tunable.items()):
            entries = x[..., column] if tunable.by_device else ordered_sum(x[..., column]) / x.shape[-2]
            options[name] = tunable.moved(self.rule.option(name), entries)
        decision = self.checked_continuous_decision(self.rule.tuned(options)(state), state.phase.shape)
        return decision.changed(patience=self.patience_of(decision, state))

    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        """Zero, the rule as it is."""
        self.checked_continuous_decision(decision, state.phase.shape)
        return np.zeros((*state.phase.shape, self.columns), dtype=np.float32)
