"""Prices of joules, compared with brute force over all lengths."""

from itertools import product

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.energy import token_energy
from multispin_env.solver.energy import DEFAULTS, energy_law

SMALL = {**DEFAULTS, "num_users": 2, "max_draft_length": 5}
RULES = {
    "energy-prices": {"price": 0.7},
    "drift": {"price": 0.6, "slope": 2.0, "time": 0.8},
    "shaped": {"price": 0.6, "slope": 1.5, "acceptance": -4.0, "time": 1.0},
    "paced": {"pace": 3.0},
}


@pytest.mark.parametrize("kept", [1024, 1])
@pytest.mark.parametrize("name", RULES)
def test_lengths_are_the_best_of_all(name, kept):
    options, paced = RULES[name], name == "paced"
    scenario = ms.Scenario.preset("llama2", **SMALL, kept_probabilities=kept, budget_time=50.0 * paced)
    energy = token_energy(scenario, state := ms.sample_state(scenario, 0, 20))
    rng = np.random.default_rng(0)
    capacity, level = energy * rng.uniform(2.0, 20.0, energy.shape), rng.random(energy.shape)
    law = energy_law(scenario)
    batteries = ms.physics.BatteryState(
        np.minimum(np.floor(level * capacity / energy), 5).astype(int),
        level,
        capacity,
        law.power * rng.uniform(0.3, 0.7, energy.shape),
        rng.random((20, 1)) * np.ones(2) if paced else None,
    )
    state = state.changed(batteries=batteries)
    best = np.full(20, -np.inf)
    power = (capacity / 50.0 if paced else batteries.charge).sum(-1)
    time_price = options["time"] * law.rate if "time" in options else law.rate - law.price * power
    means = scenario.received_acceptance([task.acceptance_rate for task in scenario.tasks])
    factor = np.exp(options.get("acceptance", 0.0) * (state.acceptance_rate - np.mean(means)))
    if paced:
        factor = factor * np.exp(options["pace"] * (batteries.time_left - level))

    def value(decision):
        outcome, paid = ms.expected_outcome(scenario, state, decision), 0.0
        for token in range(1, 6):
            at = level - (token - 0.5) * energy / capacity
            price = options.get("price", 1.0) * (1.0 + options.get("slope", 0.0) * (0.5 - at)) * factor
            paid = paid + law.price * energy * price * (token <= decision.draft_length)
        return (outcome.tokens - paid).sum(-1) - time_price * outcome.round_latency

    controller = ms.make_controller("energy-prices", scenario, **options)
    for lengths in product(range(6), repeat=2):
        allowed = np.minimum(lengths, batteries.affordable)
        best = np.maximum(best, value(controller.with_equal_latency(allowed, state)))
    decision = controller(state)
    assert (decision.draft_length <= batteries.affordable).all()
    assert decision.draft_length.any()
    assert value(decision) == pytest.approx(best, abs=1e-9)


@pytest.mark.filterwarnings("error")
def test_a_battery_without_capacity_is_refused():
    scenario, ones = ms.Scenario.preset("llama2", **SMALL), np.ones(2)
    batteries = ms.physics.BatteryState(ones.astype(int), ones, np.array([1.0, 0.0]), charge=ones)
    state = ms.sample_state(scenario, 0).changed(batteries=batteries)
    for name in ("drift", "energy-prices"):
        with pytest.raises(ValueError, match=r"^capacity\[1\]: expected numbers > 0, got 0"):
            ms.make_controller(name, scenario)(state)
