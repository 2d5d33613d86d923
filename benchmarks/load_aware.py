"""Rules without constants under load, against greedy with deadlines tuned for each load.

    python -m benchmarks.load_aware

Two systems, two loads, Poisson requests and bursts. For each of the eight settings the budget and the need of
``greedy+deadlines`` are the best of a grid on copies of their own. Then all rules play fresh copies with the same
requests, channels and luck; differences are paired. In static channels, tokens of requests in time, per second.
"""

import argparse
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.serving import SYSTEMS, System
from multispin_env.arrays import FloatArray

BUDGETS, NEEDS = (0.3, 0.45, 0.6, 0.8), (0.03, 0.045, 0.06)
"""Of the grid: parts of the time of a pass of all, and seconds a token."""

TUNING_SEED, SEED = 1000, 2000
"""Of the copies that the grid plays, and of fresh ones."""

RULES = ("greedy+deadlines", "load-aware", "groups+deadlines", "prices+deadlines")


@dataclass(frozen=True)
class Setting:
    """A system under a load.

    Parameters
    ----------
    system
        With its service level.
    load
        Of the system.
    burstiness
        Shape of the gaps; 1 is Poisson.
    """

    system: System
    load: float
    burstiness: float

    @property
    def name(self) -> str:
        """As the table shows it."""
        kind = "Poisson" if self.burstiness == 1.0 else f"bursts ({self.burstiness:g})"
        return f"{self.system.title}, load {self.load:g}, {kind}"

    def tokens(self, rule: str, copies: int, seed: int, **options: Any) -> FloatArray:
        """Tokens in time per second, (copies,)."""
        controller = ms.make_controller(rule, self.system.scenario, **options)
        workload = self.system.workload(self.load, ms.make_arrivals("gamma", burstiness=self.burstiness))
        return ms.serve(controller, workload, copies=copies, channel="static", seed=seed).tokens_in_time


SETTINGS = tuple(
    Setting(system, load, burstiness) for system in SYSTEMS for burstiness in (1.0, 0.25) for load in (0.6, 0.85)
)
"""The settings of the table."""


def tuned(setting: Setting, copies: int) -> dict[str, float]:
    """The best of the grid, on copies of its own."""
    grid = [{"budget": budget, "need": need} for budget, need in product(BUDGETS, NEEDS)]
    found = [setting.tokens("greedy+deadlines", copies, TUNING_SEED, **options).mean() for options in grid]
    return grid[int(np.argmax(found))]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--copies", type=int, default=96)
    parser.add_argument("--tuning-copies", type=int, default=32)
    options = parser.parse_args()
    for setting in SETTINGS:
        best = tuned(setting, options.tuning_copies)
        base = setting.tokens("greedy+deadlines", options.copies, SEED, **best)
        cells = [f"{setting.name}: tuned (budget {best['budget']:g}, need {best['need']:g}) {base.mean():.1f}"]
        for rule in RULES:
            gain = setting.tokens(rule, options.copies, SEED) - base
            error = gain.std(ddof=1) / np.sqrt(len(gain))
            cells.append(f"{rule} {100 * gain.mean() / base.mean():+.1f} ± {100 * error / base.mean():.1f} %")
        print("; ".join(cells), flush=True)


if __name__ == "__main__":
    main()
