"""Bound where devices draft ahead, exact optimum of one device, and rules.

Tables: the optimum of one device in eight cells; the best rule on systems with 8 and 20 devices, also over the bound on
every policy that does not draft ahead, and the bound on rounds alone; and drawn systems, where no rule may be above the
bound. As hits are random, a rate is a mean over copies of a system, and is above the bound from four standard errors
on.
"""

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from typing_extensions import override

import multispin_env as ms
from benchmarks.continuous_systems import ahead_scenario
from benchmarks.tools import PAIRS, Options, Row, show
from multispin_env.bounds.ahead import rate_optimum
from multispin_env.evaluation.statistics import HELD_OUT_SEED
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.physics.radio import spectral_efficiency

SYSTEMS = tuple(product((("paper", 1), ("a100-32b", 0)), PAIRS))  # servers with the least draft length, and presets
RULES = ("greedy", "groups", "synchronous", "optimal")
COPIES = 8  # of a drawn system, each with its own hits


@dataclass(frozen=True, eq=False)
class Plainest(ms.ContinuousController):
    """Rule that sends the complete tokens of each device, at most ``most``; the server waits for none, or for all."""

    most: int = 4
    waits: bool = False

    @override
    def decide(self, state: ContinuousState) -> ms.ContinuousDecision:
        length = np.clip(np.floor(state.head_start), self.scenario.min_draft_length, self.most).astype(np.int64)
        join = ms.physics.Join.WAIT if self.waits else ms.physics.Join.TAKE
        return ms.ContinuousDecision(length, np.full(length.shape, join))


def cell(preset: str, server: str, least: int, pick: Any) -> tuple[ms.Scenario, ms.SystemState]:
    """Return one device of mean speed at gain 0.35, with the lowest or highest α of the preset."""
    scenario = ahead_scenario(preset, server, num_users=1, min_draft_length=least)
    alpha = pick(task.acceptance_rate for task in scenario.tasks)
    efficiency = spectral_efficiency(scenario, np.array([0.35]))
    return scenario, ms.SystemState(np.array([scenario.mean_draft_time]), efficiency, np.array([alpha]))


def cells() -> Iterator[Row]:
    for ((server, least), preset), pick in product(SYSTEMS, (min, max)):
        scenario, state = cell(preset, server, least, pick)
        best, bound = float(rate_optimum(scenario, state, step=0.125).rate), float(ms.rate_bound(scenario, state).value)
        alpha = float(state.acceptance_rate[0])
        cells = {"α": alpha, "optimum": best, "bound": bound, "optimum / bound": best / bound}
        yield {"cell": f"{preset}, {server}"} | cells


def controllers(scenario: ms.Scenario) -> dict[str, ms.Controller]:
    plain = {
        f"plainest {most}, waits for {'all' if waits else 'none'}": Plainest(scenario, most=most, waits=waits)
        for most in (1, 4)
        for waits in (False, True)
        if most <= scenario.max_draft_length
    }
    return {name: ms.make_controller(name, scenario) for name in RULES} | plain


def drawn_system(seed: int) -> tuple[ms.Scenario, ms.SystemState]:
    """Draw a system of 1 to 8 very different devices that draft ahead, and its state (K,)."""
    rng = np.random.default_rng(seed)
    users = int(rng.integers(1, 9))
    laws: list[dict[str, Any]] = [{}, {"server": "a100-32b"}, {"verification_pieces": ((0.05, 0.0), (0.0, 0.01))}]
    scenario = ms.Scenario.preset(
        ("llama2", "qwen3.5")[int(rng.integers(2))],
        num_users=users,
        draft_ahead=True,
        guess=("greedy", "shared-seed", "independent")[int(rng.integers(3))],
        total_bandwidth=10.0 ** rng.uniform(5.7, 7.3),
        payload=("ids", "distributions")[int(rng.integers(2))],
        round_trip_time=float(rng.choice([0.0, 0.0, 0.01, 0.05])),
        min_draft_length=int(rng.integers(2)),
        max_draft_length=int(rng.choice([3, 8, 25])),
        **laws[seed % 3],
    )
    state = ms.sample_state(scenario, rng)
    alpha = rng.choice([0.01, 0.5, 0.7, 0.8, 0.9, 0.96, 0.999], users)
    pace = state.draft_time * 10.0 ** rng.uniform(-0.7, 0.7, users)
    return scenario, state.changed(draft_time=pace, acceptance_rate=alpha)


def played(controller: ms.Controller, state: ms.SystemState, seconds: float) -> tuple[float, float]:
    """Return mean tokens/s over copies of a system with state (K,), and its standard error."""
    many = state.mapped(lambda array: np.repeat(array[None], COPIES, 0))
    rates = ms.long_run(controller, many, warm_up=1.0, horizon=seconds).rate
    return float(rates.mean()), float(rates.std(ddof=1) / np.sqrt(COPIES))


def drawn(count: int, seconds: float) -> Row:
    """Compare rules with the bound on drawn systems; count systems with a rule above it by four standard errors."""
    ratios, above = [], 0
    for seed in range(count):
        scenario, state = drawn_system(seed)
        bound = float(ms.rate_bound(scenario, state).value)
        rates = [played(controller, state, seconds) for controller in controllers(scenario).values()]
        above += any(rate - 4.0 * error > bound * (1.0 + 1e-9) for rate, error in rates)
        ratios.append(max(rate for rate, _ in rates) / bound)
    quarter, half, three, top = np.quantile(ratios, [0.25, 0.5, 0.75, 1.0])
    return {
        "systems": count,
        "above": above,
        "best rule / bound, 25 %": quarter,
        "50 %": half,
        "75 %": three,
        "top": top,
    }


def systems(users: int, instances: int, seconds: float) -> Iterator[Row]:
    """Return the row of the best rule over the bound with and without drafting ahead."""
    for (server, least), preset in SYSTEMS:
        scenario = ahead_scenario(preset, server, num_users=users, min_draft_length=least)
        state = ms.sample_state(scenario, np.random.default_rng(HELD_OUT_SEED), instances)
        bound = ms.rate_bound(scenario, state).value
        none = ms.rate_bound(scenario.replace(draft_ahead=False), state).value
        rounds = ms.rate_bound(scenario, state, barrier=True).value
        rates = {
            name: ms.long_run(controller, state, warm_up=2.0, horizon=seconds).rate
            for name, controller in controllers(scenario).items()
        }
        best = max(rates, key=lambda name: float(rates[name].mean()))
        yield {
            "system": f"{preset}, {server}, K = {users}",
            "bound": float(bound.mean()),
            "best rule": best,
            "rate / bound": float((rates[best] / bound).mean()),
            "bound / bound without": float((bound / none).mean()),
            "bound of rounds / bound": float((rounds / bound).mean()),
            "rate / bound without": float((rates[best] / none).mean()),
        }


OPTIONS: Options = {
    "drawn": (200, "drawn systems"),
    "instances": (4, "instances of each system with 8 and 20 devices"),
    "seconds": 10,
}


def run(options: Namespace) -> None:
    show("one device", cells())
    if options.instances:
        for users in (8, 20):
            show(f"{users} devices", systems(users, options.instances, options.seconds))
    if options.drawn:
        show("drawn systems", [drawn(options.drawn, options.seconds)])
