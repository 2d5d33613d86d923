"""``multispin capacity``: the largest load, or number of devices, within limits on the latency of requests."""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from functools import partial
from typing import Any

import numpy as np

from multispin_env.apps.terminal.arguments import (
    DEFAULT_SCENARIO,
    Command,
    add_anchor_options,
    add_scenario_options,
    add_set_option,
    parse_settings,
    resolve_scenario,
)
from multispin_env.apps.terminal.output import (
    Progress,
    add_table_options,
    check_outputs,
    is_quiet,
    print_errors,
    provenance,
    write_tables,
)
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.names import CUSTOM_CONTROLLER
from multispin_env.evaluation.contenders import ContenderError, contender_errors
from multispin_env.evaluation.statistics import HELD_OUT_SEED, Cells, aligned, drafting_note
from multispin_env.physics.arrivals import make_arrivals
from multispin_env.physics.lengths import make_lengths
from multispin_env.physics.workload import ServiceLevel, Workload
from multispin_env.registry import ARRIVALS, CHANNELS, LENGTHS, Registry
from multispin_env.scenario import Scenario
from multispin_lab.planning.capacity import (
    CAPACITY_UNITS,
    COPIES,
    MAX_USERS,
    PERCENT,
    Capacity,
    LoadPoint,
    LoadSearch,
    make_candidates,
    rule_names,
)
from multispin_lab.planning.estimates import request_lengths

_DESCRIPTION = """Find the largest load at which a given share of the requests meets all latency limits, by simulation.

Contenders are controllers, a server that generates alone (autoregressive) and one that also drafts (colocated).
The load is the total request rate of K devices in requests/s; with --rate-per-user it is the number of devices.
Estimates by formulas are printed first, then the result of each search."""

_DEFAULT_CONTROLLERS = ("load-aware", "greedy", "colocated", "autoregressive")


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_scenario_options(parser)
    add_anchor_options(parser)
    parser.set_defaults(scenario=DEFAULT_SCENARIO)
    parser.add_argument("--num-users", type=int, metavar="K", help="number of devices (default 20)")
    add_set_option(parser)
    names = (
        f"any of {', '.join(rule_names())}, or {CUSTOM_CONTROLLER}, with or without a modifier, for example "
        f"greedy+deadlines (default {' '.join(_DEFAULT_CONTROLLERS)})"
    )
    parser.add_argument("--controllers", nargs="+", default=_DEFAULT_CONTROLLERS, metavar="NAME", help=names)
    for name, quantity in (
        ("--ttft", "time to first token"),
        ("--tpot", "time per output token after the first"),
        ("--e2el", "end-to-end latency"),
    ):
        text = f"limit on the {quantity} in seconds (default: none)"
        parser.add_argument(name, type=float, default=np.inf, metavar="S", help=text)
    per_token = "seconds added to the limit --e2el for each token (default 0)"
    parser.add_argument("--e2el-per-token", type=float, default=0.0, metavar="S", help=per_token)
    percent = f"required percentage of requests within all limits (default {PERCENT:g})"
    parser.add_argument("--percent", type=float, default=PERCENT, help=percent)
    part = "NAME", "FIELD=VALUE"
    arrivals = f"arrival process with its fields: {_parts(ARRIVALS)} (default poisson); think needs --rate-per-user"
    parser.add_argument("--arrivals", nargs="+", default=["poisson"], metavar=part, help=arrivals)
    lengths = f"law of tokens of prompts and answers with its fields: {_parts(LENGTHS)} (default trace, recorded chat)"
    parser.add_argument("--lengths", nargs="+", metavar=part, help=lengths)
    rate = "requests/s of each device; find the number of devices that can be served"
    parser.add_argument("--rate-per-user", type=float, metavar="RATE", help=rate)
    most = f"largest load to try (default {MAX_USERS} devices; a rate has practically no limit)"
    parser.add_argument("--most", type=float, metavar="N", help=most)
    memory = (
        "KV memory of the server in tokens of prompts and answers, inf for no limit; estimated from mean and variance "
        "(default: that of the server, or no limit if it is unknown)"
    )
    parser.add_argument("--kv-tokens", type=float, metavar="N", help=memory)
    parser.add_argument("--channel", help=f"channel model: {', '.join(CHANNELS.names())} (default: the scenario's)")
    copies = f"independent copies of the system (default {COPIES})"
    parser.add_argument("--copies", type=int, default=COPIES, help=copies)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED, help=f"random seed (default {HELD_OUT_SEED})")
    add_table_options(parser)


def _parts(table: Registry) -> str:
    """Return the names in a table, each with its fields and their defaults."""
    texts = []
    for name in table.names():
        part = table.load(name)
        defaults = {field.name: field.default for field in fields(part) if field.default is not MISSING}
        texts.append(" ".join([name, *(f"{key}={value}" for key, value in defaults.items())]))
    return ", ".join(texts)


