"""Scores with intervals over cases and training seeds, and the aggregates of Agarwal et al. (2021), arXiv 2108.13264.

A score is 0 for random actions (the floor) and 1 for the reference; the score of a task is the mean over its parts.
Resampling is stratified: seeds and cases are resampled within each task, with the same cases for all seeds.
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
    """Values (seeds, parts, n) of one method in a task, with the values (parts, n) that define the scores 0 and 1.

    Score 0 is ``floor``, score 1 is ``top``. Case i of all parts is resampled together.
    """

    values: FloatArray
    floor: FloatArray
    top: FloatArray

    @property
    def size(self) -> int:
        """Number of cases n of each part."""
        return self.top.shape[-1]

    @property
    def mean_scores(self) -> FloatArray:
        """Normalised scores (seeds,) over all cases."""
        return self.scores(np.full(self.size, 1.0 / self.size))

    def scores(self, weights: FloatArray) -> FloatArray:
        """Return normalised scores (..., seeds) with weights (..., n) of the cases."""
        floor, top, values = (np.tensordot(weights, x, (-1, -1)) for x in (self.floor, self.top, self.values))
        lowest = floor[..., None, :]
        return np.asarray(((values - lowest) / (top[..., None, :] - lowest)).mean(-1))


@dataclass(frozen=True)
class Score:
    """Result of a method in one task, with 95 % intervals over the held-out cases."""

    value: Interval  # mean of the metric
    score: Interval  # 0 for random actions and 1 for the reference, in the same cases

    @classmethod
    def of(cls, played: Performance) -> "Score":
        """Return the score of a performance; several seeds are resampled too."""
        values, rng = played.values.mean(1), np.random.default_rng(BOOTSTRAP_SEED)
        seeds, cases = (_weights_of(size, rng) for size in values.shape)
        value = interval(values.mean(), ((seeds @ values) * cases).sum(-1))
        return cls(value, *aggregate([played], worst_task))


def _weights_of(size: int, rng: np.random.Generator) -> FloatArray:
    return np.asarray(rng.multinomial(size, np.full(size, 1.0 / size), RESAMPLES) / size)


def interval(mean: float, resampled: FloatArray) -> Interval:
    """Return the percentile interval of resampled means."""
    return Interval(float(mean), *map(float, np.percentile(resampled, QUANTILES)))


_Scores = Sequence[FloatArray]  # normalised scores (..., seeds) of each task


def _resampled_scores(performances: Sequence[Performance]) -> _Scores:
    drawn = []
    for task, performance in enumerate(performances):
        rng = np.random.default_rng([BOOTSTRAP_SEED, task])  # the same cases for all methods
        scores = performance.scores(_weights_of(performance.size, rng))
        seeds = len(performance.values)
        drawn.append(np.take_along_axis(scores, rng.integers(seeds, size=(RESAMPLES, seeds)), axis=-1))
    return drawn


def interquartile_mean(scores: _Scores) -> FloatArray:
    """Return the mean of the middle half of all runs."""
    return np.asarray(trim_mean(np.concatenate(scores, axis=-1), 0.25, axis=-1))


def median_task(scores: _Scores) -> FloatArray:
    """Return the median over tasks of the means over seeds."""
    return np.asarray(np.median([task.mean(-1) for task in scores], axis=0))


def worst_task(scores: _Scores) -> FloatArray:
    """Return the minimum over tasks of the means over seeds."""
    return np.asarray(np.min([task.mean(-1) for task in scores], axis=0))


def aggregate(performances: Sequence[Performance], *statistics: Callable[[_Scores], FloatArray]) -> list[Interval]:
    """Return statistics of the scores in many tasks with their intervals."""
    scores, resampled = [performance.mean_scores for performance in performances], _resampled_scores(performances)
    return [interval(float(statistic(scores)), statistic(resampled)) for statistic in statistics]


def difference(
    performances: Sequence[Performance], others: Sequence[Performance], statistic: Callable[[_Scores], FloatArray]
) -> Interval:
    """Return the difference of a statistic between two methods in the same cases, with its interval."""
    first, second = ([performance.mean_scores for performance in played] for played in (performances, others))
    resampled = statistic(_resampled_scores(performances)) - statistic(_resampled_scores(others))
    return interval(float(statistic(first) - statistic(second)), resampled)


def profile(performances: Sequence[Performance], grid: FloatArray) -> tuple[FloatArray, ...]:
    """Return the fraction of runs with a score above each point of the grid, and its lower and upper limits."""
    share = (np.concatenate([performance.mean_scores for performance in performances])[:, None] > grid).mean(0)
    scores = np.concatenate(_resampled_scores(performances), axis=-1)
    resampled = np.stack([(scores > point).mean(-1) for point in grid], axis=-1)
    low, high = np.percentile(resampled, QUANTILES, axis=0)
    return share, low, high
