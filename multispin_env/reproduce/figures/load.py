"""Requests over the load: what is in time, and how late the latest are, for every rule (ours; docs/serving.md)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from multispin_env.controllers.continuous.rates import long_run_rate
from multispin_env.controllers.continuous.serve import serve
from multispin_env.controllers.factory import make_controller
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.evaluation.table import Cells
from multispin_env.physics.arrivals.factory import make_arrivals
from multispin_env.physics.continuous.service_log import ServiceRun
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.lengths.factory import make_lengths
from multispin_env.physics.workload import ServiceLevel, Workload
from multispin_env.reproduce.drawing import BLACK, BLUE, GREEN, PURPLE, RED, draw_lines, legend_below
from multispin_env.reproduce.figure import PRESETS, FigureSpec
from multispin_env.reproduce.scale import Scale
from multispin_env.scenario import Scenario

ALONE = "nothing shared"
"""Every device has a server and a band of its own, and `load-aware`: out of reach, but not a bound on other rules."""

STYLES = {
    "optimal": (RED, "v", "--"),
    "greedy": (GREEN, "^", "--"),
    "groups": (BLUE, "o", "--"),
    "optimal+deadlines": (RED, "v", "-"),
    "greedy+deadlines": (GREEN, "^", "-"),
    "groups+deadlines": (BLUE, "o", "-"),
    "load-aware": (PURPLE, "D", "-"),
    ALONE: (BLACK, "", "-."),
}
"""Rules, with colour, marker and line: dashed where nothing is dropped."""

SIZES = {"llama2": (8, 10.0), "qwen3.5": (20, 5.0)}
"""Devices and MHz of each pair of models."""

LEVELS = {
    "llama2": ServiceLevel(e2el=0.5, e2el_per_token=0.08),
    "qwen3.5": ServiceLevel(e2el=0.5, e2el_per_token=0.11),
}
"""What requests are to keep to."""

LOADS, QUICK_LOADS = (0.2, 0.4, 0.6, 0.85, 1.1), (0.4, 0.85)
"""Tokens/s that are asked for, over those of `groups` where every device always has a request."""

COPIES, QUICK_COPIES = 24, 4
WARM_UP, HORIZON, QUICK_HORIZON = 10.0, 45.0, 6.0


@dataclass(frozen=True)
class LoadRow:
    """What one rule makes of one load, in copies with the same devices and requests for every rule."""

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
    least_served: float  # tokens/s in time of the device that has least
    p50: float  # ms a token from arrival to the last token, of all requests that finished
    p95: float
    p99: float


def compute(scale: Scale) -> list[LoadRow]:
    """Every rule at every load, for both pairs."""
    settings = [
        (preset, load, rule) for preset in PRESETS for load in scale.pick(LOADS, QUICK_LOADS) for rule in STYLES
    ]
    full = {preset: _full_rate(preset, scale) for preset in PRESETS}
    return [_row(scale, full[preset], preset, load, rule) for preset, load, rule in scale.over(settings)]


def pair_scenario(preset: str) -> Scenario:
    """The system of a pair."""
    users, megahertz = SIZES[preset]
    return Scenario.preset(preset, num_users=users, total_bandwidth=megahertz * 1e6)


def _full_rate(preset: str, scale: Scale) -> float:
    """Tokens/s of `groups` with endless requests."""
    scenario = pair_scenario(preset)
    state = sample_state(scenario, np.random.default_rng(scale.seed), scale.pick((12,), (4,))[0])
    rates = long_run_rate(
        make_controller("groups", scenario), state, warm_up=3.0, horizon=scale.pick((15.0,), (5.0,))[0]
    )
    return float(rates.mean())


def _row(scale: Scale, full: float, preset: str, load: float, rule: str) -> LoadRow:
    scenario, copies = pair_scenario(preset), scale.pick((COPIES,), (QUICK_COPIES,))[0]
    workload = Workload.at_load(
        load * full, arrivals=make_arrivals("poisson"), lengths=make_lengths("geometric"), level=LEVELS[preset]
    )
    played = partial(
        serve,
        warm_up=scale.pick((WARM_UP,), (0.0,))[0],
        horizon=scale.pick((HORIZON,), (QUICK_HORIZON,))[0],
        channel="static",
        seed=scale.seed,
    )
    head = preset, *SIZES[preset], rule, load, load * full, copies
    if rule != ALONE:
        return LoadRow(*head, *_numbers(played(make_controller(rule, scenario), workload, copies=copies), 1))
    users = scenario.num_users
    single = make_controller("load-aware", scenario.replace(num_users=1))
    own = replace(workload, rate=sum(workload.rates) / 2.0 / users)
    return LoadRow(*head, *_numbers(played(single, own, copies=copies * users), users))


def _numbers(run: ServiceRun, parts: int) -> tuple[float, ...]:
    """Of copies of which so many are one system."""
    in_time, goodput, devices = (
        array.reshape(-1, parts) for array in (run.tokens_in_time, run.request_goodput, run.least_served)
    )
    means = goodput.sum(-1).mean(), run.missed.sum() / max(run.missed.sum() + run.in_time.sum(), 1)
    rest = (*means, devices.min(-1).mean())
    latencies = (float(1e3 * time) for time in run.pooled.per_token)
    return (*mean_interval(in_time.sum(-1)), *map(float, rest), *latencies)


def draw(rows: Sequence[LoadRow], figure: Any) -> None:
    """A line of panels for each pair: tokens in time, and two quantiles of the latency."""
    presets = list(dict.fromkeys(row.preset for row in rows))
    panels = figure.subplots(len(presets), 3, squeeze=False)
    for line, preset in zip(panels, presets, strict=True):
        own = [row for row in rows if row.preset == preset]
        asked = sorted({row.requested for row in own})
        line[0].plot(asked, asked, color=BLACK, linestyle=":", linewidth=1.0, label="all that is asked for")
        _lines(line[0], own, lambda row: row.tokens_in_time, "tokens/s in time")
        line[0].set_ylim(bottom=0.0)
        _lines(line[1], own, lambda row: row.p95, "ms a token, p95")
        _lines(line[2], own, lambda row: row.p99, "ms a token, p99")
        for axes in line[1:]:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(_minor)
        for axes in line:
            axes.set_title(f"{preset}, K = {own[0].num_users}, {own[0].bandwidth_mhz:g} MHz")
            axes.set_xlabel("tokens/s that are asked for")
    legend_below(figure, panels[0][0], 4)


def _minor(value: float, _: int) -> str:
    """Numbers at some of the lines between powers of ten."""
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _lines(axes: Any, rows: Sequence[LoadRow], value: Callable[[LoadRow], float], label: str) -> None:
    draw_lines(axes, STYLES, lambda rule: ((row.requested, value(row)) for row in rows if row.rule == rule))
    axes.set_ylabel(label)


def cells(rows: Sequence[LoadRow]) -> tuple[Cells, list[Cells]]:
    """Tokens in time, what is missed, and latencies."""
    header = ("system, load", "rule", "tokens/s in time", "missed", "least device", "ms a token p50 / p95 / p99")
    return header, [_line(row) for row in rows]


def _line(row: LoadRow) -> Cells:
    in_time = f"{row.tokens_in_time:.1f} ({row.low:.1f} to {row.high:.1f})"
    latency = f"{row.p50:.0f} / {row.p95:.0f} / {row.p99:.0f}"
    system = f"{row.preset}, {row.requested:.0f} tokens/s"
    return system, row.rule, in_time, f"{row.share_missed:.2f}", f"{row.least_served:.1f}", latency


FIGURE = FigureSpec(
    title="Requests in time over the load",
    caption="Poisson requests of 60 tokens on average, due 0.5 s and then 80 ms (llama2) or 110 ms (qwen3.5) a token "
    "after they arrive; static channels. Dashed: no request is dropped. Latencies are of requests that finished, so "
    "rules that drop the late ones show short ones. With nothing shared, every device has a server and a band.",
    compute=compute,
    draw=draw,
    size=(12.0, 7.4),
    cells=cells,
)
