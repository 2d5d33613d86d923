"""Evidence that the optimum is one where verification costs tokens: brute force, measured servers, hostile laws, speed.

``python -m benchmarks.servers --out results`` prints five tables and writes them as JSON. *Loss* is of the fast rule
against the certified value. Decisions are priced by the package's physics, never by its solver. ``--pairs``,
``--servers`` and ``--payloads`` choose what runs: ``--pairs qwen2.5 r1``.
"""

import warnings
from collections import Counter
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.certified import TOLERANCE, brute_force
from benchmarks.evidence import parser_of, report, write
from benchmarks.hostile import hostile_instance, hostile_law
from multispin_env.arrays import FloatArray
from multispin_env.controllers.factory import make_controller
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import Decision, SystemState
from multispin_env.physics.verification import pass_tokens
from multispin_env.scenario import PAYLOADS, SCENARIOS, Scenario
from multispin_env.server import SERVERS
from multispin_env.solver.certify import upper_bound
from multispin_env.solver.pace import least_pace
from multispin_env.solver.problem import make_problem

KINDS = {"one piece": (1, False), "two pieces": (2, False), "padded": (1, True), "padded, two pieces": (2, True)}


def weighted(scenario: Scenario, state: SystemState, weights: FloatArray, decision: Decision) -> float:
    """Σ ω E[N] over the time of a round."""
    outcome = expected_outcome(scenario, state, decision)
    return float((weights * outcome.tokens).sum(-1) / outcome.round_latency)


def side_of_kink(scenario: Scenario, decision: Decision) -> str:
    """Where the pass of a decision lies, by the kink of a law of two pieces."""
    (a, b), (c, d) = scenario.verification_pieces
    beyond = float(pass_tokens(scenario, decision.draft_length)) - (a - c) / (d - b)
    return "at the kink" if abs(beyond) <= 1.0 else "left of it" if beyond < 0.0 else "right of it"


def hostile(kind: str, instances: int) -> dict[str, Any]:
    """Certified values and bounds against every decision, K ≤ 4."""
    pieces, padded = KINDS[kind]
    error, loss, open_, below, sides = [], [], 0, 0, Counter[str]()
    for seed in range(instances):
        rng = np.random.default_rng(seed)
        scenario, state, weights = hostile_instance(rng, max_decisions=1000)
        scenario = hostile_law(rng, scenario, pieces, padded)
        best = brute_force(scenario, state, weights)
        found: Any = make_controller("optimal", scenario, certify=TOLERANCE, weights=weights)(state)
        quick: Any = make_controller("optimal", scenario, weights=weights)(state)
        scale = best if best > 0.0 else 1.0
        error.append(abs(weighted(scenario, state, weights, found) - best) / scale)
        loss.append((best - weighted(scenario, state, weights, quick)) / scale)
        open_ += not found.certified
        below += bool(found.bound < best * (1.0 - 1e-14)) + bool(upper_bound(scenario, state, weights) < best)
        if pieces == 2:
            sides[side_of_kink(scenario, found)] += 1
    return {
        "law": kind, "instances": instances, **sides, "error above 1e-6": int((np.array(error) > 1e-6).sum()),
        "largest error": max(error), "not certified": open_, "bounds below brute force": below,
        "rule within .1 %": float((np.array(loss) <= 1e-3).mean()), "rule worst loss": max(loss),
    }  # fmt: skip


def server(name: str, pair: str, users: int, bandwidth: float, payload: str, instances: int) -> dict[str, Any]:
    """Certificate and fast rule on one measured server."""
    scenario = Scenario.preset(pair, num_users=users, total_bandwidth=bandwidth * 1e6, server=name)
    scenario = scenario.replace(min_draft_length=0, payload=payload)
    state = sample_state(scenario, np.random.default_rng(1), instances)
    start = perf_counter()
    found: Any = make_controller("optimal", scenario, certify=TOLERANCE)(state)
    elapsed = perf_counter() - start
    priced = expected_outcome(scenario, state, found).goodput
    loss = 1.0 - expected_outcome(scenario, state, make_controller("optimal", scenario)(state)).goodput / priced
    return {
        "server": name, "pair": pair, "K": users, "MHz": bandwidth, "payload": payload, "instances": instances,
        "certified": float((found.bound <= priced * (1.0 + TOLERANCE * 1.0001)).mean()),
        "mean length": float(found.draft_length.mean()), "ms": 1e3 * elapsed / instances,
        "rule within .1 %": float((loss <= 1e-3).mean()), "rule exact": float((loss <= 1e-9).mean()),
        "rule worst loss": float(loss.max()),
    }  # fmt: skip


