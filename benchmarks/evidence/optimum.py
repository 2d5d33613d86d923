"""Evidence for the optimum: brute force, a second search, presets at all budgets, very wide parameters, controllers.

The *second* search is `multispin_env.solver.search` in NumPy, from the shortest lengths; both have a tolerance of 1e-9.
*Below* counts bounds below a decision that is known. Tokens over time are those of all rounds over their time, with the
optimum of each round and at most (renewal reward). A count of 0 omits a table.
"""

from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from benchmarks.tools import Options, Row, show
from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.bounds.round import upper_bound
from multispin_env.controllers.names import controller_names, make_controller
from multispin_env.draft import PAYLOADS
from multispin_env.evaluation.cases import StateCases
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.physics.types import Decision, SystemState
from multispin_env.registry import SCENARIOS, SERVERS
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import certified_lengths, exact_lengths, first_lengths
from multispin_env.solver.problem import Problem, make_problem
from multispin_env.solver.search import branch_and_bound
from multispin_env.units import MHZ
from tests.hostile import extreme_instance, hostile_instance, hostile_law

TOLERANCE = 1e-9

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
    rest = scenario.law.pass_time(lengths) + scenario.uplink.fixed_wait
    value = (weights * tokens).sum(-1) / (drafting.max(-1) + high + rest)
    return float(value.max())


def side_of_kink(scenario: Scenario, decision: Decision) -> str:
    """Return the side of the kink of a law of two pieces on which the pass of a decision is."""
    (a, b), (c, d) = scenario.verification_pieces
    beyond = float(scenario.law.tokens(decision.draft_length, scenario.num_users)) - (a - c) / (d - b)
    return "at the kink" if abs(beyond) <= 1.0 else "left of it" if beyond < 0.0 else "right of it"


def hostile(law: str, pieces: int, padded: bool, instances: int) -> Row:
    """Compare certified values and bounds with every decision, K ≤ 4, priced by the physics alone."""
    error, open_, below, sides = [], 0, 0, Counter[str]()
    for seed in range(instances):
        rng = np.random.default_rng(seed)
        scenario, state, weights = hostile_instance(rng, max_decisions=1000 if pieces else 20_000)
        scenario = hostile_law(rng, scenario, pieces, padded) if pieces else scenario
        best = brute_force(scenario, state, weights)
        certified: Any = make_controller("optimal", scenario, weights=weights)(state)
        outcome = expected_outcome(scenario, state, certified)
        value = float((weights * outcome.tokens).sum(-1) / outcome.round_latency)
        error.append(abs(value - best) / (best if best > 0.0 else 1.0))
        open_ += not certified.certified
        below += bool(certified.bound < best * (1.0 - 1e-14)) + bool(upper_bound(scenario, state, weights) < best)
        if pieces == 2:
            sides[side_of_kink(scenario, certified)] += 1
    return {
        "law": law, "instances": instances, "largest error": max(error), "unproven": open_, "below": below,
        "side": ", ".join(f"{n} {side}" for side, n in sides.items()),
    }  # fmt: skip


class Witnessed(NamedTuple):
    """Results of the compiled search and of the second one, for n instances."""

    continued: BoolArray  # whether the compiled search alone has no proof
    unproven: BoolArray  # whether none of both has one
    loss: FloatArray  # relative to the better of both decisions
    below: BoolArray  # whether a bound is below a decision


def witnessed(problem: Problem) -> Witnessed:
    """Solve instances by both searches."""
    alone, best = exact_lengths(problem, 0.999 * TOLERANCE), certified_lengths(problem, TOLERANCE)
    second = branch_and_bound(problem, first_lengths(problem), TOLERANCE, 400)
    value = np.maximum(best.value, second.value)
    proven = [search.bound <= search.value * (1.0 + TOLERANCE) for search in (alone, best, second)]
    return Witnessed(
        ~proven[0],
        ~proven[1] | ~proven[2],
        1.0 - best.value / np.where(value > 0.0, value, 1.0) * (value > 0.0) - (value <= 0.0),
        np.minimum(best.bound, second.bound) < value * (1.0 - 1e-13),
    )


