"""Means with bootstrap intervals."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer
from multispin_env.evaluation.seeds import BOOTSTRAP_SEED

RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """A statistic with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: FloatArray, rng: np.random.Generator | None = None) -> Interval:
    """Mean of at least two values (n,) with the 95 % percentile bootstrap interval over them.

    Without a generator for the resamples it is one of `BOOTSTRAP_SEED`, so that the interval repeats to the bit.
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


def block_intervals(
    numbers: FloatArray,
    statistic: Callable[[FloatArray], FloatArray],
    block: int,
    rng: np.random.Generator | None = None,
) -> list[Interval]:
    """Statistics of sums over successive rounds, with 95 % intervals by the circular block bootstrap.

    Rounds of one request depend on each other. So whole blocks of successive rounds are drawn with replacement, each
    place equally likely to begin one; the first round follows the last. Statistics of the same draw are paired. Few
    blocks differ less from each other than those of more rounds would: percentiles of m = n / block blocks are
    stretched by sqrt(m / (m − 1)) and by Student's t over the normal quantile.

    ``numbers`` are c of each of n ≥ 2 successive rounds, (n, c). The statistic goes from sums over rounds (..., c) to
    (..., m): ratios of sums, and differences of ratios. A block has 1 to n / 2 rounds. Each ``mean`` is that of the
    rounds themselves.
    """
    from scipy.special import ndtri, stdtrit  # late, as above

    numbers = np.asarray(numbers, dtype=np.float64)
    if numbers.ndim != 2 or len(numbers) < 2:
        raise ValueError(f"numbers: expected shape (n, c) with n ≥ 2, got {numbers.shape}")
    count = len(numbers)
    check_integer("block", block, 1, count // 2)
    generator = np.random.default_rng(BOOTSTRAP_SEED) if rng is None else rng
    begun = np.arange(count)[:, None]
    sums = numbers[(begun + np.arange(block)) % count].sum(1)  # (n, c) of the block that begins there
    drawn = generator.integers(0, count, (RESAMPLES, round(count / block)))
    resampled = statistic(sums[drawn].sum(1))
    own = statistic(numbers.sum(0))
    levels = np.array([0.5 - LEVEL / 2.0, 0.5 + LEVEL / 2.0])
    blocks = count / block
    stretch = np.sqrt(blocks / (blocks - 1.0)) * stdtrit(blocks - 1.0, levels[1]) / ndtri(levels[1])
    limits = own + stretch * (np.quantile(resampled, levels, axis=0) - own)
    return [Interval(float(mean), float(low), float(high)) for mean, low, high in zip(own, *limits, strict=True)]
