"""Actions in [-1, 1] to decisions and back; ``registry.ORDER_ENCODINGS`` names the encodings.

All have one row for each user. Column 0 is the draft length; where requests can be dropped, that is the last column.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray, dense_rank
from multispin_env.controllers.base import ContinuousController
from multispin_env.controllers.factory import make_controller
from multispin_env.envs.codec import BoxCodec
from multispin_env.envs.continuous.reference import REFERENCE
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join
from multispin_env.physics.continuous.uplink import UplinkDiscipline, serial
from multispin_env.physics.continuous.validation import checked_continuous_decision

LOG_LARGEST_SHARE = math.log(1e4)
"""ln of how many times the share of a device at 1 is that of one at 0."""

SMALLEST_SHARE = 1e-8
"""A device that has less of the band is encoded as having so much."""

JOINS = 3
"""Leave, take, wait."""


@dataclass(frozen=True)
class OrderCodec(BoxCodec, ABC):
    """Base of the encodings.

    Parameters
    ----------
    scenario
        The system.
    uplink
        How uploads share the band; a serial one reads priorities, the others shares.
    patience
        Seconds that the decisions of actions wait at most, where an action does not say it; ``None``: for ever.
    drops
        Whether requests end, so that there is one more column, by which a device gives up its own.
    reference
        ContinuousController that encodings start from which have a rule inside.
    """

    own_columns: ClassVar[int]
    """Columns of the encoding, without that of drops."""

    uplink: UplinkDiscipline
    patience: float | None = None
    drops: bool = False
    reference: str = REFERENCE

    @property
    def columns(self) -> int:
        """Numbers for each user."""
        return self.own_columns + self.drops

    @cached_property
    def rule(self) -> ContinuousController:
        """The reference controller."""
        return make_controller(self.reference, self.scenario)

    @abstractmethod
    def decode(self, action: NDArray[Any], state: ContinuousState) -> ContinuousDecision:
        """Order (..., K) of an action (..., K, columns) in a state (..., K).

        Raises
        ------
        ValueError
            For a wrong shape, NaN, or an entry outside [-1, 1].
        """

    @abstractmethod
    def encode(self, decision: ContinuousDecision, state: ContinuousState) -> NDArray[np.float32]:
        """Action (..., K, columns) that decodes to this decision (..., K) in this state, as far as it can say.

        Raises
        ------
        ValueError
            For a bad decision.
        """

    def checked_continuous_decision(self, decision: ContinuousDecision, shape: tuple[int, ...]) -> ContinuousDecision:
        """The decision (*shape) as arrays with all that the uplink needs; ``ValueError`` for a bad one."""
        batch = shape[:-1]
        checked = checked_continuous_decision(
            self.scenario, self.uplink, _mapped(decision, lambda x: _rows(x, batch)), math.prod(batch)
        )
        return _mapped(checked, lambda x: x.reshape((*batch, *x.shape[1:])))

    def length(self, x: FloatArray) -> IntArray:
        """Draft lengths of entries of column 0."""
        return np.rint(self.real_length(x)).astype(np.int64)

    def waits(self, batch: tuple[int, ...]) -> FloatArray | None:
        """Patience of decisions (*batch) whose actions do not say it."""
        return None if self.patience is None else np.full(batch, self.patience)

    def patience_of(self, rule: ContinuousDecision, state: ContinuousState) -> FloatArray | None:
        """A rule's own patience, else that of the environment."""
        return self.waits(state.phase.shape[:-1]) if rule.patience is None else rule.patience

    def drop_field(self, x: FloatArray, state: ContinuousState, rule: BoolArray | None = None) -> BoolArray | None:
        """Who gives up a request, by the last column of actions x (..., K, columns); ``None`` without such a column.

        It is whoever has one and is above 0. Around what a ``rule`` (..., K) drops, the middle third is the rule's own.
        """
        if not self.drops:
            return None
        column = x[..., -1]
        wanted = column > 0.0 if rule is None else np.where(np.abs(column) <= 1.0 / JOINS, rule, column > 0.0)
        return wanted & state.busy

    def drop_columns(
        self, decision: ContinuousDecision, state: ContinuousState, rule: BoolArray | None = None
    ) -> list[FloatArray]:
        """The last column of actions that mean what a decision drops, if there is such a column."""
        if not self.drops:
            return []
        wanted = dropped_by(decision, state)
        column = np.where(wanted, 1.0, -1.0)
        return [column if rule is None else np.where(wanted == rule, 0.0, column)]

    def uplink_fields(self, x: FloatArray) -> tuple[FloatArray | None, FloatArray | None]:
        """Priority and share, one of them, that entries of a column mean."""
        if self.uplink is serial:
            return x, None
        weight = np.exp(LOG_LARGEST_SHARE * np.clip(x, -1.0, 1.0))
        share: FloatArray = weight / weight.sum(-1, keepdims=True)
        return None, share

    def uplink_column(self, decision: ContinuousDecision) -> FloatArray:
        """Entries that mean the priority or share of a checked decision: ranks for priorities."""
        if decision.share is None:
            assert decision.priority is not None
            return rank_column(decision.priority)
        log = np.log(np.maximum(decision.share, SMALLEST_SHARE)) / LOG_LARGEST_SHARE
        return np.asarray(log - 0.5 * (log.max(-1, keepdims=True) + log.min(-1, keepdims=True)))


def dropped_by(decision: ContinuousDecision, state: ContinuousState) -> BoolArray:
    """Who gives up a request, (..., K)."""
    return np.zeros(state.phase.shape, dtype=np.bool_) if decision.drop is None else decision.drop


def join_of(x: FloatArray) -> IntArray:
    """Thirds of [-1, 1]: leave, take, wait; where a copy would leave everybody, it takes everybody."""
    join = np.minimum((0.5 * JOINS * (x + 1.0)).astype(np.int64), Join.WAIT)
    somebody = join.any(-1, keepdims=True)
    return join if somebody.all() else np.where(somebody, join, Join.TAKE)


def join_column(join: IntArray) -> FloatArray:
    """Middles of the thirds."""
    return np.asarray((2.0 / JOINS) * (join - 1.0))


def rank_column(priority: FloatArray) -> FloatArray:
    """Numbers in [-1, 1] in the order of priorities (..., K), equal where these are equal; 0 where all are."""
    rank = dense_rank(priority)
    last = rank.max(-1, keepdims=True)
    return np.where(last > 0, 2.0 * rank / np.maximum(last, 1) - 1.0, 0.0)


def next_batch(state: ContinuousState) -> IntArray:
    """Number of the next batch, (..., 1), to be compared with aims (..., K)."""
    return np.asarray(state.batch)[..., None]


def stacked(columns: list[FloatArray]) -> NDArray[np.float32]:
    """Action of its columns."""
    return np.clip(np.stack(columns, -1), -1.0, 1.0).astype(np.float32)


def _mapped(decision: ContinuousDecision, function: Callable[[Any], Any]) -> ContinuousDecision:
    values: list[Any] = [getattr(decision, name) for name in ContinuousDecision.__slots__]
    mapped: list[Any] = [None if value is None else function(value) for value in values]
    return ContinuousDecision(*mapped)


def _rows(value: Any, batch: tuple[int, ...]) -> NDArray[Any]:
    """Arrays with one batch axis, of those with any number."""
    array = np.asarray(value)
    if array.shape[: len(batch)] != batch:
        return array  # wrong, and refused
    return array.reshape((math.prod(batch), *array.shape[len(batch) :]))
