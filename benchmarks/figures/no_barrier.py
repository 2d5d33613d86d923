"""Figures of the cost of the barrier, and of requests over the load (docs/evidence/serving.md)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks.figures.pays import FIRST, PER_TOKEN
from multispin_env.bounds.rate import rate_bound
from multispin_env.controllers.names import make_controller
from multispin_env.evaluation.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY
from multispin_env.evaluation.statistics import Cells, mean_interval
from multispin_env.physics.arrivals import make_arrivals
from multispin_env.physics.continuous.averages import LongRun
from multispin_env.physics.continuous.service_log import ServiceRun
from multispin_env.physics.lengths import make_lengths
from multispin_env.physics.rounds import sample_state
from multispin_env.physics.workload import ServiceLevel, Workload
from multispin_env.scenario import Scenario
from multispin_env.simulation.long_run import long_run, serve
from multispin_lab.drawing import Series, legend_below
from multispin_lab.reproduce.figure import PRESETS, FigureSpec, Scale, scenario_at

_PAPERS, _BASE, BOUND = "optimal", "synchronous", "bound"
RULES = (_PAPERS, _BASE, "greedy", "groups", "prices")
"""Controllers with the barrier, then those without."""

BARRIER_STYLES = {
    _PAPERS: (RED, "v", "-"),
    _BASE: (ORANGE, "s", "-"),
    "greedy": (GREEN, "^", "-"),
    "groups": (BLUE, "o", "-"),
    "prices": (PURPLE, "D", "-"),
    BOUND: (BLACK, "", "--"),
}

_SHOWN_USERS, _SHOWN_BUDGET = 20, 10.0


@dataclass(frozen=True)
class BarrierRow:
    """Result of a controller in a setting, mean over static systems."""

    preset: str
    server: str  # profile, or "paper"
    num_users: int
    bandwidth_mhz: float
    controller: str  # or "bound"
    states: int
    rate: float  # tokens/s
    low: float  # 95 % interval
    high: float
    of_bound: float  # mean share
    gain: float  # mean of its rate over that of `synchronous`, system by system
    gain_low: float  # 95 % interval
    gain_high: float
    least_device: float  # tokens/s of the least served device
    server_busy: float  # shares of the time
    uplink_busy: float
    drafting: float
    uploading: float
    ready: float
    verifying: float


def _barrier_settings(scale: Scale) -> list[tuple[str, str, int, float]]:
    users: tuple[int, ...] = scale.pick((2, 4, 8, 12, 20, 30), (4, 8))
    servers: tuple[str, ...] = scale.pick(("a100-7b-gemm", "a100-32b", "a100-70b"), ())
    shown = min(_SHOWN_USERS, users[-1])
    return [
        (preset, *rest)
        for preset in PRESETS
        for rest in (
            *(("", count, _SHOWN_BUDGET) for count in users),
            *(("", shown, budget) for budget in scale.pick((2.5, 5.0, 20.0), (5.0,))),
            *((server, shown, _SHOWN_BUDGET) for server in servers),
        )
    ]


def _barrier_rows(scale: Scale, setting: tuple[str, str, int, float]) -> list[BarrierRow]:
    """Return the rows of all rules and the bound, for a pair on a server (empty: its own), K devices and B in MHz."""
    preset, server, users, megahertz = setting
    scenario = scenario_at(preset, megahertz, server, num_users=users)
    states = min(scale.states, scale.pick(12, 2))
    state = sample_state(scenario, np.random.default_rng(scale.seed), states)
    static, moving = (0.0, 1e-9), (scale.pick(3.0, 0.5), scale.pick(15.0, 1.5))  # seconds; with the barrier one round
    times = {name: static if name in (_PAPERS, _BASE) else moving for name in RULES}
    runs = {
        name: long_run(make_controller(name, scenario), state, warm_up=warm_up, horizon=horizon)
        for name, (warm_up, horizon) in times.items()
    }
    bound = rate_bound(scenario, state).value
    base = runs[_BASE].rate
    head = preset, server or "paper", users, megahertz
    rows = [_barrier_row(head, name, run, bound, base) for name, run in runs.items()]
    nothing = [0.0] * 7
    return [*rows, BarrierRow(*head, BOUND, states, *mean_interval(bound), 1.0, *mean_interval(bound / base), *nothing)]


def _barrier_row(head: tuple[str, str, int, float], name: str, run: LongRun, bound: Any, base: Any) -> BarrierRow:
    least = run.device_rate.min(-1)
    busy = least, run.server, run.uplink, run.drafting, run.uploading, run.ready, run.verifying
    return BarrierRow(
        *head,
        name,
        len(bound),
        *mean_interval(run.rate),
        float((run.rate / bound).mean()),
        *mean_interval(run.rate / base),
        *(float(share.mean()) for share in busy),
    )


def draw_barrier(rows: Sequence[BarrierRow], figure: Any) -> None:
    """Draw panels for each preset: rates over devices and over bandwidth, and shares of the time of devices."""
    series = [Series(name, style, "rate", {"controller": name}) for name, style in BARRIER_STYLES.items()]
    presets = list(dict.fromkeys(row.preset for row in rows))
    panels = figure.subplots(len(presets), 3, squeeze=False)
    for line, preset in zip(panels, presets, strict=True):
        shown_rows = [row for row in rows if row.preset == preset and row.server == "paper"]
        by_users = [row for row in shown_rows if row.bandwidth_mhz == _SHOWN_BUDGET]
        users = min(_SHOWN_USERS, max(row.num_users for row in shown_rows))
        by_budget = [row for row in shown_rows if row.num_users == users]
        for curve in series:
            curve.draw(line[0], list(map(vars, by_users)), "num_users")
            curve.draw(line[1], list(map(vars, by_budget)), "bandwidth_mhz")
        line[0].set_xlabel(f"devices K, {_SHOWN_BUDGET:g} MHz")
        line[1].set_xlabel(f"MHz, K = {users}")
        _barrier_bars(line[2], [row for row in by_users if row.num_users == users and row.controller != BOUND])
        for axes in line[:2]:
            axes.set_ylim(bottom=0.0)
            axes.set_ylabel("tokens/s")
        for axes in line:
            axes.set_title(preset)
    legend_below(figure, panels[0][0], len(BARRIER_STYLES), panels[0][2])


_PHASES = (("drafting", BLUE), ("uploading", ORANGE), ("ready", "#D0D0D0"), ("verifying", GREEN))
"""States of devices, with their colours in films."""


def _barrier_bars(axes: Any, rows: Sequence[BarrierRow]) -> None:
    positions = np.arange(len(rows))
    left = np.zeros(len(rows))
    for phase, colour in _PHASES:
        widths = np.array([getattr(row, phase) for row in rows])
        axes.barh(positions, widths, left=left, color=colour, label=f"devices {phase}")
        left += widths
    server, uplink = ([getattr(row, name) for row in rows] for name in ("server_busy", "uplink_busy"))
    axes.plot(server, positions, "k|", markersize=14, markeredgewidth=2.5, label="server busy")
    axes.plot(uplink, positions, color=SKY, linestyle="", marker="d", markeredgecolor="k", label="uplink busy")
    axes.set_yticks(positions, [row.controller for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.02)
    axes.grid(False)
    axes.set_xlabel("share of the time")


def _barrier_cells(rows: Sequence[BarrierRow]) -> tuple[Cells, list[Cells]]:
    header = ("setting", "controller", "tokens/s", "over synchronous", "of the bound", "least device")
    lines: list[Cells] = []
    for row in rows:
        setting = f"{row.preset}, {row.server}, K = {row.num_users}, {row.bandwidth_mhz:g} MHz"
        gain = f"{row.gain:.2f} ({row.gain_low:.2f} to {row.gain_high:.2f})"
        least = "" if row.controller == BOUND else f"{row.least_device:.1f}"
        lines.append((setting, row.controller, f"{row.rate:.1f}", gain, f"{row.of_bound:.3f}", least))
    return header, lines


BARRIER = FigureSpec(
    title="What the barrier costs",
    caption="Without the barrier the server verifies while devices draft and upload, and is almost always busy. Means "
    "over static systems; no policy is above the dashed bound. Servers other than the paper's are in the table, "
    "with ids.",
    settings=_barrier_settings,
    rows=_barrier_rows,
    draw=draw_barrier,
    size=(12.0, 7.4),
    cells=_barrier_cells,
    seconds=190.0,
)


_ALONE = "nothing shared"
"""Rule `load-aware` with a server and a band for each device: out of reach, but no bound on other rules."""

_STYLES = {
    "optimal": (RED, "v", "--"),
    "greedy": (GREEN, "^", "--"),
    "groups": (BLUE, "o", "--"),
    "optimal+deadlines": (RED, "v", "-"),
    "greedy+deadlines": (GREEN, "^", "-"),
    "groups+deadlines": (BLUE, "o", "-"),
    "load-aware": (PURPLE, "D", "-"),
    _ALONE: (BLACK, "", "-."),
}
"""Rules, with colour, marker and line; dashed if nothing is dropped."""

_SIZES = {"llama2": (8, 10.0), "qwen3.5": (20, 5.0)}  # devices and MHz of each pair of models


@dataclass(frozen=True)
class _LoadRow:
    """Result of a rule at a load, in copies with the same devices and requests for every rule."""

    preset: str
    num_users: int
    bandwidth_mhz: float
    rule: str
    load: float  # of the rate with endless requests
    requested: float  # tokens/s
    copies: int
    tokens_in_time: float  # tokens/s
    low: float  # 95 % interval
    high: float
    request_goodput: float  # requests/s
    share_missed: float
    least_served: float  # tokens/s in time of the least served device
    p50: float  # ms a token from arrival to the last token, of all requests that finished
    p95: float
    p99: float


def _pair_scenario(preset: str) -> Scenario:
    users, megahertz = _SIZES[preset]
    return scenario_at(preset, megahertz, num_users=users)


@lru_cache
def _full_rate(scale: Scale, preset: str) -> float:
    scenario = _pair_scenario(preset)
    state = sample_state(scenario, np.random.default_rng(scale.seed), scale.pick(12, 4))
    groups = make_controller("groups", scenario)
    return float(long_run(groups, state, warm_up=3.0, horizon=scale.pick(15.0, 5.0)).rate.mean())


def _load_rows(scale: Scale, setting: tuple[str, float, str]) -> list[_LoadRow]:
    preset, load, rule = setting
    scenario, copies, full = _pair_scenario(preset), scale.pick(24, 2), _full_rate(scale, preset)
    level = ServiceLevel(e2el=FIRST, e2el_per_token=PER_TOKEN[""][preset])
    workload = Workload.at_load(
        load * full, arrivals=make_arrivals("poisson"), lengths=make_lengths("geometric"), level=level
    )
    warm_up, horizon = scale.pick((10.0, 45.0), (0.0, 2.0))
    played = partial(serve, warm_up=warm_up, horizon=horizon, channel="static", seed=scale.seed)
    head = preset, *_SIZES[preset], rule, load, load * full, copies
    if rule != _ALONE:
        return [_LoadRow(*head, *_load_numbers(played(make_controller(rule, scenario), workload, copies=copies), 1))]
    users = scenario.num_users
    single = make_controller("load-aware", scenario.replace(num_users=1))
    single_workload = replace(workload, rate=sum(workload.rates) / 2.0 / users)
    return [_LoadRow(*head, *_load_numbers(played(single, single_workload, copies=copies * users), users))]


def _load_numbers(run: ServiceRun, parts: int) -> tuple[float, ...]:
    """Return the numbers of a row from a run in which each system is a group of copies."""
    in_time, goodput, devices = (
        array.reshape(-1, parts) for array in (run.tokens_in_time, run.request_goodput, run.least_served)
    )
    means = goodput.sum(-1).mean(), run.missed.sum() / max(run.missed.sum() + run.in_time.sum(), 1)
    rest = (*means, devices.min(-1).mean())
    latencies = (float(1e3 * time) for time in run.pooled.per_token)
    return (*mean_interval(in_time.sum(-1)), *map(float, rest), *latencies)


def _draw_load(rows: Sequence[_LoadRow], figure: Any) -> None:
    presets = list(dict.fromkeys(row.preset for row in rows))
    panels = figure.subplots(len(presets), 3, squeeze=False)
    for line, preset in zip(panels, presets, strict=True):
        shown_rows = [row for row in rows if row.preset == preset]
        asked = sorted({row.requested for row in shown_rows})
        line[0].plot(asked, asked, color=BLACK, linestyle=":", linewidth=1.0, label="requested")
        shown = {"tokens_in_time": "tokens/s in time", "p95": "ms a token, p95", "p99": "ms a token, p99"}
        for axes, (value, label) in zip(line, shown.items(), strict=True):
            for rule, style in _STYLES.items():
                Series(rule, style, value, {"rule": rule}).draw(axes, list(map(vars, shown_rows)), "requested")
            axes.set_ylabel(label)
        line[0].set_ylim(bottom=0.0)
        for axes in line[1:]:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(_minor)
        for axes in line:
            axes.set_title(f"{preset}, K = {shown_rows[0].num_users}, {shown_rows[0].bandwidth_mhz:g} MHz")
            axes.set_xlabel("requested tokens/s")
    legend_below(figure, panels[0][0], 4)


def _minor(value: float, _: int) -> str:
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _load_cells(rows: Sequence[_LoadRow]) -> tuple[Cells, list[Cells]]:
    header = ("system, load", "rule", "tokens/s in time", "missed", "least device", "ms a token p50 / p95 / p99")
    lines: list[Cells] = []
    for row in rows:
        in_time = f"{row.tokens_in_time:.1f} ({row.low:.1f} to {row.high:.1f})"
        latency = f"{row.p50:.0f} / {row.p95:.0f} / {row.p99:.0f}"
        system = f"{row.preset}, {row.requested:.0f} tokens/s"
        lines.append((system, row.rule, in_time, f"{row.share_missed:.2f}", f"{row.least_served:.1f}", latency))
    return header, lines


LOAD = FigureSpec(
    title="Requests in time over the load",
    caption="Poisson requests of 60 tokens on average, due 0.5 s and then 80 ms (llama2) or 110 ms (qwen3.5) a token "
    "after they arrive; static channels. Dashed: no request is dropped. Latencies are of requests that finished, so "
    "rules that drop the late ones show short ones. With nothing shared, every device has a server and a band.",
    settings=lambda scale: list(product(PRESETS, scale.pick((0.2, 0.4, 0.6, 0.85, 1.1), (0.4, 0.85)), _STYLES)),
    rows=_load_rows,
    draw=_draw_load,
    size=(12.0, 7.4),
    cells=_load_cells,
    seconds=160.0,
)
