"""Size and time of certificates: of the optimum of rounds, over all presets, and of the bound without the barrier.

Medians, in brackets the largest; times in ms. Writing includes a check; the checks read the text of a file.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from time import perf_counter
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.tools import Options, Row, show
from multispin_env.certificates import check, check_rate
from multispin_env.registry import SCENARIOS, SERVERS
from multispin_env.solver.pace import least_tpot
from multispin_env.solver.problem import make_problem
from multispin_env.units import MHZ

IDS, WIDE = {"payload": "ids", "min_draft_length": 0}, "very wide"  # draft times over three decades
SETS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "llama2": ("llama2", {}, (4, 8, 20, 50)),
    "qwen3.5": ("qwen3.5", {}, (20, 50)),
    "a100-32b, ids, L_min = 0": ("qwen3.5", {"server": "a100-32b", **IDS}, (4, 8, 20, 50)),
    "cpu-1.5b (padded), ids, L_min = 0": ("qwen3.5", {"server": "cpu-1.5b", **IDS}, (8, 20)),
    WIDE: ("qwen3.5", {}, (20, 50)),
}
OPTIONS: Options = {"instances": 20, "sweep": (13, "states of each pair and server"), "rates": (5, "states of each")}


def timed(call: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    start = perf_counter()
    return call(*arguments), 1e3 * (perf_counter() - start)


def measured(decide: Callable[[], Any], write: Callable[[Any], Any], check: Callable[[Any], Any]) -> dict[str, Any]:
    decision, deciding = timed(decide)
    record, writing = timed(write, decision)
    text = json.dumps(record)
    claim, checking = timed(check, json.loads(text))
    size = {"entries": len(record.get("proof", "")), "bytes": len(text)}
    return {**size, "decide": deciding, "write": writing, "check": checking, "decision": decision, "claim": claim}


def proven(scenario: ms.Scenario, state: ms.SystemState, certify: float, **options: Any) -> dict[str, Any]:
    decide = ms.make_controller("optimal", scenario, certify=certify, **options)
    return measured(lambda: decide(state), lambda best: ms.certificate(scenario, state, best, **options), check.check)


def rated(*system: Any, **options: Any) -> dict[str, Any]:
    write = partial(ms.rate_certificate, *system, **options)
    return measured(partial(ms.rate_bound, *system, **options), lambda _: write(), check_rate.bound)


def cells(values: list[dict[str, Any]], names: str = "entries bytes decide write check") -> Row:
    columns = {name: np.array([row[name] for row in values]) for name in names.split()}
    return {name: f"{np.median(column):,.0f} ({column.max():,.0f})" for name, column in columns.items()}


def sizes(instances: int) -> Iterator[Row]:
    for name, users in ((name, users) for name, (*_, counts) in SETS.items() for users in counts):
        pair, fields, _ = SETS[name]
        scenario, rng = ms.Scenario.preset(pair, num_users=users, **fields), np.random.default_rng(1)
        states = ms.sample_state(scenario, rng, instances)
        times = 10.0 ** rng.uniform(-3.0, 0.0, (instances, users)) if name == WIDE else states.draft_time
        states = states.changed(draft_time=times)
        yield {"set": name, "K": users, **cells([proven(scenario, states[i], 1e-6) for i in range(instances)])}


def sweep(instances: int) -> Iterator[Row]:
    for server in ("", *SERVERS.names()):
        values, reasons = [], []
        for i, pair in enumerate(SCENARIOS.names() * instances):
            rng = np.random.default_rng(i)
            fields = {"num_users": int(rng.choice([3, 8, 20])), "total_bandwidth": rng.choice([2, 5, 10, 50]) * MHZ}
            scenario = ms.Scenario.preset(pair, server=server, **fields, **(IDS if rng.random() < 0.7 else {}))
            state = ms.sample_state(scenario, rng)
            least = float(least_tpot(make_problem(scenario, state)).tpot[0])
            options = {"tpot": rng.choice([1.01, 1.1, 1.3]) * least} if i % 3 == 0 else {}
            try:
                values.append(proven(scenario, state, 10.0 ** -float(rng.integers(6, 11)), **options))
            except (RuntimeError, ValueError) as error:
                reasons.append(str(error))
        row = {"server": server or "paper", "states": len(SCENARIOS.names()) * instances, "proven": len(values)}
        yield {**row, **cells(values), "others": "; ".join(reasons)}


def rates(instances: int) -> Iterator[Row]:
    for pair, users, channel in product(SCENARIOS.names()[:2], (3, 8, 20), ("static", "independent")):
        scenario = ms.Scenario.preset(pair, num_users=users)
        gain = np.full(users, 5.0) if channel == "independent" else None
        drawn = (ms.sample_state(scenario, seed) for seed in range(instances))
        values = [rated(scenario, state, channel=channel, mean_gain=gain) for state in drawn]
        apart = [float(row["claim"]) / float(row["decision"].value) - 1.0 for row in values]
        row = {"pair": pair, "K": users, "channel": channel, **cells(values, "bytes decide write check")}
        yield {**row, "apart": f"{min(apart):.0e} to {max(apart):.0e}"}


def run(options: Namespace) -> None:
    show("optimum, proven at 1e-6", sizes(options.instances))
    if options.sweep:
        show("states of all presets, at 1e-6 to 1e-10", sweep(options.sweep))
    if options.rates:
        show("bound without the barrier", rates(options.rates))
