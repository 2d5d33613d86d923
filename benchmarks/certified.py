"""Evidence that the optimum is one: brute force, presets at all budgets, very wide parameters.

``python -m benchmarks.certified --out results`` prints its tables and writes them as JSON. *Exact* means within
1e-9 of the certified value; *loss* is of the fast rule.
"""

from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.evidence import parser_of, report, write
from benchmarks.hostile import extreme_instance, hostile_instance
from multispin_env.arrays import FloatArray
from multispin_env.controllers.factory import controller_names, make_controller
from multispin_env.evaluation.cases.states import States
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import SystemState
from multispin_env.physics.verification import verification_time
from multispin_env.scenario import SCENARIOS, Scenario
from multispin_env.solver.certify import certified_lengths, upper_bound
from multispin_env.solver.problem import Problem
from multispin_env.solver.rule import fast_lengths

TOLERANCE = 1e-6


def brute_force(scenario: Scenario, state: SystemState, weights: FloatArray) -> float:
    """Optimum over every decision; φ by halving, without any code of the solver."""
    users = scenario.num_users
    axes = [np.arange(scenario.min_draft_length, scenario.max_draft_length + 1)] * users
    lengths = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, users).astype(float)
    token_time = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
    drafting, uploading = lengths * state.draft_time, lengths * token_time
    head_start = drafting.max(-1, keepdims=True) - drafting
    low, high = np.zeros(len(lengths)), uploading.sum(-1)
    for _ in range(110):
        middle = 0.5 * (low + high)
        room = middle[:, None] + head_start
        used = np.where(uploading > 0.0, uploading / np.where(room > 0.0, room, 1.0), 0.0).sum(-1)
        low, high = np.where(used > 1.0, middle, low), np.where(used > 1.0, high, middle)
    powers = state.acceptance_rate[:, None] ** np.arange(scenario.max_draft_length + 1)
    tokens = powers.cumsum(-1)[np.arange(users), lengths.astype(int)]
    rest = verification_time(scenario, lengths) + scenario.round_trip_time
    value = (weights * tokens).sum(-1) / (drafting.max(-1) + high + rest)
    return float(value.max())


def hostile(instances: int, seed: int) -> dict[str, Any]:
    """Certified values and bounds against brute force."""
    rng = np.random.default_rng(seed)
    error, exact, loss, below, open_ = [], [], [], 0, 0
    for _ in range(instances):
        scenario, state, weights = hostile_instance(rng, max_decisions=20_000)
        best = brute_force(scenario, state, weights)
        decision: Any = make_controller("optimal", scenario, certify=TOLERANCE, weights=weights)(state)
        quick: Any = make_controller("optimal", scenario, weights=weights)(state)
        outcome = expected_outcome(scenario, state, quick)
        value = (weights * outcome.tokens).sum(-1) / outcome.round_latency
        scale = best if best > 0.0 else 1.0
        error.append(abs(float(decision.value) - best) / scale)
        loss.append(1.0 - float(value) / scale if best > 0.0 else 0.0)
        exact.append(loss[-1] <= 1e-9)
        below += bool(upper_bound(scenario, state, weights) < best) + bool(decision.bound < best)
        open_ += not decision.certified
    return {
        "instances": instances,
        "largest error of the certified value": max(error),
        "error above 1e-9": int(np.sum(np.array(error) > 1e-9)),
        "not certified": open_,
        "bounds below brute force": below,
        "rule exact": float(np.mean(exact)),
        "rule worst loss": max(loss),
    }


def preset(name: str, users: int, bandwidth: float, instances: int) -> dict[str, Any]:
    """Certificate and fast rule on one preset."""
    scenario = Scenario.preset(name, num_users=users, total_bandwidth=bandwidth * 1e6)
    state = sample_state(scenario, np.random.default_rng(1), instances)
    start = perf_counter()
    decision: Any = make_controller("optimal", scenario, certify=TOLERANCE)(state)
    elapsed = perf_counter() - start
    quick = expected_outcome(scenario, state, make_controller("optimal", scenario)(state)).goodput
    loss = 1.0 - quick / decision.value
    return {
        "preset": name, "K": users, "MHz": bandwidth, "instances": instances,
        "certified": float(decision.certified.mean()), "ms": 1e3 * elapsed / instances,
        "rule exact": float((loss <= 1e-9).mean()), "rule worst loss": float(loss.max()),
    }  # fmt: skip


def wide_problem(rng: np.random.Generator, users: int) -> Problem:
    """One instance with every parameter over decades."""

    def decades(low: float, high: float, *shape: int) -> FloatArray:
        return np.exp(rng.uniform(np.log(low), np.log(high), shape))

    efficiency = np.log2(1.0 + 10.0 ** rng.uniform(0.0, 3.0, (1, users)))
    return Problem(
        draft_time=decades(3e-3, 80e-3, 1, users),
        token_time=decades(100.0, 1e5, 1, 1) / (decades(1e6, 50e6, 1, 1) * efficiency),
        acceptance_rate=rng.uniform(0.3, 0.995, (1, users)),
        weights=np.ones((1, users)),
        low=np.ones((1, users), dtype=np.int64),
        high=np.full((1, users), 25),
        verification_time=decades(3e-3, 5.0, 1),
    )


