"""Types of NumPy arrays, by what they hold, and new rows in them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Rows = IntArray | slice
"""Some rows of an array, or all of them."""


def replaced(array: Any, rows: Rows, values: Any) -> Any:
    """Array with new rows, in memory of its own."""
    if isinstance(rows, slice):
        return values
    array = array.copy()
    array[rows] = values
    return array
