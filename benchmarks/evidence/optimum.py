"""Evidence for the optimum: brute force, presets at all budgets, very wide parameters, other controllers.

*Exact* means within 1e-9 of the certified value; *loss* is of the fast rule. A count of 0 omits a table.
"""

from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import product
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.tools import Options, Row, show
from multispin_env.arrays import FloatArray
from multispin_env.bounds.round import upper_bound
from multispin_env.controllers.names import controller_names, make_controller
from multispin_env.draft import PAYLOADS
from multispin_env.evaluation.cases import StateCases
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.physics.tokens import verification_time
from multispin_env.physics.types import Decision, SystemState
from multispin_env.registry import SCENARIOS, SERVERS
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import certified_lengths
from multispin_env.solver.problem import Problem
from multispin_env.solver.rule import fast_lengths
from multispin_env.units import MHZ
from tests.hostile import extreme_instance, hostile_instance, hostile_law

TOLERANCE = 1e-6

BUDGETS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
"""MHz."""


def brute_force(scenario: Scenario, state: SystemState, weights: FloatArray) -> float:
    """Return the optimum over every decision, with φ by bisection and no code of the solver."""
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


def side_of_kink(scenario: Scenario, decision: Decision) -> str:
    """Return the side of the kink of a law of two pieces on which the pass of a decision is."""
    (a, b), (c, d) = scenario.verification_pieces
    beyond = float(scenario.law.tokens(decision.draft_length, scenario.num_users)) - (a - c) / (d - b)
    return "at the kink" if abs(beyond) <= 1.0 else "left of it" if beyond < 0.0 else "right of it"


def hostile(law: str, pieces: int, padded: bool, instances: int) -> Row:
    """Compare certified values and bounds with every decision, K ≤ 4, priced by the physics alone."""
    error, loss, open_, below, sides = [], [], 0, 0, Counter[str]()
    for seed in range(instances):
        rng = np.random.default_rng(seed)
        scenario, state, weights = hostile_instance(rng, max_decisions=1000 if pieces else 20_000)
        scenario = hostile_law(rng, scenario, pieces, padded) if pieces else scenario
        best = brute_force(scenario, state, weights)
        certified: Any = make_controller("optimal", scenario, certify=TOLERANCE, weights=weights)(state)
        quick = make_controller("optimal", scenario, weights=weights)(state)
        outcomes = [expected_outcome(scenario, state, decision) for decision in (certified, quick)]
        values = [float((weights * outcome.tokens).sum(-1) / outcome.round_latency) for outcome in outcomes]
        scale = best if best > 0.0 else 1.0
        error.append(abs(values[0] - best) / scale)
        loss.append((best - values[1]) / scale)
        open_ += not certified.certified
        below += bool(certified.bound < best * (1.0 - 1e-14)) + bool(upper_bound(scenario, state, weights) < best)
        if pieces == 2:
            sides[side_of_kink(scenario, certified)] += 1
    return {
        "law": law, "instances": instances, "largest error": max(error), "not certified": open_,
        "bounds below": below, **_losses(np.array(loss)), "side": ", ".join(f"{n} {side}" for side, n in sides.items()),
    }  # fmt: skip


def _losses(loss: FloatArray) -> Row:
    loss = loss if loss.size else np.zeros(1)
    return {
        "rule exact": float((loss <= 1e-9).mean()), "within .1 %": float((loss <= 1e-3).mean()),
        "worst loss": float(loss.max()),
    }  # fmt: skip


def judged(scenario: Scenario, instances: int, tpot: float | None = None) -> Row:
    """Compare certificate and fast rule on states of a scenario."""
    state = sample_state(scenario, np.random.default_rng(1), instances)
    start = perf_counter()
    decided: Any = make_controller("optimal", scenario, certify=TOLERANCE, tpot=tpot)(state)
    elapsed = perf_counter() - start
    inside = np.ones(instances, dtype=bool) if decided.feasible is None else decided.feasible
    priced = expected_outcome(scenario, state, decided).goodput
    quick = expected_outcome(scenario, state[inside], make_controller("optimal", scenario, tpot=tpot)(state[inside]))
    proven = decided.certified & (decided.bound <= priced * (1.0 + TOLERANCE * 1.0001))
    return {
        "system": scenario.label, "K": scenario.num_users, "MHz": f"{scenario.total_bandwidth / MHZ:g}",
        "instances": instances, "feasible": int(inside.sum()), "certified": float((proven | ~inside).mean()),
        "ms": 1e3 * elapsed / instances, **_losses(1.0 - quick.goodput / priced[inside]),
    }  # fmt: skip


def presets(instances: int) -> Iterator[Row]:
    for users, part in ((4, 1.0), (8, 1.0), (20, 1.0), (100, 0.1), (1000, 0.002)):
        for name in ("llama2", "qwen3.5"):
            for budget in BUDGETS:
                scenario = Scenario.preset(name, num_users=users, total_bandwidth=budget * MHZ)
                yield judged(scenario, max(2, int(instances * part)))


def wide_problem(rng: np.random.Generator, users: int) -> Problem:
    """Draw an instance with every parameter over decades."""

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
        constant_time=decades(3e-3, 5.0, 1),
    )


def wide(users: int, instances: int) -> Row:
    """Compare certificate and fast rule on very wide parameters, one instance at a time."""
    rng = np.random.default_rng(2)
    gap, loss, times = np.empty(instances), np.empty(instances), np.empty(instances)
    for i in range(instances):
        problem = wide_problem(rng, users)
        start = perf_counter()
        certified = certified_lengths(problem, TOLERANCE)
        times[i] = 1e3 * (perf_counter() - start)
        gap[i] = certified.bound[0] / certified.value[0] - 1.0
        loss[i] = 1.0 - problem.value(fast_lengths(problem)[0][:, None])[0, 0] / certified.value[0]
    return {
        "K": str(users), "instances": instances, "certified": float((gap <= TOLERANCE * 1.000001).mean()),
        "ms median": float(np.median(times)), "ms worst": float(times.max()), **_losses(loss),
    }  # fmt: skip


