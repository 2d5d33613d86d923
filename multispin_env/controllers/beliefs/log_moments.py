"""Moments of Beta laws by their logarithms, for parameters of any size."""

import numpy as np

from multispin_env.arrays import FloatArray

SERIES_FROM = 30.0
"""Stirling's series with three terms is exact to rounding from here on."""


def _stirling_tail(x: FloatArray) -> FloatArray:
    """ln Γ(x) − ((x − ½) ln x − x + ½ ln 2π)."""
    inverse = 1.0 / x
    square = inverse * inverse
    tail: FloatArray = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square / 1260.0))
    return tail


def log_rising(x: FloatArray, steps: FloatArray | float) -> FloatArray:
    """ln Γ(x + m) − ln Γ(x), for x > 0 and m ≥ 0 broadcast together (ours).

    The difference of the two values of ln Γ loses all digits for large x; Stirling's series, subtracted term by term,
    does not.
    """
    from scipy.special import gammaln  # late: it takes as long to import as all of this package

    start = np.maximum(x, SERIES_FROM)
    series = (
        (start - 0.5) * np.log1p(steps / start)
        + steps * (np.log(start + steps) - 1.0)
        + (_stirling_tail(start + steps) - _stirling_tail(start))
    )
    return np.where(x < SERIES_FROM, gammaln(x + steps) - gammaln(x), series)


def log_likelihood(a: FloatArray, b: FloatArray, hits: FloatArray, misses: FloatArray) -> FloatArray:
    """ln E[α^A (1 − α)^F] under Beta(a, b), for a, b > 0: ln B(a + A, b + F) − ln B(a, b)."""
    return log_rising(a, hits) + log_rising(b, misses) - log_rising(a + b, hits + misses)


def log_moment(a: FloatArray, b: FloatArray, moment: float) -> FloatArray:
    """ln E[α^m] under Beta(a, b), for a, b > 0."""
    if moment == 1.0:
        return np.log(a / (a + b))
    return log_rising(a, moment) - log_rising(a + b, moment)
