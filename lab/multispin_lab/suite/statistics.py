"""Scores with their spread over training seeds and held-out cases, and the interquartile mean of Agarwal et al. (2021).

A score is 0 for random actions (the floor) and 1 for the reference; the score of a task is the mean over its parts.
Cases and seeds are resampled apart and within each task, cases with the same draws for all seeds and methods.
Reference: arXiv 2108.13264.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

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
    """Result of a method in one task, with 95 % intervals over the held-out cases.

    Parameters
    ----------
    value
        Mean of the metric.
    score
        0 for random actions and 1 for the reference, in the same cases.
    """

    value: Interval
    score: Interval

    @classmethod
    def of(cls, played: Performance) -> "Score":
        """Return the score of a performance, the mean over its seeds."""
        values, rng = played.values.mean((0, 1)), np.random.default_rng(BOOTSTRAP_SEED)
        value = interval(values.mean(), _weights_of(played.size, rng) @ values)
        return cls(value, over_cases(median_task, [played]))


def _weights_of(size: int, rng: np.random.Generator) -> FloatArray:
    return np.asarray(rng.multinomial(size, np.full(size, 1.0 / size), RESAMPLES) / size)


def interval(mean: float, resampled: FloatArray) -> Interval:
    """Return the percentile interval of resampled means."""
    return Interval(float(mean), *map(float, np.percentile(resampled, QUANTILES)))


_Scores = Sequence[FloatArray]  # normalised scores (..., seeds) of each task
Statistic = Callable[[_Scores], FloatArray]


def interquartile_mean(scores: _Scores) -> FloatArray:
    """Return the mean of the middle half of n runs; if n is no multiple of 4, two of them count in part."""
    runs = np.sort(np.concatenate(scores, axis=-1), axis=-1)
    size = runs.shape[-1]
    weights = np.diff(np.clip(np.arange(size + 1), 0.25 * size, 0.75 * size))
    return np.asarray(runs @ weights / (0.5 * size))


def median_task(scores: _Scores) -> FloatArray:
    """Return the median over tasks of the means over seeds."""
    return np.asarray(np.median([task.mean(-1) for task in scores], axis=0))


def worst_task(scores: _Scores) -> FloatArray:
    """Return the minimum over tasks of the means over seeds."""
    return np.asarray(np.min([task.mean(-1) for task in scores], axis=0))


def over_cases(statistic: Statistic, *methods: Sequence[Performance]) -> Interval:
    """Return a statistic of a method, less that of a second one, with its 95 % interval over the held-out cases."""
    means, resampled = [], []
    for performances in methods:
        drawn = []
        for task, performance in enumerate(performances):
            rng = np.random.default_rng([BOOTSTRAP_SEED, task])  # the same cases for all methods
            drawn.append(performance.scores(_weights_of(performance.size, rng)))
        means.append(statistic([performance.mean_scores for performance in performances]))
        resampled.append(statistic(drawn))
    mean, drawn_means = (numbers[0] - sum(numbers[1:]) for numbers in (means, resampled))
    return interval(float(mean), drawn_means)


FEWEST_SEEDS = 5  # of each task for an interval over seeds


def over_seeds(statistic: Statistic, performances: Sequence[Performance]) -> tuple[FloatArray, FloatArray] | None:
    """Return the 95 % limits of a statistic over training seeds; ``None`` for fewer than `FEWEST_SEEDS`.

    A bootstrap of n seeds varies too little: its deviations are multiplied by sqrt(n / (n - 1)).
    """
    scores = [performance.mean_scores for performance in performances]
    fewest = min(map(len, scores))
    if fewest < FEWEST_SEEDS:
        return None
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = [seeds[rng.integers(len(seeds), size=(RESAMPLES, len(seeds)))] for seeds in scores]
    low, high = np.percentile(statistic(drawn), QUANTILES, axis=0)
    mean, stretch = statistic(scores), np.sqrt(fewest / (fewest - 1))
    return mean + stretch * (low - mean), mean + stretch * (high - mean)


def profile(performances: Sequence[Performance], grid: FloatArray) -> FloatArray:
    """Return the fraction of runs with a score above each point of the grid."""
    runs = np.concatenate([performance.mean_scores for performance in performances])
    return np.asarray((runs[:, None] > grid).mean(0))