def extreme(instances: int) -> Row:
    """Compare certificate and fast rule on valid instances far from any network, seeded by their numbers."""
    gap, loss = np.empty(instances), np.empty(instances)
    for seed in range(instances):
        scenario, state = extreme_instance(np.random.default_rng(seed))
        decision: Any = make_controller("optimal", scenario, certify=TOLERANCE)(state)
        quick = expected_outcome(scenario, state, make_controller("optimal", scenario)(state)).goodput
        gap[seed], loss[seed] = decision.gap, 1.0 - quick / decision.value
    row = {"worst seed": str(loss.argmax()), "instances": instances, "certified": float((gap <= TOLERANCE).mean())}
    counts = {"loses above 1 %": int((loss > 1e-2).sum()), "above 1e-6": int((loss > 1e-6).sum())}
    return {**row, **_losses(loss), **counts}


def leads(instances: int) -> Iterator[Row]:
    """Compare the rule and the certified decision with the best of all other controllers."""
    for users in (8, 20):
        for name in SCENARIOS.names():
            for budget in (5.0, 20.0):
                scenario = Scenario.preset(name, num_users=users, total_bandwidth=budget * MHZ)
                states = StateCases(
                    scenario, sample_state(scenario, np.random.default_rng(1), instances), seed=1, certify=None
                )
                values = {other: states.values(other) for other in controller_names("rounds", scenario)}
                rule, certified = values.pop("optimal"), replace(states, certify=1e-9).values("optimal")
                row: dict[str, Any] = {"preset": name, "K": users, "MHz": budget, "instances": instances}
                for who, policy_values in {"rule": rule, "certified": certified}.items():
                    margin = policy_values / np.max(list(values.values()), 0) - 1.0
                    row |= {f"{who} below": int((margin < -1e-12).sum()), f"{who} smallest lead": float(margin.min())}
                yield row


def ids_settings() -> Iterator[Scenario]:
    """Yield all presets and laws with uploaded ids."""
    for preset, server, users, budget in product(SCENARIOS.names(), ("", *SERVERS.names()), (8, 20, 50), (10.0, 40.0)):
        yield Scenario.preset(preset, num_users=users, total_bandwidth=budget * MHZ, server=server, payload="ids")


def mixed_settings(count: int) -> Iterator[Scenario]:
    """Yield drawn settings of all presets, laws, payloads, links, budgets and numbers of devices."""
    rng, servers = np.random.default_rng(1), ("", *SERVERS.names())
    for i in range(count):
        yield Scenario.preset(
            str(rng.choice(SCENARIOS.names())),
            server=servers[i % len(servers)],
            payload=str(rng.choice(PAYLOADS)),
            num_users=int(rng.choice([1, 2, 4, 8, 20, 50])),
            total_bandwidth=float(rng.choice([2.0, 10.0, 40.0])) * MHZ,
            link=str(rng.choice(["density", "power"])),
            min_draft_length=int(rng.integers(0, 2)),
        )


def sweep(scenarios: Iterable[Scenario], instances: int) -> Iterator[Row]:
    """Summarise the losses of the fast rule in states of many settings: all, by K, and by law, the worst first."""
    groups: dict[str, list[FloatArray]] = {}
    for scenario in scenarios:
        state = sample_state(scenario, np.random.default_rng(1), instances)
        proven: Any = make_controller("optimal", scenario, certify=TOLERANCE)(state)
        quick = expected_outcome(scenario, state, make_controller("optimal", scenario)(state)).goodput
        loss = 1.0 - quick / expected_outcome(scenario, state, proven).goodput
        unproven = np.where(proven.certified, loss, np.nan)
        for group in ("all", f"K = {scenario.num_users}", scenario.server or "paper's law"):
            groups.setdefault(group, []).append(unproven)
    for group, losses in sorted(groups.items(), key=lambda item: -np.nanmax(item[1])):
        loss = np.array(losses)
        yield {
            "settings": group, "number": len(loss), "states": loss.size, "unproven": int(np.isnan(loss).sum()),
            "worst loss": float(np.nanmax(loss)), "settings with > .1 %": int((loss > 1e-3).any(-1).sum()),
            "% of states > .01 %": 100.0 * float((loss > 1e-4).mean()),
            "% > .1 %": 100.0 * float((loss > 1e-3).mean()),
        }  # fmt: skip


OPTIONS: Options = {
    "ids": (200, "states of each of the settings with ids"),
    "mixed": (200, "states of each mixed setting"),
    "settings": (152, "mixed settings"),
    "hostile": (2000, "instances against brute force"),
    "preset": (1000, "instances of each preset, K and budget"),
    "leads": (250, "instances of each K and budget against controllers"),
    "wide": (500, "instances of each K"),
    "extreme": (5000, "legal instances far from any network"),
}


def run(options: Namespace) -> None:
    if options.ids:
        show("all presets and laws with ids", sweep(ids_settings(), options.ids))
    if options.mixed:
        show("mixed settings", sweep(mixed_settings(options.settings), options.mixed))
    if options.hostile:
        show("hostile instances against brute force", [hostile("paper", 0, False, options.hostile)])
    if options.preset:
        show("presets", presets(options.preset))
    if options.wide:
        show("very wide parameters", (wide(users, options.wide) for users in (3, 8, 20, 100)))
    if options.extreme:
        show("legal instances far from any network", [extreme(options.extreme)])
    if options.leads:
        show("against the best of all other controllers", leads(options.leads))
