import dataclasses

import numpy as np
import pytest

from multispin_env.controllers.base import Assumptions
from multispin_env.physics.radio import channel_gain, spectral_efficiency
from multispin_env.physics.types import Observed
from tests.controllers.estimators.histories import along, history, make, system

NAMES = ["last-report", "mmse", "quantile"]


def assume(correlation, delay):
    return Assumptions.of(system(1), correlation=correlation, delay=delay)


def faded(rng, gain, mean_gain, correlation, delay, draws):
    """Gains after some rounds of complex Gauss–Markov fading from one of this power."""
    h = np.full(draws, np.sqrt(gain) * np.exp(0.7j))
    for _ in range(delay):
        w = np.sqrt(mean_gain / 2.0) * (rng.standard_normal(draws) + 1j * rng.standard_normal(draws))
        h = correlation * h + np.sqrt(1.0 - correlation**2) * w
    return np.abs(h) ** 2


def seen_gain(scenario, gain, mean_gain):
    efficiency = spectral_efficiency(scenario, np.array([[gain]]))
    return Observed(np.ones((1, 1)), efficiency, mean_gain=np.array([[mean_gain]]))


def test_channel_gain_inverts_spectral_efficiency(scenario):
    gain = np.array([1e-30, 1e-12, 1e-3, 0.4, 30.0])
    assert channel_gain(scenario, spectral_efficiency(scenario, gain)) == pytest.approx(gain, rel=2e-14)


@pytest.mark.parametrize(("correlation", "delay"), [(0.9, 1), (0.9, 3), (0.5, 2), (0.0, 1)])
@pytest.mark.parametrize("gain", [0.02, 0.4, 1.5])
def test_mmse_and_quantile_equal_monte_carlo(rng, correlation, delay, gain):
    scenario = system(1)
    later = faded(rng, gain, 0.35, correlation, delay, 200_000)
    observed = seen_gain(scenario, gain, 0.35)
    known = assume(correlation, delay)
    (mean,) = along(make("mmse", scenario, known), [observed])
    assert channel_gain(scenario, mean)[0, 0] == pytest.approx(later.mean(), rel=0.012)
    for q in (0.1, 0.5, 0.9):
        (found,) = along(make("quantile", scenario, known, quantile=q), [observed])
        assert (later < channel_gain(scenario, found)).mean() == pytest.approx(q, abs=0.006)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("correlation", "delay"), [(1.0, 0), (1.0, 5), (0.3, 0), (0.0, 0)])
def test_a_certain_report_is_returned(name, correlation, delay, rng):
    seen = history(rng, 3, 2)
    known = Assumptions.of(system(), correlation=correlation, delay=delay)
    for observed, found in zip(seen, along(make(name, assumptions=known), seen), strict=True):
        assert (found == observed.spectral_efficiency).all()


def test_next_to_certain_reports_are_nearly_returned(rng):
    seen = history(rng, 1, 20)
    known = Assumptions.of(system(), correlation=1.0 - 1e-13, delay=1)
    for name in ("mmse", "quantile"):
        assert along(make(name, assumptions=known), seen)[0] == pytest.approx(seen[0].spectral_efficiency, rel=1e-4)


def test_extremes_give_positive_numbers():
    scenario = system(1)
    for correlation in (0.0, 0.5, 0.999999):
        for efficiency in (1e-12, 1e-3, 60.0):
            for q in (1e-6, 1.0 - 1e-6):
                observed = Observed(np.ones((1, 1)), np.full((1, 1), efficiency))
                known = assume(correlation, 1)
                for estimator in (make("mmse", scenario, known), make("quantile", scenario, known, quantile=q)):
                    (found,) = along(estimator, [observed])
                    assert np.isfinite(found).all()
                    assert (found > 0.0).all()


def test_hidden_mean_gain_is_a_shrunk_average(rng):
    seen = [dataclasses.replace(observed, mean_gain=None) for observed in history(rng, 6, 2)]
    scenario, strength = system(), 4.0
    known = Assumptions.of(scenario, correlation=0.8, delay=2)
    found = along(make("mmse", scenario, known, mean_gain_strength=strength), seen)
    total = np.zeros((2, 5))
    for rounds, (observed, estimate) in enumerate(zip(seen, found, strict=True), start=1):
        gain = (2.0**observed.spectral_efficiency - 1.0) / scenario.transmit_snr
        total += gain
        mean = (strength * 0.35 + total) / (strength + rounds)
        expected = mean + 0.8**4 * (gain - mean)
        assert channel_gain(scenario, estimate) == pytest.approx(expected, rel=1e-9)


def test_default_shrinkage_helps(rng):
    """With the defaults the average is nearer to H̄ than the middle of the range is."""
    scenario, copies, rho = system(), 400, 0.9
    mean_gain = rng.uniform(0.2, 0.5, (copies, 5))

    def fresh():
        return np.sqrt(mean_gain / 2.0) * (rng.standard_normal(mean_gain.shape) + 1j * rng.standard_normal((copies, 5)))

    estimator = make("mmse", scenario)
    estimator.start(copies)
    h = fresh()
    for _ in range(64):
        h = rho * h + np.sqrt(1.0 - rho**2) * fresh()
        estimator.estimate(Observed(np.ones(h.shape), spectral_efficiency(scenario, np.abs(h) ** 2)))
    error = np.sqrt(((estimator._average() - mean_gain) ** 2).mean())
    assert error < 0.97 * np.sqrt(((0.35 - mean_gain) ** 2).mean())
