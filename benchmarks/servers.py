"""Evidence that the optimum is one where verification costs tokens: brute force, measured servers, hostile laws, speed.

``python -m benchmarks.servers --out results`` prints four tables and writes them as JSON. *Loss* is of the fast rule
against the certified value. Decisions are priced by the package's physics, never by its solver.
"""

import argparse
import json
import warnings
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.certified import TOLERANCE, brute_force, report
from benchmarks.hostile import hostile_instance, hostile_law
from multispin_env.arrays import FloatArray
from multispin_env.controllers.factory import make_controller
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import Decision, SystemState
from multispin_env.physics.verification import pass_tokens
from multispin_env.scenario import Scenario
from multispin_env.server import SERVERS
from multispin_env.solver.certify import upper_bound

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
        found: Any = make_controller("optimal", scenario, certify=TOLERANCE)(state, weights=weights)  # type: ignore[call-arg]
        quick: Any = make_controller("optimal", scenario)(state, weights=weights)  # type: ignore[call-arg]
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
    """Time of a decision in batches, and how many times faster than the grid of the paper in the same run."""
    scenario = Scenario.preset(pair, num_users=users, server=name, payload=payload, min_draft_length=0)
    state = sample_state(scenario, np.random.default_rng(1), instances)
    times = {}
    for label, of, options, count in (
        ("algorithm1", "algorithm1", {}, max(1, min(4, instances * 20 // users))),
        ("rule", "optimal", {}, instances),
        ("certified", "optimal", {"certify": TOLERANCE}, instances),
    ):
        controller = make_controller(of, scenario, **options)
        start = perf_counter()
        controller(state[:count])
        times[label] = (perf_counter() - start) / count
    row: dict[str, Any] = {"server": name, "pair": pair, "payload": payload, "K": users, "instances": instances}
    row |= {f"{label} ms": 1e3 * time for label, time in times.items()}
    return row | {f"{label} × faster": times["algorithm1"] / times[label] for label in ("rule", "certified")}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hostile", type=int, default=300, help="instances of each kind of law against brute force")
    parser.add_argument("--preset", type=int, default=20, help="instances of each server, pair, K, budget and payload")
    parser.add_argument("--numbers", type=int, default=2000, help="instances with absurd numbers")
    parser.add_argument("--speed", type=int, default=200, help="instances that are timed, at K = 20")
    parser.add_argument("--budgets", type=float, nargs="+", default=[2, 5, 10, 20, 50, 100, 200], help="MHz")
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args()
    payloads, pairs, servers = ("distributions", "ids"), ("llama2", "qwen3.5"), SERVERS.names()
    results: dict[str, Any] = {}
    print("Hostile laws against brute force")
    results["hostile"] = [report(hostile(kind, options.hostile)) for kind in KINDS if options.hostile]
    print("Measured servers")
    results["servers"] = [
        report(server(name, pair, users, budget, payload, options.preset))
        for name in servers
        for pair in pairs
        for users in (8, 20)
        for budget in options.budgets
        for payload in payloads
        if options.preset
    ]
    if options.preset:
        rows = results["servers"]
        keys = ("certified", "rule within .1 %", "rule exact")
        results["all servers"] = report(
            {"instances": options.preset * len(rows)}
            | {key: float(np.mean([row[key] for row in rows])) for key in keys}
        )
    print("Absurd numbers")
    results["numbers"] = report(any_numbers(options.numbers)) if options.numbers else None
    print("Speed")
    results["speed"] = [
        report(speed(name, pair, payload, users, max(2, options.speed * 20 // users)))
        for users in (20, 1000)
        for name in servers
        for pair in pairs
        for payload in payloads
        if options.speed
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "servers.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
