"""Encodings of actions without the barrier: draft lengths, batches, uplink, and drops of finite requests."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import Array, BoolArray, FloatArray, IntArray, dense_rank, ordered_sum
from multispin_env.checks import check_instance
from multispin_env.controllers.base import Controller
from multispin_env.controllers.names import make_controller
from multispin_env.envs.actions import ActionCodec, stack_columns
from multispin_env.physics.continuous.passes import UplinkDiscipline, serial
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join
from multispin_env.physics.continuous.validation import checked_continuous_decision, checked_continuous_state
from multispin_env.simulation.reference import REFERENCE

_LOG_LARGEST_SHARE = math.log(1e4)
"""Logarithm of the ratio of shares between entries 1 and 0."""

_JOINS = 3
"""Number of values of `Join`: leave, take, wait."""

_KEPT = 0.95
"""Largest |entry| in the last column with which a request is dropped if the rule does."""


@dataclass(frozen=True)
class ContinuousCodec(ActionCodec[ContinuousState, ContinuousDecision]):
    """Base of the encodings without the barrier."""

    base_columns: ClassVar[int]
    """Number of columns without the column of drops."""

    uplink: UplinkDiscipline  # `serial` needs priorities, the others shares
    timeout: float | None = None  # s, for encodings without a column for it; None for no limit
    drops: bool = False  # whether the last column drops requests
    reference: str = REFERENCE  # controller at action 0, for encodings that have one

    @property
    @override
    def columns(self) -> int:
        return self.base_columns + self.drops

    @cached_property
    def rule(self) -> Controller:
        """The reference controller."""
        return make_controller(self.reference, self.scenario)

    @override
    def checked_state(self, state: ContinuousState) -> ContinuousState:
        return checked_continuous_state(self.scenario, state)

    def checked_decision(self, decision: ContinuousDecision, shape: tuple[int, ...]) -> ContinuousDecision:
        """Return the complete decision as arrays (*shape); ``ValueError`` for an invalid decision."""
        batch = shape[:-1]
        if len(batch) == 1:  # in every step
            return checked_continuous_decision(self.scenario, self.uplink, decision, *batch)
        check_instance("decision", decision, ContinuousDecision)
        flat = decision.mapped(lambda x: _rows(x, batch))
        checked = checked_continuous_decision(self.scenario, self.uplink, flat, math.prod(batch))
        return checked.mapped(lambda x: x.reshape((*batch, *x.shape[1:])))

    def apply_rule(self, rule: Controller, state: ContinuousState) -> ContinuousDecision:
        """Return the decision of a rule as arrays; states (n, K), which come from a simulator, are not checked."""
        decide = rule.decide_continuous if state.phase.ndim == 2 else rule
        return self.checked_decision(decide(state), state.phase.shape)

    def length(self, x: FloatArray) -> IntArray:
        """Return the draft lengths of entries of column 0."""
        return np.rint(self.real_length(x)).astype(np.int64)

    def default_timeout(self, batch: tuple[int, ...]) -> FloatArray | None:
        """Return the environment's timeout for decisions (*batch)."""
        return None if self.timeout is None else np.full(batch, self.timeout)

    def timeout_of(self, rule: ContinuousDecision, state: ContinuousState) -> FloatArray | None:
        """Return the timeout of a rule, or that of the environment if the rule has none."""
        return self.default_timeout(state.phase.shape[:-1]) if rule.timeout is None else rule.timeout

    def drop_field(
        self, x: FloatArray, state: ContinuousState, rule: ContinuousDecision | None = None
    ) -> BoolArray | None:
        """Return the devices (..., K) whose requests are dropped; ``None`` without a column of drops.

        An entry above 0 drops the request of a busy device. With the drops of a ``rule``, they apply within ±4.75.
        """
        if not self.drops:
            return None
        column = x[..., -1]
        drop = column > 0.0
        if rule is not None:
            drop = np.where(np.abs(column) <= _KEPT, _dropped_by(rule, state), drop)
        return drop & state.busy

    def drop_columns(
        self, decision: ContinuousDecision, state: ContinuousState, rule: ContinuousDecision | None = None
    ) -> list[FloatArray]:
        """Return the column of drops of a decision as a list, empty without such a column."""
        if not self.drops:
            return []
        drop = _dropped_by(decision, state)
        column = np.where(drop, 1.0, -1.0)
        return [column if rule is None else np.where(drop == _dropped_by(rule, state), 0.0, column)]

    def uplink_fields(self, x: FloatArray) -> tuple[FloatArray | None, FloatArray | None]:
        """Return priorities and shares for entries of a column; one of the two is ``None``."""
        if self.uplink is serial:
            return x, None
        weight = np.exp(_LOG_LARGEST_SHARE * np.clip(x, -1.0, 1.0))
        share: FloatArray = weight / weight.sum(-1, keepdims=True)
        return None, share

    def uplink_column(self, decision: ContinuousDecision) -> FloatArray:
        """Return the column for the ranks of the priorities, or for the shares, of a checked decision."""
        if decision.share is None:
            assert decision.priority is not None
            rank = dense_rank(decision.priority)
            last = rank.max(-1, keepdims=True)
            return np.where(last > 0, 2.0 * rank / np.maximum(last, 1) - 1.0, 0.0)
        log = np.log(np.maximum(decision.share, 1e-8)) / _LOG_LARGEST_SHARE
        return np.asarray(log - 0.5 * (log.max(-1, keepdims=True) + log.min(-1, keepdims=True)))


