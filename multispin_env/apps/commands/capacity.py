"""``multispin capacity``: the largest load, or the most devices, within limits of the latency of requests."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from multispin_env.apps.terminal.arguments import (
    DEFAULT_SCENARIO,
    Command,
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
from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.names import OWN_CONTROLLER
from multispin_env.evaluation.contenders import ContenderError, attributed
from multispin_env.evaluation.statistics import HELD_OUT_SEED, Cells, aligned
from multispin_env.physics.arrivals import make_arrivals
from multispin_env.physics.lengths import make_lengths
from multispin_env.physics.workload import ServiceLevel, Workload
from multispin_env.registry import ARRIVALS, CHANNELS, LENGTHS
from multispin_env.scenario import Scenario
from multispin_env.simulation.capacity import (
    COPIES,
    PERCENT,
    UNITS,
    Capacity,
    LoadPoint,
    candidates_of,
    capacity,
    capacity_of,
    check_question,
    rule_names,
)

_DESCRIPTION = """The largest load at which a share of the requests is within all limits of a service level, by
simulation: for each controller, for a server alone (autoregressive) and for one that drafts for all (colocated).

Requests/s of K devices together; with --rate-per-user, devices, each of which sends so many requests/s."""

_DEFAULT_CONTROLLERS = ("load-aware", "greedy", "colocated", "autoregressive")


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_scenario_options(parser)
    parser.set_defaults(scenario=DEFAULT_SCENARIO)
    parser.add_argument("--num-users", type=int, metavar="K", help="number of devices (default 20)")
    add_set_option(parser)
    parser.add_argument(
        "--controllers",
        nargs="+",
        default=_DEFAULT_CONTROLLERS,
        metavar="NAME",
        help=f"of {', '.join(rule_names())}, or {OWN_CONTROLLER}, perhaps with a modifier, "
        f"as greedy+deadlines (default {' '.join(_DEFAULT_CONTROLLERS)})",
    )
    for name, what in (
        ("--ttft", "time to first token"),
        ("--tpot", "time per token after"),
        ("--e2el", "end-to-end latency"),
    ):
        parser.add_argument(name, type=float, default=np.inf, metavar="S", help=f"limit of the {what}, s")
    parser.add_argument(
        "--e2el-per-token", type=float, default=0.0, metavar="S", help="what each token adds to that limit (default 0)"
    )
    parser.add_argument(
        "--percent", type=float, default=PERCENT, help=f"of the requests within all limits (default {PERCENT:g})"
    )
    parser.add_argument(
        "--arrivals",
        nargs="+",
        default=["poisson"],
        metavar=("NAME", "FIELD=VALUE"),
        help=f"one of {', '.join(ARRIVALS.names())}, and fields of it, as: gamma burstiness=0.25 (default poisson)",
    )
    parser.add_argument(
        "--lengths",
        nargs="+",
        metavar=("NAME", "FIELD=VALUE"),
        help=f"one of {', '.join(LENGTHS.names())}, and fields of it (default geometric; of a trace its own)",
    )
    parser.add_argument(
        "--rate-per-user",
        type=float,
        metavar="RATE",
        help="requests/s of a device: find how many devices can be served",
    )
    parser.add_argument("--channel", help=f"one of {', '.join(CHANNELS.names())}, by cycle (default: the scenario's)")
    parser.add_argument("--copies", type=int, default=COPIES, help=f"of the system, in parallel (default {COPIES})")
    parser.add_argument(
        "--seed", type=int, default=HELD_OUT_SEED, help=f"of devices and requests (default {HELD_OUT_SEED})"
    )
    add_table_options(parser)


@dataclass(frozen=True)
class CapacityRow:
    """What one controller reaches; times are of the largest load tried that meets the service level, 0 without."""

    controller: str
    capacity: float
    low: float  # 95 % interval
    high: float
    unit: str
    verdict: str
    percent_in_time: float
    tokens_in_time: float  # tokens/s
    least_served: float  # tokens/s in time of the device that has least, mean over copies
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
    def of(cls, controller: str, found: Capacity) -> "CapacityRow":
        """Of a capacity."""
        head = controller, found.value, found.low, found.high, UNITS[found.by], found.verdict
        run = found.run
        if run is None:
            return cls(*head, *[0.0] * 12)
        in_time = float(run.in_time.sum())
        percent = 100.0 * in_time / max(in_time + float(run.missed.sum()), 1.0)
        times = np.concatenate([run.pooled.ttft, run.pooled.tpot, run.pooled.e2el]).tolist()
        return cls(*head, percent, float(run.tokens_in_time.mean()), float(run.least_served.mean()), *times)


_HEADER = ("controller", "{unit}", "95 % interval", "tokens/s in time", "TTFT p50 / p95 / p99 s", "TPOT ms", "E2EL s")


def _capacity_cells(rows: Sequence[CapacityRow]) -> tuple[Cells, list[Cells]]:
    return tuple(title.format(unit=rows[0].unit) for title in _HEADER), [_line(row) for row in rows]


def _line(row: CapacityRow) -> Cells:
    if row.capacity == 0.0:
        return row.controller, "0", *[""] * 5
    digits = 0 if row.unit == UNITS["users"] else 3
    value, low, high = (f"{number:.{digits}f}" for number in (row.capacity, row.low, row.high))
    ttft, tpot, e2el = (
        " / ".join(f"{getattr(row, f'{name}_{part}') * scale:.{positions}f}" for part in ("p50", "p95", "p99"))
        for name, scale, positions in (("ttft", 1.0, 2), ("tpot", 1e3, 0), ("e2el", 1.0, 2))
    )
    return row.controller, value, f"{low} to {high}", f"{row.tokens_in_time:.1f}", ttft, tpot, e2el


def _named(option: str, texts: Sequence[str]) -> tuple[str, dict[str, Any]]:
    return texts[0], parse_settings(texts[1:], (), option)


def _workload(options: argparse.Namespace, scenario: Scenario) -> Workload:
    """Requests; without a rate the search begins where half of what a server alone makes is asked for."""
    name, fields = _named("arrivals", options.arrivals)
    arrivals = make_arrivals(name, **fields)
    name, fields = _named("lengths", options.lengths or ["geometric"])
    lengths = None if options.lengths is None and arrivals.own_output is not None else make_lengths(name, **fields)
    level = ServiceLevel(ttft=options.ttft, tpot=options.tpot, e2el=options.e2el, e2el_per_token=options.e2el_per_token)
    parts: dict[str, Any] = {"arrivals": arrivals, "lengths": lengths, "level": level}
    if options.rate_per_user is None:
        return Workload.at_load(scenario.autoregressive_goodput / 2.0, **parts)
    rate = check_real("rate_per_user", options.rate_per_user, 0.0, open_low=True)
    return Workload(rate=rate * scenario.num_users, **parts)


def _about(options: argparse.Namespace, scenario: Scenario, found: dict[str, Capacity]) -> dict[str, Any]:
    limits = {name: vars(options)[name] for name in ("ttft", "tpot", "e2el") if vars(options)[name] < np.inf}
    return {
        "scenario": scenario.to_dict(),
        "level": {**limits, "e2el_per_token": options.e2el_per_token, "percent": options.percent},
        "arrivals": options.arrivals,
        "lengths": options.lengths,
        "tried": {name: [[point.load, point.share] for point in one.tries] for name, one in found.items()},
        **provenance(options),
    }


def _search(
    options: argparse.Namespace, scenario: Scenario, workload: Workload, found: dict[str, Capacity]
) -> list[ContenderError]:
    """Find the capacity of each controller, and say it at once unless standard output is for a file's content."""
    by = "rate" if options.rate_per_user is None else "users"
    chosen = {"percent": options.percent, "copies": options.copies, "seed": options.seed}
    names = list(dict.fromkeys(options.controllers))
    check_question(workload, by, options.percent, options.copies)
    for name in names:
        candidates_of(name)(scenario)  # refuses an unknown one before anything is played
    if not is_quiet(options):
        print(_title(scenario, options))
    errors = []
    with Progress(len(names)) as progress:
        for name in names:
            tried: list[LoadPoint] = []
            report = partial(_report, progress.begin(name), tried)
            try:
                with attributed(name):
                    found[name] = capacity(scenario, workload=workload, controller=name, by=by, report=report, **chosen)
            except ContenderError as error:
                errors.append(error)
                continue
            except KeyboardInterrupt:
                if (so_far := capacity_of(tried, options.percent, by, options.seed)).run is not None:
                    found[name] = so_far
                raise
            if not is_quiet(options):
                progress.say(f"{name}: {found[name].verdict}")
    return errors


