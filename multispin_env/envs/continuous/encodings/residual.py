"""How a decision differs from that of a rule."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.envs.continuous.actions import OrderCodec, dropped_by, next_batch, stacked
from multispin_env.physics.continuous.passes import serial
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join

ENDS = (-0.6, -0.2, 0.2)
"""Where the second column changes from aside to a batch earlier, the rule's own, and a batch later."""

ASIDE, EARLIER, OWN, LATER = (-0.8, -0.4, 0.0, 0.6)
"""Middles of these intervals."""

NEVER = np.iinfo(np.int64).max
"""Batch that nobody aims at."""

BEHIND = 6.0
"""Added to the priority of a device that is put aside; those of all others are within ±3."""


class ResidualOrders(OrderCodec):
    """``"residual"``, (K, 3): length around the rule's, on a log scale; shift of the batch; uplink around the rule's.

    Zero is the reference rule, with the environment's patience where the rule has none. The second column
    puts a device aside (the batch takes it if it is there, its upload comes last), or lets it aim at the batch before
    or after the rule's: the batch waits for all that aim at it. Where requests can be dropped, the last
    column is the rule's own in the middle third, keep below it and drop above. What else a decision may say is lost.
    """

    own_columns = 3

    def decode(self, action: NDArray[Any], state: ContinuousState) -> ContinuousDecision:
        """The rule's decision, moved."""
        x = self.checked(action, state.phase.shape)
        rule = self._rule(state)
        length = np.clip(self.length_column(rule.draft_length) + 2.0 * x[..., 0], -1.0, 1.0)
        place = np.digitize(x[..., 1], ENDS)  # aside, earlier, own, later
        aside, shift = place == 0, np.where(place == 0, 0, place - 2)
        drop = self.drop_field(x, state, dropped_by(rule, state))
        aim = _aim(rule, state, drop)
        join = _moved_join(rule, aside, shift, aim, state)
        key = self.uplink_column(rule) + 2.0 * x[..., 2]
        fields = self.uplink_fields(key + BEHIND * aside if self.uplink is serial else key)
        patience = self.patience_of(rule, state)
        aim = np.maximum(aim + shift, next_batch(state))
        return ContinuousDecision(self.length(length), join, *fields, patience, rule.least_batch, aim, drop)

    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        """The differences; those that are too large are cut."""
        decision, rule = self.checked_continuous_decision(decision, state.phase.shape), self._rule(state)
        length = self.length_column(decision.draft_length) - self.length_column(rule.draft_length)
        key = self.uplink_column(decision) - self.uplink_column(rule)
        columns = [0.5 * length, _batch_column(decision, rule, state), 0.5 * key]
        return stacked([*columns, *self.drop_columns(decision, state, dropped_by(rule, state))])

    def _rule(self, state: ContinuousState) -> ContinuousDecision:
        return self.checked_continuous_decision(self.rule(state), state.phase.shape)


def _aim(decision: ContinuousDecision, state: ContinuousState, drop: BoolArray | None) -> IntArray:
    """Batches that devices aim at: of those that can start a draft what the decision says, of others what one said."""
    own = next_batch(state) if decision.aim is None else decision.aim
    return np.where(state.starting if drop is None else state.starting | drop, own, state.aim)


def _moved_join(
    rule: ContinuousDecision, aside: BoolArray, shift: IntArray, aim: IntArray, state: ContinuousState
) -> IntArray:
    waited = np.where(rule.join == Join.WAIT, aim, NEVER).min(-1, keepdims=True)
    due = aim + shift <= np.where(waited == NEVER, next_batch(state), waited)
    join = np.where(shift == 0, rule.join, np.where(due, Join.WAIT, Join.LEAVE))
    join = np.where(aside, Join.TAKE, join)
    return np.where(join.any(-1, keepdims=True), join, Join.TAKE)


def _batch_column(decision: ContinuousDecision, rule: ContinuousDecision, state: ContinuousState) -> FloatArray:
    """The shift if there is one, else what leads to the decision's join."""
    shift = np.sign(_aim(decision, state, decision.drop) - _aim(rule, state, decision.drop))
    wanted = np.where(decision.join == Join.TAKE, ASIDE, np.where(decision.join == Join.WAIT, EARLIER, LATER))
    same = np.where(decision.join == rule.join, OWN, wanted)
    return np.where(shift == 0, same, np.where(shift < 0, EARLIER, LATER))
