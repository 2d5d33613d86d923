"""Types of NumPy arrays, by what they hold, of generators, and new rows in arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Rows = IntArray | slice  # Some rows of an array, or all of them
Rng = np.random.Generator | int | None  # A generator, or the seed of one; None draws a seed


def replace_rows(array: Any, rows: Rows, values: Any) -> Any:
    """Array with new rows, in memory of its own."""
    if isinstance(rows, slice):
        return values
    array = array.copy()
    array[rows] = values
    return array


def constant(shape: tuple[int, ...], value: float) -> Any:
    """Array with one value everywhere, which cannot be written to."""
    array = np.full(shape, value)
    array.setflags(write=False)
    return array


def put(array: NDArray[Any], index: IntArray, values: Any) -> None:
    """``array.put`` of an array that is contiguous, in a third of the time."""
    array.reshape(-1)[index] = values


def ordered_sum(array: FloatArray) -> FloatArray:
    """Sums (...) over the last axis from left to right, to the same bits in any batch."""
    return np.add.accumulate(array, -1)[..., -1]


def dense_rank(array: FloatArray) -> IntArray:
    """How many different numbers of its row (..., K) are smaller than each: 1, 0, 1, 2 for .5, −2, .5, 9."""
    by_size = np.argsort(array, -1, kind="stable")
    ordered = np.take_along_axis(array, by_size, -1)
    rank = np.zeros(array.shape, dtype=np.int64)
    rank[..., 1:] = np.cumsum(ordered[..., 1:] > ordered[..., :-1], -1)
    found = np.empty_like(rank)
    np.put_along_axis(found, by_size, rank, -1)
    return found
