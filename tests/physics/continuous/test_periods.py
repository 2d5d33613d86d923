"""Busy periods of the uplink, each by itself, against one table of all devices."""

import numpy as np
import pytest

from multispin_env.physics.continuous import passes


@pytest.mark.parametrize("digits", [1, 17])  # with and without ties
def test_periods_by_themselves_change_no_bit(monkeypatch, rng, digits):
    ends, apart = passes._Periods.ends, []
    monkeypatch.setattr(passes._Periods, "ends", lambda part: apart.append(part) or ends(part))
    for _ in range(300):
        shape = rng.integers(1, 5), rng.integers(1, 30)
        times = rng.exponential(1.0, (2, *shape)) * rng.choice([0.0, 0.1, 0.5], (2, *shape))
        release, air = np.round(times, digits)
        release[rng.random(shape) < 0.3] += 5.0
        release[rng.random(shape) < 0.05] = np.inf
        priority = rng.integers(0, 3, shape).astype(float)
        monkeypatch.setattr(passes, "MIN_USERS_FOR_PERIODS", 1000)
        table = passes.serial(release, air, priority)
        monkeypatch.setattr(passes, "MIN_USERS_FOR_PERIODS", 1)
        periods = passes.serial(release, air, priority)
        assert (table.ends == periods.ends).all()
        times = np.concatenate([release.ravel(), table.ends.ravel(), rng.exponential(2.0, 4)])
        for now in rng.choice(times[np.isfinite(times)], (5, shape[0])):
            assert (table.left_at(now) == periods.left_at(now)).all()
    assert 50 < len(apart) < 300  # both ways occur