def _report(progress: Progress, tried: list[LoadPoint], point: LoadPoint) -> None:
    tried.append(point)
    progress(min(len(tried), 6), 7)  # seven are tried, more or less


def _run(options: argparse.Namespace) -> int | None:
    check_outputs(options.json, options.csv)
    check_integer("seed", options.seed, 0)
    scenario = resolve_scenario(options)
    if options.channel is not None:
        CHANNELS.admit(options.channel)
        scenario = scenario.replace(channel=options.channel)
    found: dict[str, Capacity] = {}
    try:
        errors = _search(options, scenario, _workload(options, scenario), found)
    finally:  # after Ctrl-C too
        if found:
            rows = [CapacityRow.of(name, one) for name, one in found.items()]
            text = f"\n{aligned(*_capacity_cells(rows))}"
            write_tables(options, rows, _about(options, scenario, found), text)
    return print_errors(options, errors)


def _title(scenario: Scenario, options: argparse.Namespace) -> str:
    users = (
        f"K = {scenario.num_users}, " if options.rate_per_user is None else f"{options.rate_per_user:g}/s a device, "
    )
    bandwidth = f"B = {scenario.total_bandwidth / 1e6:g} MHz"
    return f"{scenario.label}, {users}{bandwidth}, {' '.join(options.arrivals)}\n"


COMMAND = Command(
    _DESCRIPTION,
    (
        "--num-users 8 --e2el 0.5 --e2el-per-token 0.08 --percent 90",
        "--scenario qwen3.5 --server a100-32b --ttft 0.5 --tpot 0.04 --set payload=ids min_draft_length=0",
        "--ttft 1 --tpot 0.1 --arrivals gamma burstiness=0.25 --lengths geometric mean_output=100",
        "--ttft 1 --tpot 0.1 --rate-per-user 0.05 --arrivals trace --controllers greedy autoregressive",
    ),
    _add_options,
    _run,
)