@dataclass(frozen=True)
class CapacityRow:
    """Capacity of one controller; latencies are those of the largest simulated load that meets the limits, else 0."""

    controller: str
    capacity: float
    low: float  # 95 % interval
    high: float
    unit: str
    verdict: str
    percent_in_time: float
    tokens_in_time: float  # tokens/s
    least_served: float  # tokens/s in time of the device with the fewest, mean over copies
    drafted: float  # tokens drafted by the devices in that simulation
    ttft_p50: float  # s
    ttft_p95: float
    ttft_p99: float
    tpot_p50: float
    tpot_p95: float
    tpot_p99: float
    e2el_p50: float
    e2el_p95: float
    e2el_p99: float

    @classmethod
    def of(cls, controller: str, result: Capacity) -> "CapacityRow":
        """Make the row of a result."""
        head = controller, result.value, result.low, result.high, CAPACITY_UNITS[result.by], result.summary
        run = result.run
        if run is None:
            return cls(*head, *[0.0] * 13)
        in_time = float(run.in_time.sum())
        percent = 100.0 * in_time / max(in_time + float(run.missed.sum()), 1.0)
        times = np.concatenate([run.pooled.ttft, run.pooled.tpot, run.pooled.e2el]).tolist()
        means = float(run.tokens_in_time.mean()), float(run.least_served.mean())
        return cls(*head, percent, *means, float(run.drafted.sum()), *times)


_HEADER = ("controller", "{unit}", "95 % interval", "tokens/s in time", "TTFT p50 / p95 / p99 s", "TPOT ms", "E2EL s")


def _capacity_cells(rows: Sequence[CapacityRow]) -> tuple[Cells, list[Cells]]:
    return tuple(title.format(unit=rows[0].unit) for title in _HEADER), [_line(row) for row in rows]


def _line(row: CapacityRow) -> Cells:
    if row.capacity == 0.0:
        return row.controller, "0", *[""] * 5
    digits = 0 if row.unit == CAPACITY_UNITS["users"] else 3
    value, low, high = (f"{number:.{digits}f}" for number in (row.capacity, row.low, row.high))
    ttft, tpot, e2el = (
        " / ".join(f"{getattr(row, f'{name}_{part}') * scale:.{positions}f}" for part in ("p50", "p95", "p99"))
        for name, scale, positions in (("ttft", 1.0, 2), ("tpot", 1e3, 0), ("e2el", 1.0, 2))
    )
    return row.controller, value, f"{low} to {high}", f"{row.tokens_in_time:.1f}", ttft, tpot, e2el


def _workload(options: argparse.Namespace, scenario: Scenario) -> Workload:
    """Make the workload; without a rate, the search starts at half of the goodput of a server that generates alone."""
    name, *texts = options.arrivals
    arrivals = make_arrivals(name, **parse_settings(texts, (), "arrivals"))
    lengths = None
    if options.lengths is not None or arrivals.own_output is None:
        name, *texts = options.lengths or ["trace"]  # recorded chat
        lengths = make_lengths(name, **parse_settings(texts, (), "lengths"))
    level = ServiceLevel(ttft=options.ttft, tpot=options.tpot, e2el=options.e2el, e2el_per_token=options.e2el_per_token)
    parts: dict[str, Any] = {"arrivals": arrivals, "lengths": lengths, "level": level}
    if options.rate_per_user is None and arrivals.closed:
        raise ValueError("rate_per_user: expected 1 / think time in requests/s where users think, got none")
    if options.rate_per_user is None:
        return Workload.at_load(scenario.autoregressive_goodput / 2.0, **parts)
    rate = check_real("rate_per_user", options.rate_per_user, 0.0, open_low=True)
    return Workload(rate=rate * scenario.num_users, **parts)


def _about(options: argparse.Namespace, scenario: Scenario, results: dict[str, Capacity]) -> dict[str, Any]:
    limits = {name: vars(options)[name] for name in ("ttft", "tpot", "e2el") if vars(options)[name] < np.inf}
    tokens = scenario.memory.tokens() if options.kv_tokens is None else options.kv_tokens
    return {
        "scenario": scenario.to_dict(),
        "level": {**limits, "e2el_per_token": options.e2el_per_token, "percent": options.percent},
        "arrivals": options.arrivals,
        "lengths": options.lengths,
        "most": options.most,
        "kv_tokens": None if tokens == np.inf else tokens,
        "tried": {name: [[point.load, point.share] for point in result.tries] for name, result in results.items()},
        **provenance(options),
    }


