"""Scores with intervals over cases and training seeds, and the aggregates of Agarwal et al. (2021), arXiv 2108.13264.

A score is 0 for the floor and 1 for the reference; that of a task with several parts is the mean of theirs. Resampling
is stratified: seeds within a task, and the cases of a task, the same for all who play there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import trim_mean

from multispin_env.arrays import FloatArray
from multispin_env.evaluation.statistics import BOOTSTRAP_SEED, LEVEL, RESAMPLES, Interval

QUANTILES = (50.0 * (1.0 - LEVEL), 50.0 * (1.0 + LEVEL))


@dataclass(frozen=True, eq=False)
class Performance:
    """Values (seeds, parts, n) of one method in a task; those (parts, n) of ``floor`` count 0, of ``top`` 1.

    Case i of all parts is drawn together.
    """

    values: FloatArray
    floor: FloatArray
    top: FloatArray

    @property
    def size(self) -> int:
        """n, cases of each part."""
        return self.top.shape[-1]

    @property
    def mean_scores(self) -> FloatArray:
        """Normalised scores (seeds,) of all cases."""
        return self.scores(np.full(self.size, 1.0 / self.size))

    def scores(self, weights: FloatArray) -> FloatArray:
        """Normalised scores (..., seeds) with weights (..., n) of the cases."""
        floor, top, values = (np.tensordot(weights, x, (-1, -1)) for x in (self.floor, self.top, self.values))
        lowest = floor[..., None, :]
        scores: FloatArray = ((values - lowest) / (top[..., None, :] - lowest)).mean(-1)
        return scores


@dataclass(frozen=True)
class Score:
    """What one policy reaches in one task, with 95 % intervals over the held-out cases."""

    value: Interval  # mean of the metric
    score: Interval  # 0 for random actions and 1 for the reference, in the same cases

    @classmethod
    def of(cls, played: Performance) -> "Score":
        """Of one or several seeds, which are drawn anew too where there are several."""
        return cls(_crossed(played.values.mean(1)), aggregate([played], worst_task))


def _weights_of(size: int, rng: np.random.Generator) -> FloatArray:
    weights: FloatArray = rng.multinomial(size, np.full(size, 1.0 / size), RESAMPLES) / size
    return weights


def interval(mean: float, resampled: FloatArray) -> Interval:
    """Percentile interval."""
    return Interval(float(mean), *map(float, np.percentile(resampled, QUANTILES)))


def _crossed(values: FloatArray) -> Interval:
    """Mean of values (seeds, n), resampled over seeds and over cases; one seed gives an interval over cases alone."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    seeds, cases = (_weights_of(size, rng) for size in values.shape)
    return interval(values.mean(), ((seeds @ values) * cases).sum(-1))


_Scores = Sequence[FloatArray]
"""Normalised scores (..., seeds) of each task."""


def _all_scores(performances: Sequence[Performance]) -> FloatArray:
    return np.concatenate([performance.mean_scores for performance in performances])


def _resampled_scores(performances: Sequence[Performance]) -> _Scores:
    rng, drawn = np.random.default_rng(BOOTSTRAP_SEED), []
    for performance in performances:
        scores = performance.scores(_weights_of(performance.size, rng))
        seeds = len(performance.values)
        drawn.append(np.take_along_axis(scores, rng.integers(seeds, size=(RESAMPLES, seeds)), axis=-1))
    return drawn


def interquartile_mean(scores: _Scores) -> FloatArray:
    """Mean of the middle half of all runs."""
    mean: FloatArray = trim_mean(np.concatenate(scores, axis=-1), 0.25, axis=-1)
    return mean


def median_task(scores: _Scores) -> FloatArray:
    """Median of the tasks' means over seeds."""
    median: FloatArray = np.median([one.mean(-1) for one in scores], axis=0)
    return median


def worst_task(scores: _Scores) -> FloatArray:
    """Least of the tasks' means over seeds."""
    least: FloatArray = np.min([one.mean(-1) for one in scores], axis=0)
    return least


def aggregate(performances: Sequence[Performance], statistic: Callable[[_Scores], FloatArray]) -> Interval:
    """A number for many tasks, with its interval."""
    own = statistic([performance.mean_scores for performance in performances])
    return interval(float(own), statistic(_resampled_scores(performances)))


def profile(performances: Sequence[Performance], grid: FloatArray) -> tuple[FloatArray, ...]:
    """Share of runs whose score is above each of the grid's (points,), and the ends of its interval."""
    share = (_all_scores(performances)[:, None] > grid).mean(0)
    scores = np.concatenate(_resampled_scores(performances), axis=-1)
    resampled = np.stack([(scores > point).mean(-1) for point in grid], axis=-1)
    low, high = np.percentile(resampled, QUANTILES, axis=0)
    return share, low, high
