"""The bound with batteries, compared with brute force, and rules below it."""

from itertools import product

import numpy as np
import pytest
from scipy.optimize import brentq

import multispin_env as ms
from multispin_env.solver.energy import DEFAULTS, EnergySample, energy_law

SMALL = {**DEFAULTS, "num_users": 2, "max_draft_length": 4}


@pytest.mark.parametrize("price", [0.0, 3.0, 7.0])
def test_the_bound_is_that_of_all_decisions(price):
    scenario = ms.Scenario.preset("qwen3.5", **SMALL)
    state = ms.sample_state(scenario, 0, 30)
    sample = EnergySample(scenario, state, np.full(30, 2.0))
    every = [sample.played(np.broadcast_to(lengths, (30, 2))) for lengths in product(range(5), repeat=2)]
    tokens, joules, time = (np.stack([getattr(each, name) for each in every]) for name in ("tokens", "joules", "time"))

    def mean_of_largest(rate):
        return (tokens - price * joules + (2.0 * price - rate) * time).max(0).mean()

    dual = sample.dual(price, 50.0, proven=True)
    assert dual.rate == pytest.approx(brentq(mean_of_largest, 1.0, 1e3, xtol=1e-12), rel=1e-6)
    step = 1e-4
    slope = (sample.dual(price + step, 50.0, proven=True).rate - dual.rate) / step
    assert slope == pytest.approx(dual.slope, rel=0.02, abs=0.02)


def test_the_stored_price_is_about_the_best():
    scenario = ms.Scenario.preset("qwen3.5", **DEFAULTS)
    law = energy_law(scenario)
    best, *others = (ms.energy_bound(scenario, factor * law.price, size=100) for factor in (1.0, 0.8, 1.2))
    assert best.rate == pytest.approx(law.rate, abs=4.0 * best.error)
    assert all(other.rate > best.rate for other in others)
    assert law.rate < 0.75 * law.free_rate


def test_bad_arguments():
    scenario = ms.Scenario.preset("qwen3.5", **DEFAULTS)
    with pytest.raises(ValueError, match=r"^battery_rounds: expected a number > 0, got 0$"):
        ms.energy_bound(scenario.replace(battery_rounds=0.0))
    with pytest.raises(ValueError, match=r"^price: expected"):
        ms.energy_bound(scenario, -1.0)
