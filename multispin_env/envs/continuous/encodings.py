"""Encodings of actions without the barrier: lengths, batches, uplink, and drops where requests end."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray, dense_rank, ordered_sum
from multispin_env.checks import check_instance
from multispin_env.controllers.base import Controller
from multispin_env.controllers.names import make_controller
from multispin_env.envs.engine import ActionCodec, stack_columns
from multispin_env.physics.continuous.passes import UplinkDiscipline, serial
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join
from multispin_env.physics.continuous.validation import checked_continuous_decision, checked_continuous_state
from multispin_env.simulation.reference import REFERENCE

_LOG_LARGEST_SHARE = math.log(1e4)
"""ln of how many times the share of a device at 1 is that of one at 0."""

_JOINS = 3
"""Leave, take, wait."""


@dataclass(frozen=True)
class ContinuousCodec(ActionCodec[ContinuousState, ContinuousDecision]):
    """Base of the encodings without the barrier."""

    base_columns: ClassVar[int]
    """Columns of the encoding, without that of drops."""

    uplink: UplinkDiscipline  # a serial one reads priorities, the others shares
    timeout: float | None = None  # s that decisions wait at most where an action does not say it; None for ever
    drops: bool = False  # whether requests end, so that by one more column a device gives up its own
    reference: str = REFERENCE  # controller that encodings with a rule inside start from

    @property
    @override
    def columns(self) -> int:
        return self.base_columns + self.drops

    @cached_property
    def rule(self) -> Controller[Any, Any]:
        """The reference controller."""
        return make_controller(self.reference, self.scenario)

    @override
    def checked_state(self, state: ContinuousState) -> ContinuousState:
        return checked_continuous_state(self.scenario, state)

    def checked_decision(self, decision: ContinuousDecision, shape: tuple[int, ...]) -> ContinuousDecision:
        """The decision (*shape) as arrays with all that the uplink needs; ``ValueError`` for a bad one."""
        check_instance("decision", decision, ContinuousDecision)
        batch = shape[:-1]
        flat = decision.mapped(lambda x: _rows(x, batch))
        checked = checked_continuous_decision(self.scenario, self.uplink, flat, math.prod(batch))
        return checked.mapped(lambda x: x.reshape((*batch, *x.shape[1:])))

    def apply_rule(self, rule: Controller[Any, Any], state: ContinuousState) -> ContinuousDecision:
        """A rule's decision as arrays; the states of an engine, (n, K), need no check."""
        decide = rule.decide_continuous if state.phase.ndim == 2 else rule
        return self.checked_decision(decide(state), state.phase.shape)

    def length(self, x: FloatArray) -> IntArray:
        """Draft lengths of entries of column 0."""
        return np.rint(self.real_length(x)).astype(np.int64)

    def waits(self, batch: tuple[int, ...]) -> FloatArray | None:
        """Patience of decisions (*batch) whose actions do not say it."""
        return None if self.timeout is None else np.full(batch, self.timeout)

    def timeout_of(self, rule: ContinuousDecision, state: ContinuousState) -> FloatArray | None:
        """A rule's own timeout, else that of the environment."""
        return self.waits(state.phase.shape[:-1]) if rule.timeout is None else rule.timeout

    def drop_field(self, x: FloatArray, state: ContinuousState, rule: BoolArray | None = None) -> BoolArray | None:
        """Who gives up a request, by the last column of actions x (..., K, columns); ``None`` without such a column.

        It is whoever has one and is above 0. Around what a ``rule`` (..., K) drops, the middle third is the rule's own.
        """
        if not self.drops:
            return None
        column = x[..., -1]
        wanted = column > 0.0 if rule is None else np.where(np.abs(column) <= 1.0 / _JOINS, rule, column > 0.0)
        return wanted & state.busy

    def drop_columns(
        self, decision: ContinuousDecision, state: ContinuousState, rule: BoolArray | None = None
    ) -> list[FloatArray]:
        """The last column of actions that mean what a decision drops, if there is such a column."""
        if not self.drops:
            return []
        wanted = _dropped_by(decision, state)
        column = np.where(wanted, 1.0, -1.0)
        return [column if rule is None else np.where(wanted == rule, 0.0, column)]

    def uplink_fields(self, x: FloatArray) -> tuple[FloatArray | None, FloatArray | None]:
        """Priority and share, one of them, that entries of a column mean."""
        if self.uplink is serial:
            return x, None
        weight = np.exp(_LOG_LARGEST_SHARE * np.clip(x, -1.0, 1.0))
        share: FloatArray = weight / weight.sum(-1, keepdims=True)
        return None, share

    def uplink_column(self, decision: ContinuousDecision) -> FloatArray:
        """Entries that mean the priority or share of a checked decision: ranks for priorities."""
        if decision.share is None:
            assert decision.priority is not None
            return _rank_column(decision.priority)
        log = np.log(np.maximum(decision.share, 1e-8)) / _LOG_LARGEST_SHARE
        return np.asarray(log - 0.5 * (log.max(-1, keepdims=True) + log.min(-1, keepdims=True)))


