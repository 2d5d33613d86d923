"""Roots within brackets, many at once."""

from collections.abc import Callable

import numpy as np

from multispin_env.arrays import FloatArray, IntArray

NESTED_STEPS = 80
"""Most steps of each loop of the nested search; each of them at least halves a bracket where it is not faster."""

FLAT = 1e-30  # Slopes, and determinants of two equations, below this one tell nothing

HALF_PRECISION, NARROWEST = 1e-6, 1e-15
"""Tolerance from which on a bracket this narrow is enough; below, the width of a bracket that is.

Where uploads take hardly any time, a step in the function may be narrower than an exact tolerance.
"""

MOST_STEPS = 100  # Every second one at least halves a bracket


def bracketed_root(
    function: Callable[[FloatArray, IntArray], FloatArray],
    low: FloatArray,
    high: FloatArray,
    ends: tuple[FloatArray, FloatArray],
    tolerance: float,
) -> FloatArray:
    """Roots (n,) of functions that fall through zero once, by the Illinois method, with halving after a slow step.

    ``function`` takes x and the rows (m,) it is asked for; ``ends`` are its values, ≥ 0 and ≤ 0, at ``low`` and
    ``high``. A row is done at a ``tolerance`` of the bracket's width relative to its ends, or of values relative to
    ``ends``.
    """
    low, high, x = low.copy(), high.copy(), high.copy()
    above, below = (np.array(end, dtype=np.float64) for end in ends)
    enough = tolerance * np.maximum(above, -below)
    rows = np.flatnonzero((above > 0.0) & (below < 0.0))
    x[above <= 0.0] = low[above <= 0.0]
    slow = np.zeros(len(x), dtype=bool)
    for _ in range(MOST_STEPS):
        if not len(rows):
            break
        a, b = low[rows], high[rows]
        middle = a + (b - a) * np.where(slow[rows], 0.5, above[rows] / (above[rows] - below[rows]))
        x[rows] = middle = np.clip(middle, a, b)
        value = function(middle, rows)
        up = value > 0.0
        low[rows], high[rows] = np.where(up, middle, a), np.where(up, b, middle)
        # the value of an end that stays is halved, so that it moves too
        above[rows] = np.where(up, value, 0.5 * above[rows])
        below[rows] = np.where(up, 0.5 * below[rows], value)
        width = high[rows] - low[rows]
        slow[rows] = width > 0.5 * (b - a)
        done = (np.abs(value) <= enough[rows]) | (width <= tolerance * np.maximum(np.abs(a), np.abs(b)))
        rows = rows[~done]
    return x


def falling_root(
    function: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    x: FloatArray,
    low: FloatArray,
    high: FloatArray,
    tolerance: float,
) -> FloatArray:
    """Roots of falling functions within brackets: Newton, and halving where it leaves them or is slow."""
    before = np.full_like(x, np.inf)
    narrow = tolerance if tolerance >= HALF_PRECISION else NARROWEST
    done = high - low <= narrow
    for _ in range(NESTED_STEPS):
        value, slope = function(x)
        low = np.where(value > 0.0, x, low)
        high = np.where(value > 0.0, high, x)
        done = done | (np.abs(value) <= tolerance) | (high - low <= narrow)
        if done.all():
            break
        steep = np.abs(slope) > FLAT
        newton = x - np.where(steep, value, 0.0) / np.where(steep, slope, 1.0)
        fast = steep & (np.abs(value) <= 0.5 * before) & (low < newton) & (newton < high)
        x = np.where(done, x, np.where(fast, newton, 0.5 * (low + high)))
        before = np.where(fast, np.abs(value), np.inf)
    return x
