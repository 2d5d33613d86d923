"""Options of controllers that may differ between copies or devices, and how far they may be tuned."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_array, require


@dataclass(frozen=True)
class Tunable:
    """How far an option may move from its default when it is tuned; more may be allowed."""

    low: float
    high: float
    by_device: bool = False  # one number for each device, (..., K), or one for all of them, (...)

    def moved(self, default: float, x: FloatArray) -> FloatArray:
        """Values at x in [-1, 1]: low at -1, the default at 0, high at 1, and lines between."""
        return np.asarray(default + np.where(x > 0.0, self.high - default, default - self.low) * x)


Option = FloatArray | float


def check_option(field: str, value: Any, low: float, high: float = np.inf, *, open_low: bool = False) -> None:
    """``ValueError`` unless all numbers of an option are in the interval."""
    array = check_array(field, value)
    good = ((array > low) if open_low else (array >= low)) & (array <= high)
    ends = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if np.isinf(high) else ']'}"
    require(field, array, good, f"numbers in {ends}")


def per_copy(field: str, value: Option, copies: int) -> FloatArray:
    """An option (n,) of n states, from one number or one for each; ``ValueError`` for another count."""
    given = np.asarray(value, dtype=np.float64).reshape(-1)
    if given.size not in (1, copies):
        raise ValueError(f"{field}: expected one number, or one for each of {copies} states, got {given.size}")
    return np.broadcast_to(given, (copies,))


def per_device(field: str, value: Option, shape: tuple[int, ...]) -> FloatArray:
    """An option of states (n, K), from one number, or one for each device (K,) or (..., K)."""
    given = np.asarray(value, dtype=np.float64)
    flat = given if given.ndim < 2 else given.reshape(-1, given.shape[-1])  # as states are
    try:
        return np.broadcast_to(flat, shape)
    except ValueError:
        raise ValueError(f"{field}: expected numbers that broadcast to {shape}, got shape {given.shape}") from None
