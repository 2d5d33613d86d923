"""Tokens/s of rounds in which devices draft ahead, in eight systems with static channels.

`none` is the optimum without drafting ahead. `ratio` is the best goodput of each round, `price` the controller with its
defaults, followed by those whose ρ is a multiple c of `none`, with the standard error of the mean of the paired gains.
The last columns are the fixed points of `price` with ρ = its own rate, from below and from above.
"""

from argparse import Namespace
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.continuous_systems import ahead_scenario
from benchmarks.tools import PAIRS, Options, Row, gain, show
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.statistics import HELD_OUT_SEED

MULTIPLES = (1.0, 1.25, 1.5, 2.0, 3.0)
BELOW, ABOVE, STEPS = 0.5, 4.0, 3
"""Start values of ρ = own rate in units of `none`, and number of steps."""


def systems() -> Iterator[ms.Scenario]:
    """Yield eight systems in which devices draft ahead."""
    for server, preset, users in product(("paper", "a100-32b"), PAIRS, (8, 20)):
        yield ahead_scenario(preset, server, num_users=users)


def row(scenario: ms.Scenario, instances: int, rounds: int, weights: list[float]) -> Row:
    state = ms.sample_state(scenario, np.random.default_rng(HELD_OUT_SEED), instances)
    waiting = ms.make_controller("optimal", scenario.replace(draft_ahead=False))
    none = ms.expected_outcome(waiting.scenario, state, waiting(state)).goodput
    cycle = 2.0 * scenario.num_users / float(none.mean())  # seconds, about a round of two tokens for each device

    def rate(name: str, **options: Any) -> FloatArray:
        controller = ms.make_controller(name, scenario, **options)
        return ms.long_run(controller, state, warm_up=20 * cycle, horizon=rounds * cycle).rate

    name = f"{scenario.name} {scenario.server or 'paper'} K{scenario.num_users}"
    cells = {"system": name, "none": f"{none.mean():.1f}", "ratio": gain(rate("optimal"), none)}
    cells["price"] = gain(rate("ahead-price"), none)
    for weight in weights:
        tried = {c: rate("ahead-price", rho=c * none, chain_weight=weight) for c in MULTIPLES}
        best = max(tried, key=lambda c: float(tried[c].mean()))
        cells[f"β {weight:g}, c tuned"] = f"{gain(tried[best], none)}, c {best:g}"
    for head, start in (("from below", BELOW), ("from above", ABOVE)):
        rates = start * none
        for _ in range(STEPS):
            rates = rate("ahead-price", rho=rates, chain_weight=0.0)
        cells[head] = f"{rates.mean():.0f}"
    return cells


OPTIONS: Options = {"instances": 6, "rounds": (100, "approximate number of rounds"), "weights": ([0.0, 0.25, 0.5], "β")}


def run(options: Namespace) -> None:
    show(
        "tokens/s of `none`, gains in %; tokens/s of ρ = own rate",
        (row(scenario, options.instances, options.rounds, options.weights) for scenario in systems()),
    )