def _search(
    options: argparse.Namespace, scenario: Scenario, workload: Workload, results: dict[str, Capacity]
) -> list[ContenderError]:
    """Add the capacity of each controller to ``results``; return the errors of controllers."""
    by = "rate" if options.rate_per_user is None else "users"
    most = int(options.most) if by == "users" and options.most is not None and options.most % 1 == 0 else options.most
    limits = {name: vars(options)[name] for name in ("percent", "copies", "seed", "kv_tokens")}
    searches = {
        name: LoadSearch(scenario, workload, controller=name, by=by, most=most, **limits)
        for name in dict.fromkeys(options.controllers)
    }
    for name in searches:
        make_candidates(name)(scenario)  # checks all controllers before the first simulation
    if not is_quiet(options):
        print(_title(scenario, options, workload, [search.cached_tokens for search in searches.values()]))
    errors = []
    with Progress(len(searches)) as progress:
        if not is_quiet(options):
            progress.say(_estimates(searches, CAPACITY_UNITS[by]))
        for name, search in searches.items():
            tried: list[LoadPoint] = []
            bar = progress.begin(name)
            try:
                with contender_errors(name):
                    results[name] = search.run(tried.append, partial(_show, bar))
            except ContenderError as error:
                errors.append(error)
                continue
            except KeyboardInterrupt:
                if (so_far := search.result(tried)).run is not None:
                    results[name] = so_far
                raise
            if not is_quiet(options):
                progress.say(f"{name}: {results[name].summary}")
    return errors


def _estimates(searches: Mapping[str, LoadSearch], unit: str) -> str:
    loads = {}
    for name, search in searches.items():
        with suppress(ContenderError), contender_errors(name):  # the search raises the error again
            loads[name] = search.estimate()[0]
    values = ", ".join(f"{name} {load:.3g}" for name, load in loads.items())
    return f"by formulas without queues, often too high, to be refined by simulation: {values} {unit}\n"


def _show(progress: Progress, runs: float) -> None:
    progress(1.0 - 0.8**runs)  # a search simulates about seven loads, but it may be more


def _run(options: argparse.Namespace) -> int | None:
    check_outputs(options.json, options.csv)
    check_integer("seed", options.seed, 0)
    scenario = resolve_scenario(options)
    if options.channel is not None:
        CHANNELS.admit(options.channel)
        scenario = scenario.replace(channel=options.channel)
    results: dict[str, Capacity] = {}
    try:
        errors = _search(options, scenario, _workload(options, scenario), results)
    finally:  # also after Ctrl-C
        if results:
            rows = [CapacityRow.of(name, result) for name, result in results.items()]
            devices = [row for row in rows if row.capacity and row.controller.split("+")[0] not in SYSTEMS]
            note = drafting_note({row.controller: row.drafted for row in devices})
            text = f"\n{aligned(*_capacity_cells(rows))}{note}"
            write_tables(options, rows, _about(options, scenario, results), text)
    return print_errors(options, errors)


def _title(scenario: Scenario, options: argparse.Namespace, workload: Workload, cached: list[float]) -> str:
    users = f"K = {scenario.num_users}" if options.rate_per_user is None else f"{options.rate_per_user:g}/s a device"
    prompt = float(f"{request_lengths(workload)[0].mean():.3g}")
    lengths = f"prompts of {prompt:g} and answers of {workload.mean_output:.0f} tokens on average"
    most = options.most if options.most is not None or options.rate_per_user is None else MAX_USERS
    unit = CAPACITY_UNITS["rate" if options.rate_per_user is None else "users"]
    arrivals = f"{' '.join(options.arrivals)} arrivals"
    parts = [scenario.label, users, f"B = {scenario.total_bandwidth / 1e6:g} MHz", arrivals, lengths]
    parts += [] if most is None else [f"at most {most:g} {unit}"]
    sizes = [f"{tokens:.0f}" for tokens in dict.fromkeys(cached) if tokens < np.inf]
    parts += [f"KV memory for {' or '.join(sizes)} tokens"] if sizes else []
    return f"{', '.join(parts)}\n"


COMMAND = Command(
    _DESCRIPTION,
    (
        "--num-users 8 --e2el 0.5 --e2el-per-token 0.08 --percent 90",
        "--scenario qwen3.5 --server a100-32b --ttft 0.5 --tpot 0.04 --set payload=ids min_draft_length=0",
        "--ttft 1 --tpot 0.1 --arrivals gamma burstiness=0.25 --lengths geometric mean_output=100",
        "--ttft 1 --tpot 0.1 --rate-per-user 0.05 --arrivals trace --controllers greedy autoregressive",
        "--tpot 0.03 --rate-per-user 0.05 --lengths log-normal median_prompt=1000 sigma_prompt=0 --kv-tokens 100000",
    ),
    _add_options,
    _run,
)
