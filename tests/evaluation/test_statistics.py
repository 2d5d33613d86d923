from functools import partial

import numpy as np
import pytest
from scipy.signal import lfilter

from multispin_env.evaluation.statistics import block_intervals, mean_interval
from tests.refusals import refusals


def mean(sums):
    return sums[..., :1] / sums[..., 1:]


def with_ones(series):
    return np.stack([series, np.ones_like(series)], 1)


def test_independent_rounds_have_the_interval_of_the_normal_law():
    series = np.random.default_rng(0).standard_normal(900)
    for block in (1, 6):
        (interval,) = block_intervals(with_ones(series), mean, block)
        assert block_intervals(with_ones(series), mean, block) == [interval]  # to the bit
        assert interval.mean == pytest.approx(series.mean())
        assert (interval.high - interval.low) == pytest.approx(2 * 1.96 * series.std() / 30, rel=0.15)


def coverage(block, repeats=40, count=200, memory=0.8):
    """Return how often the interval of the mean of a series with memory contains the true mean 0."""
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(repeats):
        noise = lfilter([1.0], [1.0, -memory], rng.standard_normal(count + 50))
        (interval,) = block_intervals(with_ones(noise[50:]), mean, block)
        hits += interval.low <= 0.0 <= interval.high
    return hits / repeats


def test_blocks_hold_where_single_rounds_do_not():
    assert coverage(20) > 0.85 > 0.7 > coverage(1)


def test_statistics_of_one_draw_are_paired():
    rng = np.random.default_rng(2)
    series = rng.standard_normal(100)
    numbers = np.stack([series, series + 0.1, np.ones(100)], 1)
    first, second, between = block_intervals(
        numbers, lambda s: np.stack([s[..., 0], s[..., 1], s[..., 1] - s[..., 0]], -1) / s[..., 2:], 5
    )
    assert between == pytest.approx((0.1, 0.1, 0.1))
    assert first.high > second.low


def test_a_ratio_of_positive_sums_has_positive_limits():
    numbers = np.array([[2.0, 1.0], [3.0, 1.0], [2.0, 40.0], [1.0, 1.0], [2.0, 30.0], [2.0, 1.0]])
    (interval,) = block_intervals(numbers, mean, 1)
    assert 0.05 <= interval.low < interval.mean == 12.0 / 74.0 < interval.high <= 3.0


def test_intervals_of_means():
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    mean, low, high = mean_interval(values)
    assert mean == values.mean()
    assert [mean - low, high - mean] == pytest.approx([1.96 * values.std() / 20.0] * 2, rel=0.12)
    assert mean_interval(values) == (mean, low, high)  # to the bit
    assert mean_interval([1, 3]) == (2.0, 1.0, 3.0)
    rng = np.random.default_rng(0)
    intervals = [mean_interval(rng.normal(3.0, 1.0, 80)) for _ in range(80)]
    assert 70 <= sum(low <= 3.0 <= high for _, low, high in intervals) < 80


BLOCKS = [
    ((1, 2), 1, r"numbers: expected shape \(n, c\) with n ≥ 2, got \(1, 2\)"),
    ((5,), 1, r"numbers: expected shape"),
    ((5, 2), 3, r"block: expected an integer in 1..2, got 3"),
    ((5, 2), 0, r"block: expected an integer in 1..2, got 0"),
]
VALUES = r"values: expected shape \(n,\) with n ≥ 2, got \("
test_refusals = refusals(
    *((partial(block_intervals, np.ones(shape), mean, block), pattern) for shape, block, pattern in BLOCKS),
    *((partial(mean_interval, np.ones(shape)), VALUES) for shape in ((1,), (0,), (2, 2))),
)