def in_time(name: str, pair: str, users: int, bandwidth: float, payload: str, instances: int) -> dict[str, Any]:
    """Certificate and fast rule under a TPOT halfway from the least that is possible to that of the optimum without."""
    scenario = Scenario.preset(pair, num_users=users, total_bandwidth=bandwidth * 1e6, server=name)
    scenario = scenario.replace(min_draft_length=0, payload=payload)
    state = sample_state(scenario, np.random.default_rng(1), instances)
    free = expected_outcome(scenario, state, make_controller("optimal", scenario)(state))
    waits = (free.round_latency[:, None] / free.tokens).max(-1)
    tpot = float(np.median(0.5 * (least_pace(make_problem(scenario, state)).tpot + waits)))
    start = perf_counter()
    found: Any = make_controller("optimal", scenario, certify=TOLERANCE, tpot=tpot)(state)
    elapsed = perf_counter() - start
    quick = expected_outcome(scenario, state, make_controller("optimal", scenario, tpot=tpot)(state)).goodput
    loss = 1.0 - quick[found.feasible] / found.value[found.feasible]
    return {
        "server": name, "pair": pair, "K": users, "MHz": bandwidth, "payload": payload, "instances": instances,
        "TPOT ms": 1e3 * tpot, "binds": int((waits > tpot).sum()), "feasible": int(found.feasible.sum()),
        "certified": float(found.certified.mean()), "worst gap": float(found.gap.max()),
        "ms": 1e3 * elapsed / instances,
        "rule within .1 %": float((loss <= 1e-3).mean()) if len(loss) else 1.0,
        "rule worst loss": float(loss.max(initial=0.0)),
    }  # fmt: skip


def any_numbers(instances: int) -> dict[str, Any]:
    """Laws, times and rates over hundreds of decades, warnings as errors."""
    rng = np.random.default_rng(3)
    times = np.array([0.0, 5e-324, 1e-100, 1e-9, 1e-6, 1e-3, 1.0, 1e5, 1e100, 1e300])
    numbers = np.array([5e-324, 1e-100, 1e-9, 1e-3, 1.0, 7.0, 1e5, 1e100, 1e308])
    rates = np.array([0.0, 1e-12, 0.3, 0.9, 1.0 - 1e-12, 1.0])
    below = 0
    for _ in range(instances):
        users = int(rng.integers(1, 5))
        pieces = tuple((float(a), float(b)) for a, b in rng.choice(times, (int(rng.integers(1, 4)), 2)))
        scenario = Scenario.preset("llama2", num_users=users, verification_pieces=pieces)
        scenario = scenario.replace(
            min_draft_length=int(rng.integers(0, 2)), padded_verification=bool(rng.random() < 0.3)
        )
        state = SystemState(rng.choice(numbers, users), rng.choice(numbers, users), rng.choice(rates, users))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found: Any = make_controller("optimal", scenario, certify=TOLERANCE)(state)
            make_controller("optimal", scenario)(state)
        below += not (np.isfinite(found.value) and np.isfinite(found.bound) and found.bound >= found.value)
    return {"instances": instances, "without a finite value and a bound above it": below}