def _dropped_by(decision: ContinuousDecision, state: ContinuousState) -> BoolArray:
    return np.zeros(state.phase.shape, dtype=np.bool_) if decision.drop is None else decision.drop


def _join_of(x: FloatArray) -> IntArray:
    join = np.minimum((0.5 * _JOINS * (x + 1.0)).astype(np.int64), Join.WAIT)
    somebody = join.any(-1, keepdims=True)
    return join if somebody.all() else np.where(somebody, join, Join.TAKE)


def _join_column(join: IntArray) -> FloatArray:
    return np.asarray((2.0 / _JOINS) * (join - 1.0))


def _rank_column(priority: FloatArray) -> FloatArray:
    """Numbers in [-1, 1] in the order of priorities (..., K), equal where these are equal; 0 where all are."""
    rank = dense_rank(priority)
    last = rank.max(-1, keepdims=True)
    return np.where(last > 0, 2.0 * rank / np.maximum(last, 1) - 1.0, 0.0)


def _next_batch(state: ContinuousState) -> IntArray:
    return np.asarray(state.batch)[..., None]


def _rows(value: Any, batch: tuple[int, ...]) -> NDArray[Any]:
    array = np.asarray(value)
    if array.shape[: len(batch)] != batch:
        return array  # wrong, and refused
    return array.reshape((math.prod(batch), *array.shape[len(batch) :]))


class PlainCodec(ContinuousCodec):
    """``"plain"``, (K, 3): log-scale draft length; leave, take or wait in thirds; priority or log share.

    A decision's timeout is that of the environment; drafts to wait for and batches aimed at are lost. Of priorities,
    the order is kept.
    """

    base_columns = 3

    @override
    def decode(self, action: NDArray[Any], state: ContinuousState) -> ContinuousDecision:
        x = self.checked(action)
        length, join, key = x[..., 0], x[..., 1], x[..., 2]
        return ContinuousDecision(
            self.length(length),
            _join_of(join),
            *self.uplink_fields(key),
            timeout=self.waits(x.shape[:-2]),
            drop=self.drop_field(x, state),
        )

    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        """Middles of the thirds, ranks of the priorities."""
        decision = self.checked_decision(decision, state.phase.shape)
        columns = [self.length_column(decision.draft_length), _join_column(decision.join), self.uplink_column(decision)]
        return stack_columns([*columns, *self.drop_columns(decision, state)])


_MAX_AIM = 63
"""Batches after the next that a draft can aim at."""

MAX_TIMEOUT = 1e4
"""Seconds, the longest timeout but for ever; the shortest is its inverse, or none at all."""

_LOG_LONGEST = math.log(MAX_TIMEOUT)

_INSIDE = 0.99
"""Entries of timeout up to it are on a logarithmic scale; -1 is none, 1 is for ever."""


class FullCodec(ContinuousCodec):
    """``"full"``, (K, 6): as ``"plain"``, then the batch that a draft aims at, timeout, and drafts to wait for.

    Of the last two, means over users are read. Numbers are kept to the precision of float32. Every controller can play
    with it.
    """

    base_columns: ClassVar[int] = 6

    @override
    def decode(self, action: NDArray[Any], state: ContinuousState) -> ContinuousDecision:
        x = self.checked(action)
        length, join, key, aim = (x[..., column] for column in range(4))
        timeout, fewest = (x[..., column].mean(-1) for column in (4, 5))
        return ContinuousDecision(
            self.length(length),
            _join_of(join),
            *self.uplink_fields(key),
            timeout=_timeout_of(timeout),
            least_batch=np.rint(1.0 + 0.5 * (fewest + 1.0) * (self.scenario.num_users - 1)).astype(np.int64),
            aim=_next_batch(state) + np.rint(0.5 * _MAX_AIM * (aim + 1.0)).astype(np.int64),
            drop=self.drop_field(x, state),
        )

    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        """Inverse of `decode`; without an aim, the next batch; without timeout, for ever."""
        shape, users = state.phase.shape, self.scenario.num_users
        decision = self.checked_decision(decision, shape)
        aim = np.broadcast_to(_next_batch(state), shape) if decision.aim is None else decision.aim
        fewest = np.ones(shape[:-1]) if decision.least_batch is None else decision.least_batch
        timeout = np.full(shape[:-1], np.inf) if decision.timeout is None else decision.timeout
        common = [_timeout_column(timeout), 2.0 * (fewest - 1.0) / max(users - 1, 1) - 1.0]
        return stack_columns(
            [
                self.length_column(decision.draft_length),
                _join_column(decision.join),
                self.uplink_column(decision),
                2.0 * (aim - _next_batch(state)) / _MAX_AIM - 1.0,
                *(np.broadcast_to(column[..., None], shape) for column in common),
                *self.drop_columns(decision, state),
            ]
        )


def _timeout_of(x: FloatArray) -> FloatArray:
    inside = np.exp(_LOG_LONGEST / _INSIDE * np.clip(x, -_INSIDE, _INSIDE))
    beyond = 0.5 * (1.0 + _INSIDE)
    return np.where(x > beyond, np.inf, np.where(x < -beyond, 0.0, inside))