def summary(parts: Sequence[Witnessed]) -> Row:
    """Summarise the results of sets of instances."""
    every = Witnessed(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
    return {
        "instances": len(every.loss), "continued": int(every.continued.sum()), "unproven": int(every.unproven.sum()),
        "worst loss": float(every.loss.max()), "below": int(every.below.sum()),
    }  # fmt: skip


def judged(scenario: Scenario, instances: int, tpot: float | None = None) -> Row:
    """Compare both searches on states of a scenario, and the value with the physics."""
    state = sample_state(scenario, np.random.default_rng(1), instances)
    start = perf_counter()
    decided: Any = make_controller("optimal", scenario, certify=TOLERANCE, tpot=tpot)(state)
    elapsed = perf_counter() - start
    inside = np.ones(instances, dtype=bool) if decided.feasible is None else decided.feasible
    priced = expected_outcome(scenario, state, decided).goodput
    proven = decided.certified & (decided.bound <= priced * (1.0 + TOLERANCE * 1.0001))
    return {
        "system": scenario.label, "K": scenario.num_users, "MHz": f"{scenario.total_bandwidth / MHZ:g}",
        "feasible": int(inside.sum()), "certified": float((proven | ~inside).mean()), "ms": 1e3 * elapsed / instances,
        **summary([witnessed(make_problem(scenario, state, tpot=tpot))]),
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
    """Compare both searches on very wide parameters, one instance at a time."""
    rng, results, times = np.random.default_rng(2), [], np.empty(instances)
    for i in range(instances):
        problem = wide_problem(rng, users)
        start = perf_counter()
        certified_lengths(problem, TOLERANCE)
        times[i] = 1e3 * (perf_counter() - start)
        results.append(witnessed(problem))
    return {"K": users, "ms median": float(np.median(times)), "ms worst": float(times.max()), **summary(results)}


def extreme(instances: int) -> Row:
    """Compare both searches on valid instances far from any network, seeded by their numbers."""
    cases = (extreme_instance(np.random.default_rng(seed)) for seed in range(instances))
    return summary([witnessed(make_problem(*case)) for case in cases])


def leads(instances: int) -> Iterator[Row]:
    """Compare the optimum with the best of all other controllers."""
    for users in (8, 20):
        for name in SCENARIOS.names():
            for budget in (5.0, 20.0):
                scenario = Scenario.preset(name, num_users=users, total_bandwidth=budget * MHZ)
                states = StateCases(scenario, sample_state(scenario, np.random.default_rng(1), instances), seed=1)
                values = {other: states.values(other) for other in controller_names("rounds", scenario)}
                margin = values.pop("optimal") / np.max(list(values.values()), 0) - 1.0
                row: dict[str, Any] = {"preset": name, "K": users, "MHz": budget, "instances": instances}
                yield row | {"below another": int((margin < -1e-12).sum()), "smallest lead": float(margin.min())}


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
    """Compare both searches in states of many settings: all, by K, and by law."""
    groups: dict[str, list[Witnessed]] = {}
    for scenario in scenarios:
        state = sample_state(scenario, np.random.default_rng(1), instances)
        result = witnessed(make_problem(scenario, state))
        for group in ("all", f"K = {scenario.num_users}", scenario.server or "paper's law"):
            groups.setdefault(group, []).append(result)
    for group, results in groups.items():
        yield {"settings": group, "number": len(results), **summary(results)}


def most_surplus(problem: Problem, rate: float, lengths: FloatArray) -> FloatArray:
    """Return lengths (n, K) with the most Σ E[N] − rate T_e2e, from a start.

    A decision has it if no other has a higher goodput once as many seconds (or, if it is negative, tokens of a device
    that never drafts) are added to each round that its own goodput is ``rate``; the search is that of `optimal`.
    """
    assert not problem.padded, "padded: the added device would lengthen passes"
    added = {name: 1.0 for name in ("draft_time", "token_time", "acceptance_rate")} | {"low": 0, "high": 0}
    columns: dict[str, Any] = {
        name: np.pad(getattr(problem, name), ((0, 0), (0, 1)), constant_values=x) for name, x in added.items()
    }
    for _ in range(50):
        surplus = problem.tokens(lengths[:, None])[:, 0] - rate * problem.round_time(lengths)
        weights = np.column_stack([problem.weights, np.maximum(-surplus, 0.0)])
        time = problem.constant_time + np.maximum(surplus, 0.0) / rate
        best = certified_lengths(replace(problem, **columns, weights=weights, constant_time=time), TOLERANCE)
        if (best.value <= rate * (1.0 + TOLERANCE)).all():
            return lengths
        lengths = np.where(best.value[:, None] > rate, best.lengths[:, :-1], lengths)
    raise ValueError("most_surplus: expected it within 50 searches")


def over_time(scenario: Scenario, instances: int) -> Row:
    """Compare tokens over time: of the optimum of each round, and the most of any decisions (renewal reward)."""
    problem = make_problem(scenario, sample_state(scenario, np.random.default_rng(1), instances))

    def rate_of(lengths: FloatArray) -> float:
        return float(problem.tokens(lengths[:, None]).sum() / problem.round_time(lengths).sum())

    rounds = lengths = certified_lengths(problem, TOLERANCE).lengths
    first = rate = rate_of(lengths)
    while (better := rate_of(lengths := most_surplus(problem, rate, lengths))) > rate * (1.0 + 1e-12):
        rate = better
    time = problem.round_time(lengths)
    return {
        "system": scenario.label, "K": scenario.num_users, "least length": scenario.min_draft_length,
        "instances": instances, "of rounds": first, "most": rate, "gain (%)": 100.0 * (rate / first - 1.0),
        "decide otherwise": float((rounds != lengths).any(-1).mean()), "largest round": float(time.max() / time.sum()),
    }  # fmt: skip


def over_time_settings() -> Iterator[Scenario]:
    """Yield the presets, the remedy against deep fades, and a measured server."""
    for name in SCENARIOS.names():
        yield Scenario.preset(name, num_users=20)
    yield Scenario.preset("llama2", num_users=20, min_draft_length=0)
    yield Scenario.preset("llama2", num_users=20, min_draft_length=0, server="a100-32b", payload="ids")


OPTIONS: Options = {
    "ids": (200, "states of each of the settings with ids"),
    "mixed": (200, "states of each mixed setting"),
    "settings": (152, "mixed settings"),
    "hostile": (2000, "instances against brute force"),
    "preset": (1000, "instances of each preset, K and budget"),
    "leads": (250, "instances of each K and budget against other controllers"),
    "wide": (500, "instances of each K"),
    "renewal": (4000, "states of each system for tokens over time"),
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
    if options.renewal:
        show("tokens over time", (over_time(scenario, options.renewal) for scenario in over_time_settings()))
    if options.leads:
        show("against the best of all other controllers", leads(options.leads))
