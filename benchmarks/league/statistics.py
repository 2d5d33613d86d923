"""Intervals over cases and training seeds, and the aggregates of Agarwal et al. (2021), arXiv 2108.13264.

A run's score in a contest is normalised: 0 is the fixed controller, 1 the reference, which is the optimum, the
clairvoyant, or the gradient rule where no optimum is known. Resampling is stratified: seeds within a contest, and
the cases of a contest, the same for all who play there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import trim_mean

from multispin_env.arrays import FloatArray
from multispin_env.evaluation.statistics import BOOTSTRAP_SEED, LEVEL, RESAMPLES, Interval

QUANTILES = (50.0 * (1.0 - LEVEL), 50.0 * (1.0 + LEVEL))


@dataclass(frozen=True, eq=False)
class Performance:
    """Values (seeds, n) of the runs of one agent in one contest; those (n,) of ``floor`` and ``top`` are 0 and 1."""

    values: FloatArray
    floor: FloatArray
    top: FloatArray

    @property
    def mean_scores(self) -> FloatArray:
        """Normalised scores (seeds,) of all cases."""
        return self.scores(np.full(len(self.top), 1.0 / len(self.top)))

    def scores(self, weights: FloatArray) -> FloatArray:
        """Normalised scores (..., seeds) with weights (..., n) of the cases."""
        floor, top = (weights @ ends for ends in (self.floor, self.top))
        scores: FloatArray = (weights @ self.values.T - floor[..., None]) / (top - floor)[..., None]
        return scores


def weights_of(size: int, rng: np.random.Generator) -> FloatArray:
    """Weights (resamples, size) of bootstrap samples."""
    weights: FloatArray = rng.multinomial(size, np.full(size, 1.0 / size), RESAMPLES) / size
    return weights


def interval(mean: float, resampled: FloatArray) -> Interval:
    """Percentile interval."""
    return Interval(float(mean), *map(float, np.percentile(resampled, QUANTILES)))


def crossed(values: FloatArray) -> Interval:
    """Mean of values (seeds, n), resampled over seeds and over cases; one seed gives an interval over cases alone."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    seeds, cases = (weights_of(size, rng) for size in values.shape)
    return interval(values.mean(), ((seeds @ values) * cases).sum(-1))


def all_scores(performances: Sequence[Performance]) -> FloatArray:
    """Normalised scores (runs,) of all contests together."""
    return np.concatenate([performance.mean_scores for performance in performances])


def resampled_scores(performances: Sequence[Performance]) -> FloatArray:
    """Normalised scores (resamples, runs): cases and seeds drawn anew in each contest."""
    rng, parts = np.random.default_rng(BOOTSTRAP_SEED), []
    for performance in performances:
        scores = performance.scores(weights_of(len(performance.top), rng))
        seeds = len(performance.values)
        parts.append(np.take_along_axis(scores, rng.integers(seeds, size=(RESAMPLES, seeds)), axis=-1))
    return np.concatenate(parts, axis=-1)


def iqm_interval(performances: Sequence[Performance]) -> Interval:
    """Interquartile mean of the runs, that of the middle half, with its interval."""
    mean, resampled = (
        trim_mean(one, 0.25, axis=-1) for one in (all_scores(performances), resampled_scores(performances))
    )
    return interval(mean, resampled)


def profile(performances: Sequence[Performance], grid: FloatArray) -> tuple[FloatArray, ...]:
    """Share of runs whose score is above each of the grid's (points,), and the ends of its interval."""
    share = (all_scores(performances)[:, None] > grid).mean(0)
    scores = resampled_scores(performances)
    resampled = np.stack([(scores > point).mean(-1) for point in grid], axis=-1)
    low, high = np.percentile(resampled, QUANTILES, axis=0)
    return share, low, high
