"""Array types and small array functions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]  # of any numbers
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Rows = IntArray | slice  # Indices of some rows of an array, or slice(None) for all
Rng = np.random.Generator | int | None  # A generator, or the seed of one; None draws a seed


def replace_rows(array: Any, rows: Rows, values: Any) -> Any:
    """Return a copy with new rows; for a slice, which selects all rows, return ``values`` itself."""
    if isinstance(rows, slice):
        return values
    array = array.copy()
    array[rows] = values
    return array


def constant(shape: tuple[int, ...], value: float) -> Any:
    """Return a read-only array that holds ``value`` everywhere."""
    array = np.full(shape, value)
    array.setflags(write=False)
    return array


def put(array: Array, index: IntArray, values: Any) -> None:
    """Assign to flat indices of a contiguous array; three times as fast as ``array.put``."""
    array.reshape(-1)[index] = values


def ordered_sum(array: FloatArray) -> FloatArray:
    """Return sums (...) over the last axis, added from left to right: the same bits in any batch."""
    return np.add.accumulate(array, -1)[..., -1]


def dense_rank(array: FloatArray) -> IntArray:
    """Return, for each value, the number of distinct smaller values in its row (..., K): 1, 0, 1, 2 for 5, −2, 5, 9."""
    by_size = np.argsort(array, -1, kind="stable")
    ordered = np.take_along_axis(array, by_size, -1)
    rank = np.zeros(array.shape, dtype=np.int64)
    rank[..., 1:] = np.cumsum(ordered[..., 1:] > ordered[..., :-1], -1)
    unsorted = np.empty_like(rank)
    np.put_along_axis(unsorted, by_size, rank, -1)
    return unsorted