def wide(users: int, instances: int) -> dict[str, Any]:
    """Certificate and fast rule on very wide parameters, one instance at a time."""
    rng = np.random.default_rng(2)
    gap, loss, times = [], [], []
    for _ in range(instances):
        problem = wide_problem(rng, users)
        start = perf_counter()
        certified = certified_lengths(problem, TOLERANCE)
        times.append(perf_counter() - start)
        gap.append(certified.bound[0] / certified.value[0] - 1.0)
        quick = problem.value(fast_lengths(problem)[0][:, None])[0, 0]
        loss.append(1.0 - quick / certified.value[0])
    return {
        "K": users, "instances": instances,
        "certified": float(np.mean(np.array(gap) <= TOLERANCE * 1.000001)),
        "gap median": float(np.median(gap)), "gap worst": float(np.max(gap)),
        "ms median": 1e3 * float(np.median(times)), "ms worst": 1e3 * float(np.max(times)),
        "rule within .1 %": float((np.array(loss) <= 1e-3).mean()),
        "rule exact": float((np.array(loss) <= 1e-9).mean()),
        "rule worst loss": float(np.max(loss)),
    }  # fmt: skip


def extreme(instances: int) -> dict[str, Any]:
    """Certificate and fast rule on legal instances far from any network; each has its number for a seed."""
    gap, loss = np.empty(instances), np.empty(instances)
    for seed in range(instances):
        scenario, state = extreme_instance(np.random.default_rng(seed))
        decision: Any = make_controller("optimal", scenario, certify=TOLERANCE)(state)  # type: ignore[call-arg]
        quick = expected_outcome(scenario, state, make_controller("optimal", scenario)(state)).goodput
        gap[seed], loss[seed] = decision.gap, 1.0 - quick / decision.value
    return {
        "instances": instances, "certified": float((gap <= TOLERANCE).mean()),
        "rule loses above 1 %": int((loss > 1e-2).sum()), "above .1 %": int((loss > 1e-3).sum()),
        "above 1e-6": int((loss > 1e-6).sum()), "rule worst loss": float(loss.max()), "seed": int(loss.argmax()),
    }  # fmt: skip


def lead(name: str, users: int, bandwidth: float, instances: int) -> dict[str, Any]:
    """How far the rule and the certified decision are ahead of the best of all other controllers."""
    scenario = Scenario.preset(name, num_users=users, total_bandwidth=bandwidth * 1e6)
    state = sample_state(scenario, np.random.default_rng(1), instances)
    states = States(scenario, state, seed=1, certify=None)
    values = {other: states.values(other) for other in controller_names("rounds")}
    rule, certified = values.pop("optimal"), replace(states, certify=1e-9).values("optimal")
    others = np.max(list(values.values()), 0)
    leads = {"rule": rule / others - 1.0, "certified": certified / others - 1.0}
    row: dict[str, Any] = {"preset": name, "K": users, "MHz": bandwidth, "instances": instances}
    for who, margin in leads.items():
        row |= {f"{who} below": int((margin < -1e-12).sum()), f"{who} smallest lead": float(margin.min())}
    return row


def main() -> None:
    """Run from the command line."""
    parser = parser_of(
        __doc__,
        {
            "hostile": (2000, "instances against brute force"),
            "preset": (1000, "instances of each preset, K and budget"),
            "leads": (250, "instances of each K and budget against controllers"),
            "wide": (500, "instances of each K"),
            "extreme": (5000, "legal instances far from any network"),
        },
    )
    options = parser.parse_args()
    results: dict[str, Any] = {}
    print("Hostile instances against brute force")
    results["hostile"] = report(hostile(options.hostile, seed=0)) if options.hostile else None
    print("Presets")
    results["presets"] = [
        report(preset(name, users, budget, max(2, int(options.preset * part))))
        for users, part in ((4, 1.0), (8, 1.0), (20, 1.0), (100, 0.1), (1000, 0.002))
        for name in ("llama2", "qwen3.5")
        for budget in options.budgets
        if options.preset
    ]
    print("Very wide parameters")
    results["wide"] = [report(wide(users, options.wide)) for users in (3, 8, 20, 100) if options.wide]
    print("Legal instances far from any network")
    results["extreme"] = report(extreme(options.extreme)) if options.extreme else None
    print("Against the best of all other controllers")
    results["leads"] = [
        report(lead(name, users, budget, options.leads))
        for users in (8, 20)
        for name in SCENARIOS.names()
        for budget in (5.0, 20.0)
        if options.leads
    ]
    write(results, options.out, "certified")


if __name__ == "__main__":
    main()