def _timeout_column(timeout: FloatArray) -> FloatArray:
    log = np.log(np.clip(timeout, 1.0 / MAX_TIMEOUT, MAX_TIMEOUT)) * (_INSIDE / _LOG_LONGEST)
    return np.where(timeout > MAX_TIMEOUT, 1.0, np.where(timeout < 0.5 / MAX_TIMEOUT, -1.0, log))


_ENDS = (-0.6, -0.2, 0.2)
"""Where the second column changes from aside to a batch earlier, the rule's own, and a batch later."""

_ASIDE, _EARLIER, _OWN, _LATER = (-0.8, -0.4, 0.0, 0.6)
"""Middles of these intervals."""

_NEVER = np.iinfo(np.int64).max
"""Batch that nobody aims at."""


class ContinuousResidualCodec(ContinuousCodec):
    """``"residual"``, (K, 3): length around the rule's, on a log scale; shift of the batch; uplink around the rule's.

    Zero is the reference rule, with the environment's timeout where the rule has none. A device aside is taken by the
    batch if it is there, and its upload comes last; a batch waits for all that aim at it. What else a decision may say
    is lost.
    """

    base_columns = 3

    def decode(self, action: NDArray[Any], state: ContinuousState) -> ContinuousDecision:
        """The rule's decision, moved."""
        x = self.checked(action)
        rule = self.apply_rule(self.rule, state)
        length = np.clip(self.length_column(rule.draft_length) + 2.0 * x[..., 0], -1.0, 1.0)
        position = np.digitize(x[..., 1], _ENDS)  # aside, earlier, own, later
        aside, shift = position == 0, np.where(position == 0, 0, position - 2)
        drop = self.drop_field(x, state, _dropped_by(rule, state))
        aim = _aim(rule, state, drop)
        join = _moved_join(rule, aside, shift, aim, state)
        key = self.uplink_column(rule) + 2.0 * x[..., 2]
        # all keys are within ±3
        fields = self.uplink_fields(key + 6.0 * aside if self.uplink is serial else key)
        timeout = self.timeout_of(rule, state)
        aim = np.maximum(aim + shift, _next_batch(state))
        return ContinuousDecision(self.length(length), join, *fields, timeout, rule.least_batch, aim, drop)

    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        """The differences; those that are too large are cut."""
        decision, rule = self.checked_decision(decision, state.phase.shape), self.apply_rule(self.rule, state)
        length = self.length_column(decision.draft_length) - self.length_column(rule.draft_length)
        key = self.uplink_column(decision) - self.uplink_column(rule)
        columns = [0.5 * length, _batch_column(decision, rule, state), 0.5 * key]
        return stack_columns([*columns, *self.drop_columns(decision, state, _dropped_by(rule, state))])


def _aim(decision: ContinuousDecision, state: ContinuousState, drop: BoolArray | None) -> IntArray:
    """Batches that devices aim at: of those that can start a draft what the decision says, of others what one said."""
    own = _next_batch(state) if decision.aim is None else decision.aim
    return np.where(state.starting if drop is None else state.starting | drop, own, state.aim)


def _moved_join(
    rule: ContinuousDecision, aside: BoolArray, shift: IntArray, aim: IntArray, state: ContinuousState
) -> IntArray:
    waited = np.where(rule.join == Join.WAIT, aim, _NEVER).min(-1, keepdims=True)
    due = aim + shift <= np.where(waited == _NEVER, _next_batch(state), waited)
    join = np.where(shift == 0, rule.join, np.where(due, Join.WAIT, Join.LEAVE))
    join = np.where(aside, Join.TAKE, join)
    return np.where(join.any(-1, keepdims=True), join, Join.TAKE)


def _batch_column(decision: ContinuousDecision, rule: ContinuousDecision, state: ContinuousState) -> FloatArray:
    shift = np.sign(_aim(decision, state, decision.drop) - _aim(rule, state, decision.drop))
    wanted = np.where(decision.join == Join.TAKE, _ASIDE, np.where(decision.join == Join.WAIT, _EARLIER, _LATER))
    same = np.where(decision.join == rule.join, _OWN, wanted)
    return np.where(shift == 0, same, np.where(shift < 0, _EARLIER, _LATER))


class TunedCodec(ContinuousCodec):
    """``"tuned"``, (K, options): the reference controller, with options read from the action.

    Zero is the controller as it is. What a controller can't be told by its options is lost; drops, where requests end,
    are the controller's own.
    """

    base_columns: ClassVar[int] = 0

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
        x = self.checked(action)
        options = {}
        for column, (name, tunable) in enumerate(self.rule.tunable.items()):
            entries = x[..., column] if tunable.by_device else ordered_sum(x[..., column]) / x.shape[-2]
            options[name] = tunable.moved(self.rule.option(name), entries)
        decision = self.apply_rule(self.rule.tuned(options), state)
        return decision.changed(timeout=self.timeout_of(decision, state))

    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        """Zero, the rule as it is."""
        self.checked_decision(decision, state.phase.shape)
        return np.zeros((*state.phase.shape, self.columns), dtype=np.float32)