def speed(name: str, pair: str, payload: str, users: int, instances: int) -> dict[str, Any]:
    """Time of a decision in batches, and how many times faster than the grid of the paper in the same run.

    It is processor time, which other work on the machine stretches less; with ``OMP_NUM_THREADS=1`` that of one core.
    """
    scenario = Scenario.preset(pair, num_users=users, server=name, payload=payload, min_draft_length=0)
    state = sample_state(scenario, np.random.default_rng(1), instances)
    times = {}
    choices: tuple[tuple[str, str, dict[str, Any], int], ...] = (
        ("algorithm1", "algorithm1", {}, max(1, min(4, instances * 20 // users))),
        ("rule", "optimal", {}, instances),
        ("certified", "optimal", {"certify": TOLERANCE}, instances),
    )
    for label, of, options, count in choices:
        controller = make_controller(of, scenario, **options)
        start = process_time()
        controller(state[:count])
        times[label] = (process_time() - start) / count
    row: dict[str, Any] = {"server": name, "pair": pair, "payload": payload, "K": users, "instances": instances}
    row |= {f"{label} ms": 1e3 * time for label, time in times.items()}
    return row | {f"{label} × faster": times["algorithm1"] / times[label] for label in ("rule", "certified")}


def total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All rows of a table together."""
    keys = [key for key in ("certified", "rule within .1 %", "rule exact") if key in rows[0]]
    means: dict[str, Any] = {key: float(np.mean([row[key] for row in rows])) for key in keys}
    return {
        "instances": sum(row["instances"] for row in rows), **means,
        "rule worst loss": max(row["rule worst loss"] for row in rows),
    }  # fmt: skip


def targets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many rows of the table of speed reach what was asked for."""
    twenty, thousand = ([row for row in rows if row["K"] == users] for users in (20, 1000))
    wanted = (
        ("rule at least 200 times", twenty, lambda row: row["rule × faster"] >= 200.0),
        ("certified at least 20 times", twenty, lambda row: row["certified × faster"] >= 20.0),
        ("rule under 10 ms at K = 1,000", thousand, lambda row: row["rule ms"] < 10.0),
    )
    return [{"target": text, "rows": len(of), "reached": sum(map(reached, of))} for text, of, reached in wanted]


def main() -> None:
    """Run from the command line."""
    parser = parser_of(
        __doc__,
        {
            "hostile": (300, "instances of each kind of law against brute force"),
            "preset": (20, "instances of each server, pair, K, budget and payload"),
            "tpot": (20, "likewise, at 10 MHz, where every device must get its tokens in time"),
            "numbers": (2000, "instances with absurd numbers"),
            "speed": (200, "instances that are timed, at K = 20"),
        },
    )
    parser.add_argument("--pairs", nargs="+", default=SCENARIOS.names(), help="names of scenarios")
    parser.add_argument("--servers", nargs="+", default=SERVERS.names())
    parser.add_argument("--payloads", nargs="+", default=PAYLOADS, choices=PAYLOADS)
    options = parser.parse_args()
    chosen = [
        (name, pair, payload) for name in options.servers for pair in options.pairs for payload in options.payloads
    ]
    results: dict[str, Any] = {}
    print("Hostile laws against brute force")
    results["hostile"] = [report(hostile(kind, options.hostile)) for kind in KINDS if options.hostile]
    for title, key, evidence, budgets, count in (
        ("Measured servers", "servers", server, options.budgets, options.preset),
        ("In time", "in time", in_time, (10.0,), options.tpot),
    ):
        print(title)
        rows = [
            report(evidence(name, pair, users, budget, payload, count))
            for name, pair, payload in chosen
            for users in (8, 20)
            for budget in budgets
            if count
        ]
        results[key] = rows
        results[f"all {key}"] = report(total(rows)) if rows else None
    print("Absurd numbers")
    results["numbers"] = report(any_numbers(options.numbers)) if options.numbers else None
    print("Speed")
    results["speed"] = [
        report(speed(name, pair, payload, users, max(2, options.speed * 20 // users)))
        for users in (20, 1000)
        for name, pair, payload in chosen
        if options.speed
    ]
    results["targets"] = [report(row) for row in targets(results["speed"]) if row["rows"]]
    write(results, options.out, "servers")


if __name__ == "__main__":
    main()
