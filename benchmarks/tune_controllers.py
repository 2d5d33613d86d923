"""Search for the defaults of controllers: ``python -m benchmarks.tune_controllers prices``.

Random search: the defaults and 23 random choices of the options of a controller run in each system in static channels,
for instances of a seed that no table uses. The table has the mean over systems of each choice's rate, as a part of that
of two groups on the same instances, best first. The default options are the best choice of such a search, which began
with other ones.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.continuous_systems import System, chosen
from multispin_env.evaluation.seeds import TUNING_SEED
from multispin_env.evaluation.table import aligned

SEED = TUNING_SEED
INSTANCES = 4

Options = dict[str, Any]

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


def choices(name: str, tries: int) -> Iterator[Options]:
    """The defaults, then random ones."""
    yield {}
    rng = np.random.default_rng(SEED)
    for _ in range(tries - 1):
        yield {key: values[rng.integers(len(values))] for key, values in SPACES[name].items()}


def rates(name: str, options: Options, systems: list[System], seconds: float) -> list[float]:
    """Mean tokens/s in each system."""
    found = []
    for system in systems:
        controller = ms.make_controller(name, system.scenario, **options)
        state = system.states(SEED, INSTANCES)
        found.append(float(ms.long_run_rate(controller, state, warm_up=seconds / 4, horizon=seconds).mean()))
    return found


def main(argv: list[str] | None = None) -> list[tuple[float, Options]]:
    """Print the table; returns its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("controller", choices=sorted(SPACES))
    parser.add_argument("--systems", default="", help="words that the names of systems hold, default all")
    parser.add_argument("--tries", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=12.0, help="simulated, behind a quarter of it")
    arguments = parser.parse_args(argv)
    systems = chosen(arguments.systems)
    reference = rates("groups", {"groups": 2}, systems, arguments.seconds)
    rows, cells = [], []
    for options in choices(arguments.controller, arguments.tries):
        parts = np.divide(rates(arguments.controller, options, systems, arguments.seconds), reference)
        rows.append((float(parts.mean()), options))
        text = ", ".join(f"{key}={value}" for key, value in options.items()) or "defaults"
        print(f"{len(rows)} of {arguments.tries}: {parts.mean():.4f} {options}", file=sys.stderr, flush=True)
        cells.append((f"{parts.mean():.4f}", *(f"{part:.3f}" for part in parts), text))
    cells.sort(reverse=True)
    print(aligned(("mean", *(system.name for system in systems), "options"), cells))
    return rows


if __name__ == "__main__":
    main()
