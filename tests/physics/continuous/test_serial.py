"""The serial uplink, which simulates no events, against a simulation of events with times whose sums are exact."""

import numpy as np
import pytest

from multispin_env.physics.continuous.passes import serial


def simulate(release, air, priority):
    """Return the ends of the uploads of one environment, and a function of a time that returns the work left then."""
    order = np.lexsort((release, air, priority))  # ties: shorter work, then earlier release
    left, ends, now, course = air.copy(), np.where(air > 0.0, np.inf, release), 0.0, []
    while np.isfinite(release[left > 0.0]).any():
        sending = next((k for k in order if left[k] > 0.0 and release[k] <= now), None)
        until = min((time for time in release[left > 0.0] if time > now), default=np.inf)
        if sending is not None:
            until = min(until, now + left[sending])
        course.append((now, left.copy(), sending))
        if sending is not None:
            left[sending] -= until - now
            ends[sending] = until if left[sending] == 0.0 else np.inf
        now = until
    course.append((now, left, None))

    def left_at(time):
        begin, before, sending = [segment for segment in course if segment[0] <= time][-1]
        return before - (time - begin) * (np.arange(len(air)) == sending)

    return ends, left_at


@pytest.mark.parametrize(("users", "gap"), [(1, 1), (5, 8), (12, 30), (30, 60), (30, 600)])
def test_uploads_end_as_in_a_simulation_of_events(users, gap):
    rng = np.random.default_rng(users + gap)
    for _ in range(30):
        release = rng.integers(0, gap, (3, users)) / 64.0
        release[rng.random(release.shape) < 0.05] = np.inf
        air = rng.integers(0, 4, release.shape) * rng.integers(0, 5, release.shape) / 64.0
        priority = rng.integers(0, 3, release.shape).astype(float)
        uploads = serial(release, air, priority)
        slow = [simulate(*rows) for rows in zip(release, air, priority, strict=True)]
        assert (uploads.ends == [ends for ends, _ in slow]).all()
        for time in rng.integers(0, 2 * gap, 5) / 64.0 + 1.0 / 128.0:
            assert (uploads.left_at(np.full(3, time)) == [left_at(time) for _, left_at in slow]).all()


def test_uploads_of_other_environments_change_nothing(rng):
    release, air, priority = rng.exponential(1.0, (3, 20, 40))
    together, now = serial(release, air, priority), np.full(20, 1.5)
    for env in range(20):
        alone = serial(release[[env]], air[[env]], priority[[env]])
        assert (alone.ends[0] == together.ends[env]).all()
        assert (alone.left_at(now[:1])[0] == together.left_at(now)[env]).all()
