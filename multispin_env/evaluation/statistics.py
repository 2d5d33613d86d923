"""Means with bootstrap intervals."""

from typing import NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.evaluation.seeds import BOOTSTRAP_SEED

RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """A statistic with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: FloatArray, rng: np.random.Generator | None = None) -> Interval:
    """Mean of ``values`` (n,) with the 95 % percentile bootstrap interval over its entries.

    Parameters
    ----------
    values
        At least two.
    rng
        Draws the resamples; ``None`` for a generator of `BOOTSTRAP_SEED`, so that the interval repeats to the bit.

    Raises
    ------
    ValueError
        If there are fewer than two values.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values: expected shape (n,) with n ≥ 2, got {values.shape}")
    from scipy.stats import bootstrap  # late: it takes longer to import than all of this package

    limits = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        batch=100,
        rng=np.random.default_rng(BOOTSTRAP_SEED) if rng is None else rng,
    ).confidence_interval
    return Interval(float(values.mean()), float(limits.low), float(limits.high))
