"""Base class of action codecs.

Actions are numbers within ±`LIMIT` with a row for each user; column 0 is the draft length.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import Array, FloatArray, IntArray
from multispin_env.checks import require
from multispin_env.controllers.base import DecisionT, State
from multispin_env.scenario import Scenario

LIMIT = 5.0
"""Bound of all entries of actions, wide enough for learners that explore with their usual standard deviation of 1.

Codecs divide entries by it: their functions of entries and columns are of numbers in [-1, 1].
"""


@dataclass(frozen=True)
class ActionCodec(ABC, Generic[State, DecisionT]):
    """Base of the encodings of actions in both families."""

    scenario: Scenario

    @property
    @abstractmethod
    def columns(self) -> int:
        """Number of columns."""

    @abstractmethod
    def decode(self, action: Array, state: State) -> DecisionT:
        """Return the decision (..., K) of an action (..., K, columns) in a state (..., K).

        ``ValueError`` for NaN or an entry beyond ±`LIMIT`. The shape is checked by `check_shape` before.
        """

    @abstractmethod
    def encode(self, decision: DecisionT, state: State) -> NDArray[np.float32]:
        """Return the action (..., K, columns) that decodes to a decision (..., K), or to the nearest possible one.

        ``ValueError`` for a decision that is invalid or not allowed in the environment.
        """

    @abstractmethod
    def checked_state(self, state: State) -> State:
        """Return states (..., K) as arrays; ``ValueError`` for invalid states."""

    @property
    def space(self) -> spaces.Box:
        """Box ±`LIMIT` of shape (K, columns)."""
        return spaces.Box(-LIMIT, LIMIT, (self.scenario.num_users, self.columns), np.float32)

    @property
    def length_range(self) -> tuple[int, int]:
        """L_min and L_max."""
        return self.scenario.min_draft_length, self.scenario.max_draft_length

    def real_length(self, column: FloatArray) -> FloatArray:
        """Return unrounded draft lengths: low − 1 + (1 + high − low)^{(x + 1)/2} for entries x of column 0."""
        low, high = self.length_range
        return np.asarray(low - 1.0 + np.exp(0.5 * math.log(1.0 + high - low) * (column + 1.0)))

    def length_column(self, length: FloatArray | IntArray) -> FloatArray:
        """Return entries of column 0 for real lengths, the inverse of `real_length`; −1 if low equals high."""
        low, high = self.length_range
        return 2.0 * np.log(1.0 + length - low) / math.log(max(1.0 + high - low, 2.0)) - 1.0

    def check_shape(self, action: Array, *batch_and_users: int) -> None:
        """Raise ``ValueError`` unless the action has the shape (..., K, columns)."""
        shape = (*batch_and_users, self.columns)
        if np.shape(action) != shape:
            raise ValueError(f"action: expected shape {shape}, got {np.shape(action)}")

    def checked(self, action: Array) -> FloatArray:
        """Return actions / `LIMIT` (..., K, columns) as float64; ``ValueError`` for NaN or an entry beyond ±`LIMIT`."""
        if getattr(action, "dtype", None) != np.float32:  # not cast yet, for speed: it is half as large
            action = np.asarray(action, dtype=np.float64)
        if not np.maximum.reduce(np.abs(action), None, initial=0.0) <= LIMIT:  # also for NaN
            x = action.astype(np.float64)
            inside = np.abs(x) <= LIMIT * (1.0 + 1e-6)  # allows for rounding to float32
            require("action", x, inside, f"numbers in [-{LIMIT:g}, {LIMIT:g}]")
            action = np.clip(x, -LIMIT, LIMIT)
        columns = action.reshape(-1, action.shape[-1]).T.astype(np.float64, order="C")  # each contiguous, for speed
        columns /= LIMIT
        return columns.T.reshape(action.shape)


def stack_columns(columns: list[FloatArray]) -> NDArray[np.float32]:
    """Return the action with these columns, (..., K) each, clipped to [-1, 1] and multiplied by `LIMIT`."""
    return (LIMIT * np.clip(np.stack(columns, -1), -1.0, 1.0)).astype(np.float32)