def _dropped_by(decision: ContinuousDecision, state: ContinuousState) -> BoolArray:
    return np.zeros(state.phase.shape, dtype=np.bool_) if decision.drop is None else decision.drop


def _join_of(x: FloatArray) -> IntArray:
    join = np.minimum((0.5 * _JOINS * (x + 1.0)).astype(np.int64), Join.WAIT)
    return np.where(join.any(-1, keepdims=True), join, Join.TAKE)


def _join_column(join: IntArray) -> FloatArray:
    return np.asarray((2.0 / _JOINS) * (join - 1.0))


def _next_batch(state: ContinuousState) -> IntArray:
    return np.asarray(state.batch)[..., None]


def _rows(value: Any, batch: tuple[int, ...]) -> Array:
    array = np.asarray(value)
    if array.shape[: len(batch)] != batch:
        return array  # has a wrong shape, for which the check raises an error
    return array.reshape((math.prod(batch), *array.shape[len(batch) :]))


class PlainCodec(ContinuousCodec):
    """``"plain"``, (K, 3): log-scale draft length; leave, take or wait in thirds; priority or log share.

    The timeout is that of the environment. Encoding a decision keeps only the order of priorities, and loses the number
    of drafts to wait for and the target batches.
    """

    base_columns = 3

    @override
    def decode(self, action: Array, state: ContinuousState) -> ContinuousDecision:
        x = self.checked(action)
        length, join, uplink = self.length(x[..., 0]), _join_of(x[..., 1]), self.uplink_fields(x[..., 2])
        return ContinuousDecision(length, join, *uplink, **self.batch_fields(x, state), drop=self.drop_field(x, state))

    @override
    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        decision = self.checked_decision(decision, state.phase.shape)
        columns = [self.length_column(decision.draft_length), _join_column(decision.join), self.uplink_column(decision)]
        columns += self.batch_columns(decision, state)
        return stack_columns([*columns, *self.drop_columns(decision, state)])

    def batch_fields(self, x: FloatArray, state: ContinuousState) -> dict[str, Array | None]:
        """Return the fields of the decision for the start of batches, by name."""
        return {"timeout": self.default_timeout(x.shape[:-2])}

    def batch_columns(self, decision: ContinuousDecision, state: ContinuousState) -> list[FloatArray]:
        """Return the columns (..., K) of these fields of a checked decision."""
        return []


_MAX_AIM = 63
"""Largest number of batches from the next batch to a target batch."""

MAX_TIMEOUT = 1e4
"""Largest finite timeout in seconds; the smallest one above 0 is its inverse."""

_LOG_MAX_TIMEOUT = math.log(MAX_TIMEOUT)

_INSIDE = 0.99
"""Largest |entry| on the logarithmic scale of timeouts; −1 means 0 s, and 1 means no limit."""


class FullCodec(PlainCodec):
    """``"full"``, (K, 6): the columns of ``"plain"``, the target batch, the timeout, and the drafts to wait for.

    For the last two columns, the means over users count. The encoding can express every decision, in float32.
    """

    base_columns = 6

    @override
    def batch_fields(self, x: FloatArray, state: ContinuousState) -> dict[str, Array | None]:
        timeout, size = (x[..., column].mean(-1) for column in (4, 5))
        least_batch = np.rint(1.0 + 0.5 * (size + 1.0) * (self.scenario.num_users - 1)).astype(np.int64)
        aim = _next_batch(state) + np.rint(0.5 * _MAX_AIM * (x[..., 3] + 1.0)).astype(np.int64)
        return {"timeout": _timeout_of(timeout), "least_batch": least_batch, "aim": aim}

    @override
    def batch_columns(self, decision: ContinuousDecision, state: ContinuousState) -> list[FloatArray]:
        shape, users = state.phase.shape, self.scenario.num_users
        aim = np.broadcast_to(_next_batch(state), shape) if decision.aim is None else decision.aim
        size = np.ones(shape[:-1]) if decision.least_batch is None else decision.least_batch
        timeout = np.full(shape[:-1], np.inf) if decision.timeout is None else decision.timeout
        common = [_timeout_column(timeout), 2.0 * (size - 1.0) / max(users - 1, 1) - 1.0]
        columns = [np.broadcast_to(column[..., None], shape) for column in common]
        return [2.0 * (aim - _next_batch(state)) / _MAX_AIM - 1.0, *columns]


def _timeout_of(x: FloatArray) -> FloatArray:
    inside = np.exp(_LOG_MAX_TIMEOUT / _INSIDE * np.clip(x, -_INSIDE, _INSIDE))
    beyond = 0.5 * (1.0 + _INSIDE)
    return np.where(x > beyond, np.inf, np.where(x < -beyond, 0.0, inside))


