"""Rules and ``greedy+deadlines`` under load, with Poisson requests and with bursts.

Tokens/s in time of the first, and paired differences of the others with 95 % intervals, as `serving` plays them. With
``--tuned`` the first has the budget and the need that are the best of a grid for each line, on copies of their own.
"""

import argparse
from itertools import product
from typing import Any

from benchmarks.continuous.serving import BURSTS, SERVICES, Service, service_options
from benchmarks.tools import Options, Row, interval_text, show
from multispin_env.evaluation.statistics import mean_interval

BUDGETS, NEEDS = (0.3, 0.45, 0.6, 0.8), (0.03, 0.045, 0.06)
"""Grid: parts of the time of a pass of all devices, and seconds per token."""

TUNING_SEED, TUNING_COPIES = 1000, 32

REFERENCE = "greedy+deadlines"
RULES = ("load-aware", "groups+deadlines", "prices+deadlines")


def tuned(service: Service, load: float, burstiness: float) -> dict[str, Any]:
    """Return the best options of the grid."""
    grid = [{"budget": budget, "need": need} for budget, need in product(BUDGETS, NEEDS)]
    return max(
        grid,
        key=lambda options: service.played(
            REFERENCE, load, burstiness, TUNING_COPIES, TUNING_SEED, **options
        ).tokens_in_time.mean(),
    )


def row(service: Service, load: float, burstiness: float, options: argparse.Namespace) -> Row:
    """Return the mean of the reference, and paired differences of the others."""
    constants = tuned(service, load, burstiness) if options.tuned else {}
    base = service.played(REFERENCE, load, burstiness, options.copies, **constants).tokens_in_time
    cells = {"load": service.title(load, burstiness), REFERENCE: f"{base.mean():.1f}"}
    for rule in options.rules:
        more = service.played(rule, load, burstiness, options.copies).tokens_in_time - base
        cells[rule] = interval_text(mean_interval(more), "+.1f")
    return cells


OPTIONS: Options = {**service_options(RULES), "tuned": (False, "tune the constants of the first")}


def run(options: argparse.Namespace) -> None:
    show(
        "tokens/s in time, and paired differences with 95 % intervals",
        (
            row(service, load, burstiness, options)
            for service in SERVICES
            if service.system.preset in options.systems
            for burstiness, load in product((1.0, BURSTS), options.loads)
        ),
    )
