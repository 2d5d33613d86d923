import numpy as np
import pytest

from multispin_env.evaluation.statistics import mean_interval


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        found = mean_interval(rng.normal(3.0, 1.0, 80), rng)
        hits += found.low <= 3.0 <= found.high
    assert 180 <= hits <= 199


def test_interval_repeats_with_its_generator(rng):
    values = rng.normal(size=50)
    assert mean_interval(values, np.random.default_rng(1)) == mean_interval(values, np.random.default_rng(1))
    assert mean_interval(values, np.random.default_rng(1)) != mean_interval(values, np.random.default_rng(2))
    with pytest.raises(ValueError, match=r"values: expected shape \(n,\) with n ≥ 2, got \(1,\)"):
        mean_interval(np.ones(1), rng)
