"""Random search for the defaults of a controller without the barrier.

The defaults and 23 random choices of the options of a controller run in each system in static channels, for instances
of a seed that no table uses. The table has the mean over systems of the rate of each choice, relative to that of two
groups on the same instances, best first. The current defaults are the result of such a search from others.
"""

from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.continuous_systems import System, chosen
from benchmarks.tools import Options, Row, show
from multispin_env.evaluation.statistics import TUNING_SEED

INSTANCES = 4

SPACES: dict[str, dict[str, tuple[Any, ...]]] = {
    "groups": {"groups": (2, 3), "air_price": (0.0, 15.0, 40.0)},
    "own-pace": {
        "queue": (1.0, 1.5, 2.0, 3.0, 5.0),
        "passes": (1.0, 1.5, 2.0, 3.0),
        "air_price": (0.0, 20.0, 40.0, 80.0),
        "value_weight": (0.0, 0.5, 1.0, 2.0),
    },
    "prices": {
        "ahead": (1, 2, 3),
        "size": (0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6),
        "server_price": (0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
        "penalty": (0.0, 0.3, 1.0, 3.0),
        "queue": (1.0, 1.5, 2.0, 3.0, 5.0),
        "air_price": (0.0, 20.0),
    },
}


def choices(name: str, tries: int) -> Iterator[dict[str, Any]]:
    """Return the default options, then random ones."""
    yield {}
    rng = np.random.default_rng(TUNING_SEED)
    for _ in range(tries - 1):
        yield {key: values[rng.integers(len(values))] for key, values in SPACES[name].items()}


def rates(name: str, options: Options, systems: list[System], seconds: float) -> list[float]:
    """Return mean tokens/s in each system."""
    means = []
    for system in systems:
        controller = ms.make_controller(name, system.scenario, **options)
        state = system.states(TUNING_SEED, INSTANCES)
        means.append(float(ms.long_run(controller, state, warm_up=seconds / 4, horizon=seconds).rate.mean()))
    return means


def table(name: str, tries: int, systems: list[System], seconds: float) -> Iterator[Row]:
    """Return the rows of all choices, with rates relative to two groups."""
    reference = rates("groups", {"groups": 2}, systems, seconds)
    for options in choices(name, tries):
        parts = np.divide(rates(name, options, systems, seconds), reference)
        text = ", ".join(f"{key}={value}" for key, value in options.items()) or "defaults"
        cells = {system.name: f"{part:.3f}" for system, part in zip(systems, parts, strict=True)}
        yield {"options": text, **cells, "mean": f"{parts.mean():.4f}"}


OPTIONS: Options = {
    "controller": (None, "", {"choices": sorted(SPACES)}),
    "systems": "",
    "tries": 24,
    "seconds": (12.0, "simulated, after a quarter of it"),
}


def run(options: Namespace) -> None:
    rows = table(options.controller, options.tries, chosen(options.systems), options.seconds)
    show(f"{options.controller} over two groups", sorted(rows, key=lambda row: str(row["mean"]), reverse=True))
