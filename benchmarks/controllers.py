"""Controllers without the barrier beside each other: ``python -m benchmarks.controllers --systems "llama2 K8"``.

1. Long-run tokens/s of each controller in the sixteen systems, or in those whose names hold the words given, as means
   over the same instances, with a static channel or with fading for every cycle; and `groups` and `prices`, the better
   one, over `optimal` and `synchronous`, with the standard error of the mean of the paired ratios.
2. How long `groups` takes to decide, for a batch of 256 copies with 8 devices and for one copy with 20, and how long a
   step of the system takes, in CPU time.
"""

import argparse
from dataclasses import replace
from time import process_time
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.continuous_systems import System, chosen
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.seeds import HELD_OUT_SEED
from multispin_env.evaluation.table import aligned
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.uplink import spectral_efficiency

COLUMNS: dict[str, tuple[str, dict[str, Any]]] = {
    "optimal": ("optimal", {}),
    "synchronous": ("synchronous", {}),
    "greedy": ("greedy", {}),
    "groups 2": ("groups", {"groups": 2}),
    "groups 3": ("groups", {"groups": 3}),
    "prices": ("prices", {}),
}
"""Heads of columns, with controllers and their options."""

SHORT = 1.0
"""Simulated seconds of a controller with a barrier in a static channel: all rounds are alike."""


def instances(system: System, count: int, channel: str) -> ms.SystemState:
    """Devices of held-out seeds; with fading, channels of their mean gains."""
    state = system.states(HELD_OUT_SEED, count)
    if channel == "static":
        return state
    mean = system.mean_gains(HELD_OUT_SEED, count)
    return replace(state, spectral_efficiency=spectral_efficiency(system.scenario, mean))


def priced(controller: Any, state: ms.SystemState, channel: str) -> ms.ContinuousController:
    """The controller with its own rate as ρ, where it has one and channels fade: two steps to the fixed point."""
    decided: Any = controller
    if channel != "static" and hasattr(controller, "rho"):
        for _ in range(2):
            rate = ms.long_run_rate(decided, state, warm_up=2.0, horizon=10.0, channel=channel, seed=1)
            decided = replace(controller, rho=rate)
    return decided  # type: ignore[no-any-return]


def rates(system: System, count: int, channel: str, seconds: float) -> dict[str, FloatArray]:
    """Tokens/s (count,) for each column."""
    state = instances(system, count, channel)
    found = {}
    for head, (name, options) in COLUMNS.items():
        controller = priced(ms.make_controller(name, system.scenario, **options), state, channel)
        alike = channel == "static" and name in ("optimal", "synchronous")
        window = (0.0, SHORT) if alike else (10.0, seconds)
        found[head] = ms.long_run_rate(controller, state, warm_up=window[0], horizon=window[1], channel=channel)
    return found


def line(system: System, found: dict[str, FloatArray]) -> tuple[str, ...]:
    """Cells of a system."""
    means = {head: values.mean() for head, values in found.items()}
    best = found[max(("groups 2", "groups 3", "prices"), key=lambda head: means[head])]
    cells = [system.name, *(f"{mean:.1f}" for mean in means.values())]
    for head in ("optimal", "synchronous"):
        ratio = best / found[head]
        error = ratio.std(ddof=1) / len(ratio) ** 0.5
        cells.append(f"{best.mean() / found[head].mean():.3f} ± {error:.3f}")
    return tuple(cells)


def decision_time(users: int, copies: int, steps: int = 40) -> tuple[float, float]:
    """Median CPU milliseconds of a decision of `groups` and of a step, in a fading channel."""
    scenario = ms.Scenario.preset("llama2", num_users=users)
    controller = ms.make_controller("groups", scenario)
    core = ContinuousCore(ContinuousSystem.of(scenario), copies, drawn=False)
    for copy, generator in enumerate(np.random.default_rng(0).spawn(copies)):
        core.seed(copy, generator)
    core.reset()
    times = []
    for _ in range(steps):
        begun = process_time()
        order = controller(core.state)
        decided = process_time()
        core.step(order)
        times.append((decided - begun, process_time() - decided))
    decide, step = np.median(times, 0) * 1e3
    return float(decide), float(step)


def main(argv: list[str] | None = None) -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--systems", default="", help="words that the names of systems hold, default all")
    parser.add_argument("--channel", default="static", choices=("static", "independent"))
    parser.add_argument("--instances", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=45.0, help="simulated, behind ten")
    arguments = parser.parse_args(argv)
    lines = [
        line(system, rates(system, arguments.instances, arguments.channel, arguments.seconds))
        for system in chosen(arguments.systems)
    ]
    print(aligned((arguments.channel, *COLUMNS, "best/barrier", "best/synchronous"), lines))
    for users, copies in ((8, 256), (20, 1)):
        decide, step = decision_time(users, copies)
        speed = copies / (decide + step) * 1e3
        print(
            f"K={users}, {copies} copies: groups decides in {decide:.2f} ms, a step {step:.2f} ms: {speed:,.0f} steps/s"
        )


if __name__ == "__main__":
    main()
