"""Evidence for the optimum where verification costs tokens: brute force, measured servers, extreme numbers.

Columns are those of `benchmarks.evidence.optimum`. A count of 0 omits a table. ``python -m benchmarks.speed controllers
--servers NAME`` measures the time.
"""

import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from benchmarks.evidence.optimum import BUDGETS, TOLERANCE, hostile, judged
from benchmarks.tools import Options, Row, show
from multispin_env.controllers.names import make_controller
from multispin_env.draft import PAYLOADS
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.physics.types import SystemState
from multispin_env.registry import SCENARIOS, SERVERS
from multispin_env.scenario import Scenario
from multispin_env.solver.pace import least_tpot
from multispin_env.solver.problem import make_problem
from multispin_env.units import MHZ
from tests.hostile import unchecked

KINDS = {"one piece": (1, False), "two pieces": (2, False), "padded": (1, True), "padded, two pieces": (2, True)}


def systems(servers: Sequence[str], pairs: Sequence[str], budgets: Sequence[float]) -> Iterator[Scenario]:
    for server, pair, payload, users, budget in product(servers, pairs, PAYLOADS, (8, 20), budgets):
        scenario = Scenario.preset(pair, num_users=users, total_bandwidth=budget * MHZ, server=server)
        yield scenario.replace(min_draft_length=0, payload=payload)


def halfway(scenario: Scenario, instances: int) -> float:
    """Return a TPOT limit in s: the median midpoint of the least TPOT and that of the optimum without a limit."""
    state = sample_state(scenario, np.random.default_rng(1), instances)
    free = expected_outcome(scenario, state, make_controller("optimal", scenario)(state))
    waits = (free.round_latency[:, None] / free.tokens).max(-1)
    return float(np.median(0.5 * (least_tpot(make_problem(scenario, state)).tpot + waits)))


def any_numbers(instances: int) -> Row:
    """Decide laws, times and rates over hundreds of decades, with warnings as errors."""
    rng = np.random.default_rng(3)
    times = np.array([0.0, 5e-324, 1e-100, 1e-9, 1e-6, 1e-3, 1.0, 1e5, 1e100, 1e300])
    numbers = np.array([5e-324, 1e-100, 1e-9, 1e-3, 1.0, 7.0, 1e5, 1e100, 1e308])
    rates = np.array([0.0, 1e-12, 0.3, 0.9, 1.0 - 1e-12, 1.0])
    below = 0
    for _ in range(instances):
        users = int(rng.integers(1, 5))
        pieces = tuple((float(a), float(b)) for a, b in rng.choice(times, (int(rng.integers(1, 4)), 2)))
        scenario = Scenario.preset("llama2", num_users=users, min_draft_length=int(rng.integers(0, 2)))
        padded = bool(rng.random() < 0.3)
        scenario = unchecked(scenario, verification_pieces=pieces, padded_verification=padded)
        state = SystemState(rng.choice(numbers, users), rng.choice(numbers, users), rng.choice(rates, users))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            decision: Any = make_controller("optimal", scenario, certify=TOLERANCE)(state)
        below += not (np.isfinite(decision.value) and np.isfinite(decision.bound) and decision.bound >= decision.value)
    return {"instances": str(instances), "without a finite value and a bound above it": below}


def total(rows: Sequence[Row]) -> Row:
    counts = {key: sum(row[key] for row in rows) for key in ("instances", "feasible", "continued", "unproven", "below")}
    return {"all": "", **counts, "worst loss": max(row["worst loss"] for row in rows)}


OPTIONS: Options = {
    "hostile": (300, "instances of each kind of law against brute force"),
    "preset": (6, "states of each server, pair, K, budget and payload"),
    "tpot": (20, "the same at 10 MHz with a TPOT limit for every device"),
    "numbers": (1000, "instances with extreme numbers"),
    "pairs": (list(SCENARIOS.names()), "scenarios"),
    "servers": list(SERVERS.names()),
}


def run(options: Namespace) -> None:
    if options.hostile:
        laws = ((kind, *law, options.hostile) for kind, law in KINDS.items())
        show("hostile laws against brute force", (hostile(*law) for law in laws))
    if options.preset:
        scenarios = systems(options.servers, options.pairs, BUDGETS)
        rows = show("measured servers", (judged(scenario, options.preset) for scenario in scenarios))
        show("measured servers, all", [total(rows)])
    if options.tpot:
        scenarios = systems(options.servers, options.pairs, (10.0,))
        limits = ((scenario, options.tpot, halfway(scenario, options.tpot)) for scenario in scenarios)
        rows = show("in time", (judged(*limit) for limit in limits))
        show("in time, all", [total(rows)])
    if options.numbers:
        show("extreme numbers, warnings as errors", [any_numbers(options.numbers)])