def _timeout_column(timeout: FloatArray) -> FloatArray:
    log = np.log(np.clip(timeout, 1.0 / MAX_TIMEOUT, MAX_TIMEOUT)) * (_INSIDE / _LOG_MAX_TIMEOUT)
    return np.where(timeout > MAX_TIMEOUT, 1.0, np.where(timeout < 0.5 / MAX_TIMEOUT, -1.0, log))


_ENDS = (-0.9, -0.7, 0.7)
"""Limits in the second column between aside, one batch earlier, the rule's batch, and one batch later."""

_ASIDE, _EARLIER, _SAME, _LATER = (-0.95, -0.8, 0.0, 0.85)
"""Middles of these intervals."""

_NEVER = np.iinfo(np.int64).max
"""Number larger than that of any batch."""


class ContinuousResidualCodec(ContinuousCodec):
    """``"residual"``, (K, 3): change of the reference rule's draft length (log scale), batch, and uplink.

    Zero is the reference rule, with the environment's timeout if the rule has none. A batch waits for all devices with
    this target batch. No batch waits for a device that is set aside: its upload comes last, and the next batch takes
    its draft if it has arrived. Encoding loses all other parts of a decision.
    """

    base_columns = 3

    @override
    def decode(self, action: Array, state: ContinuousState) -> ContinuousDecision:
        x = self.checked(action)
        rule = self.apply_rule(self.rule, state)
        length = np.clip(self.length_column(rule.draft_length) + 0.5 * x[..., 0], -1.0, 1.0)
        position = np.digitize(x[..., 1], _ENDS)  # aside, earlier, same, later
        aside, shift = position == 0, np.where(position == 0, 0, position - 2)
        drop = self.drop_field(x, state, rule)
        aim = _aim(rule, state, drop)
        join = _moved_join(rule, aside, shift, aim, state)
        key = self.uplink_column(rule) + x[..., 2]
        # keys are within ±2
        fields = self.uplink_fields(key + 6.0 * aside if self.uplink is serial else key)
        timeout = self.timeout_of(rule, state)
        aim = np.maximum(aim + shift, _next_batch(state))
        return ContinuousDecision(self.length(length), join, *fields, timeout, rule.least_batch, aim, drop)

    @override
    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        decision, rule = self.checked_decision(decision, state.phase.shape), self.apply_rule(self.rule, state)
        length = self.length_column(decision.draft_length) - self.length_column(rule.draft_length)
        key = self.uplink_column(decision) - self.uplink_column(rule)
        shift = np.sign(_aim(decision, state, decision.drop) - _aim(rule, state, decision.drop))
        moved = np.where(decision.join == Join.TAKE, _ASIDE, np.where(decision.join == Join.WAIT, _EARLIER, _LATER))
        batch = np.where(decision.join == rule.join, _SAME, moved)
        batch = np.where(shift == 0, batch, np.where(shift < 0, _EARLIER, _LATER))
        columns = [2.0 * length, batch, key]
        return stack_columns([*columns, *self.drop_columns(decision, state, rule)])


def _aim(decision: ContinuousDecision, state: ContinuousState, drop: BoolArray | None) -> IntArray:
    aim = _next_batch(state) if decision.aim is None else decision.aim  # of devices that start a draft
    return np.where(state.starting if drop is None else state.starting | drop, aim, state.aim)


def _moved_join(
    rule: ContinuousDecision, aside: BoolArray, shift: IntArray, aim: IntArray, state: ContinuousState
) -> IntArray:
    waited = np.where(rule.join == Join.WAIT, aim, _NEVER).min(-1, keepdims=True)
    due = aim + shift <= np.where(waited == _NEVER, _next_batch(state), waited)
    join = np.where(shift == 0, rule.join, np.where(due, Join.WAIT, Join.LEAVE))
    join = np.where(aside, Join.TAKE, join)
    return np.where(join.any(-1, keepdims=True), join, Join.TAKE)


class TunedCodec(ContinuousCodec):
    """``"tuned"``, (K, options): options of the reference controller.

    Zero is the controller with its current options. The controller also decides on drops.
    """

    base_columns: ClassVar[int] = 0

    @property
    def columns(self) -> int:
        """Number of tunable options; ``ValueError`` for a controller without any."""
        if not self.rule.tunable:
            raise ValueError(f"reference: expected a controller with tunable options, got {self.reference!r}")
        return len(self.rule.tunable)

    @override
    def decode(self, action: Array, state: ContinuousState) -> ContinuousDecision:
        x = self.checked(action)
        options = {}
        for column, (name, tunable) in enumerate(self.rule.tunable.items()):
            entries = x[..., column] if tunable.by_device else ordered_sum(x[..., column]) / x.shape[-2]
            options[name] = tunable.value_at(self.rule.option(name), entries)
        decision = self.apply_rule(self.rule.with_options(options), state)
        return decision.changed(timeout=self.timeout_of(decision, state))

    @override
    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        self.checked_decision(decision, state.phase.shape)
        return np.zeros((*state.phase.shape, self.columns), dtype=np.float32)
