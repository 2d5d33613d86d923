"""What environments remember of past rounds beside their reward. Arrays are replaced, never written into."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray, IntArray, Rows, replaced


class Remembering:
    """What goes on from round to round, of n copies."""

    def fields(self) -> dict[str, NDArray[Any]]:
        """What is remembered, as fields of `Observed`, arrays (n, K)."""
        return {}

    def reset(self, rows: Rows) -> None:
        """Forget the past of these rows."""


class Memory(Remembering, ABC):
    """Remembers rounds for the observations."""

    @abstractmethod
    def advance(self, draft_length: IntArray, tokens: FloatArray, age: IntArray) -> None:
        """Take in a round; arrays (n, K), ``age`` of the requests behind the round."""


class Counts(Memory):
    """Tokens drafted and accepted, of n copies: in the last round, and since the present request began."""

    def __init__(self, num_users: int, num_copies: int) -> None:
        nothing = np.zeros((num_copies, num_users), dtype=np.int64)
        self._fields: dict[str, NDArray[Any]] = dict.fromkeys(("drafted", "accepted", "hits", "misses"), nothing)

    def fields(self) -> dict[str, NDArray[Any]]:
        """The counts."""
        return self._fields

    def reset(self, rows: Rows) -> None:
        """Forget the past of these rows."""
        for name, array in self._fields.items():
            self._fields[name] = replaced(array, rows, np.zeros_like(array[rows]))

    def advance(self, draft_length: IntArray, tokens: FloatArray, age: IntArray) -> None:
        """Count a round."""
        drafted = draft_length.copy()
        accepted = tokens.astype(np.int64) - 1
        same = age > 0
        self._fields = {
            "drafted": drafted,
            "accepted": accepted,
            "hits": np.where(same, self._fields["hits"] + accepted, 0),
            "misses": np.where(same, self._fields["misses"] + (accepted < drafted), 0),
        }
