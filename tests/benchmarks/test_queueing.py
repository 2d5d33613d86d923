"""The system with requests is the queue that theory says it is."""

import numpy as np
import pytest

import multispin_env as ms
from benchmarks.queueing import latency_law, one_device, service_moments


def test_moments_without_drafts_are_those_of_a_geometric_number_of_passes():
    scenario = ms.Scenario.preset("llama2", num_users=1, min_draft_length=0)
    state = ms.sample_state(scenario, np.random.default_rng(0), 1)
    first, second, begin = service_moments(scenario, state, 0, 20.0)
    time = float(scenario.pass_time(1, 1))
    assert first == pytest.approx(20.0 * time, rel=1e-9)
    assert second == pytest.approx((2.0 * 20.0**2 - 20.0) * time**2, rel=1e-9)
    assert begin == pytest.approx(time, rel=1e-12)


@pytest.mark.parametrize(("length", "load"), [(0, 0.5), (4, 0.3), (8, 0.6)])
def test_one_device_waits_as_pollaczek_and_khinchine_say(length, load):
    known, found = one_device(length, load, 48, 400.0)
    assert found.ttft_error < 0.06 * known.ttft
    assert found.ttft == pytest.approx(known.ttft, abs=3.0 * found.ttft_error)
    assert found.e2el == pytest.approx(known.e2el, abs=3.0 * found.e2el_error)


def test_latency_grows_with_the_rate_as_by_littles_law():
    found, law = latency_law(4, np.array([1.0, 3.0, 5.0]), 8, 30.0)
    assert found[2] > 1.3 * found[0]
    np.testing.assert_allclose(found, law, rtol=0.05)
