"""Long-run tokens/s of rules without the barrier in sixteen systems.

Means over the same instances, with a static channel or with fading for every cycle; and the better one of `groups` and
`prices` over `optimal` and `synchronous`, with the standard error of the mean of the paired ratios.
"""

from argparse import Namespace
from dataclasses import replace
from typing import Any

import multispin_env as ms
from benchmarks.continuous_systems import System, chosen, make_rule
from benchmarks.tools import Options, Row, plus_minus, show
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.statistics import HELD_OUT_SEED
from multispin_env.physics.radio import spectral_efficiency

COLUMNS = ("optimal", "synchronous", "greedy", "groups 2", "groups 3", "prices")

SHORT = 1.0
"""Simulated seconds of a controller with a barrier in a static channel, where all rounds are equal."""


def instances(system: System, count: int, channel: str) -> ms.SystemState:
    """Draw devices of held-out seeds; with fading, channels of their mean gains."""
    state = system.states(HELD_OUT_SEED, count)
    if channel == "static":
        return state
    mean = system.mean_gains(HELD_OUT_SEED, count)
    return replace(state, spectral_efficiency=spectral_efficiency(system.scenario, mean))


def priced(controller: Any, state: ms.SystemState, channel: str) -> ms.ContinuousController:
    """Make the controller, under fading with its own rate as ρ if it has one, by two steps to the fixed point."""
    decided: Any = controller
    if channel != "static" and hasattr(controller, "rho"):
        for _ in range(2):
            rate = ms.long_run(decided, state, warm_up=2.0, horizon=10.0, channel=channel, seed=1).rate
            decided = replace(controller, rho=rate)
    return decided  # type: ignore[no-any-return]


def rates(system: System, count: int, channel: str, seconds: float) -> dict[str, FloatArray]:
    """Return tokens/s (count,) for each column."""
    state = instances(system, count, channel)
    columns = {}
    for head in COLUMNS:
        controller = priced(make_rule(head, system.scenario), state, channel)
        alike = channel == "static" and head in ("optimal", "synchronous")
        window = (0.0, SHORT) if alike else (10.0, seconds)
        columns[head] = ms.long_run(controller, state, warm_up=window[0], horizon=window[1], channel=channel).rate
    return columns


def row(system: System, columns: dict[str, FloatArray]) -> Row:
    means = {head: float(values.mean()) for head, values in columns.items()}
    best = columns[max(("groups 2", "groups 3", "prices"), key=lambda head: means[head])]
    cells = {"system": system.name, **{head: f"{mean:.1f}" for head, mean in means.items()}}
    for head in ("optimal", "synchronous"):
        error = plus_minus(best / columns[head], ".3f").partition(" ")[2]
        cells[f"best over {head}"] = f"{best.mean() / columns[head].mean():.3f} {error}"
    return cells


OPTIONS: Options = {
    "systems": "",
    "channel": ("static", "static or independent", {"choices": ("static", "independent")}),
    "instances": 12,
    "seconds": (45.0, "simulated, after ten"),
}


def run(options: Namespace) -> None:
    show(
        f"tokens/s, channel {options.channel}",
        (
            row(system, rates(system, options.instances, options.channel, options.seconds))
            for system in chosen(options.systems)
        ),
    )
