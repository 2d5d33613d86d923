"""Encodings of actions in both families: numbers in [-1, 1], one row for each user, and what they decide.

Column 0 is the draft length. A family's encodings are in its ``encodings.py``.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import require
from multispin_env.scenario import Scenario


@dataclass(frozen=True)
class ActionCodec(ABC):
    """Base of the encodings of both families."""

    scenario: Scenario

    @property
    @abstractmethod
    def columns(self) -> int:
        """Numbers for each user."""

    @abstractmethod
    def decode(self, action: NDArray[Any], state: Any) -> Any:
        """Decision (..., K) of an action (..., K, columns) in a state (..., K).

        Raises
        ------
        ValueError
            For NaN, or an entry outside [-1, 1]; shapes are for `check_shape`.
        """

    @abstractmethod
    def encode(self, decision: Any, state: Any) -> NDArray[np.float32]:
        """Action (..., K, columns) that decodes to this decision (..., K) in this state, as far as it can say.

        Raises
        ------
        ValueError
            For a bad decision, or one that the environment does not allow.
        """

    @abstractmethod
    def checked_state(self, state: Any) -> Any:
        """States (..., K) as arrays; ``ValueError`` for bad ones."""

    @property
    def space(self) -> spaces.Box:
        """Box [-1, 1] of shape (K, columns)."""
        return spaces.Box(-1.0, 1.0, (self.scenario.num_users, self.columns), np.float32)

    @property
    def length_range(self) -> tuple[int, int]:
        """L_min and L_max."""
        return self.scenario.min_draft_length, self.scenario.max_draft_length

    def real_length(self, column: FloatArray) -> FloatArray:
        """Length before rounding, of entries x of column 0.

        It is low − 1 + (1 + high − low)^{(x + 1)/2}, a logarithmic scale.
        """
        low, high = self.length_range
        above = np.exp((0.5 * math.log(1.0 + high - low)) * (column + 1.0))
        return above if low == 1 else low - 1.0 + above

    def length_column(self, length: FloatArray | IntArray) -> FloatArray:
        """Entries of column 0, of real lengths: the inverse of `real_length`; −1 where there is only one length."""
        low, high = self.length_range
        return 2.0 * np.log(1.0 + length - low) / math.log(max(1.0 + high - low, 2.0)) - 1.0

    def length_slope(self, length: FloatArray) -> FloatArray:
        """Derivative of `real_length` by the entry of column 0, at these real lengths."""
        low, high = self.length_range
        return 0.5 * math.log(1.0 + high - low) * (1.0 + length - low)

    def check_shape(self, action: NDArray[Any], *batch_and_users: int) -> None:
        """``ValueError`` unless the action has the shape (..., K, columns)."""
        wanted = (*batch_and_users, self.columns)
        if np.shape(action) != wanted:
            raise ValueError(f"action: expected shape {wanted}, got {np.shape(action)}")

    def checked(self, action: NDArray[Any]) -> FloatArray:
        """Actions (..., K, columns) as float64; ``ValueError`` for NaN or an entry outside [-1, 1]."""
        x = np.asarray(action, dtype=np.float64)
        few = action if getattr(action, "dtype", None) == np.float32 else x  # half the bytes to look through
        if not np.maximum.reduce(np.abs(few), None, initial=0.0) <= 1.0:  # also for NaN
            require("action", x, np.abs(x) <= 1.0 + 1e-6, "numbers in [-1, 1]")  # float32 rounds
            x = np.clip(x, -1.0, 1.0)
        return x


def columns_stacked(columns: list[FloatArray]) -> NDArray[np.float32]:
    """Action of its columns, (..., K) each, cut to [-1, 1]."""
    return np.clip(np.stack(columns, -1), -1.0, 1.0).astype(np.float32)
