"""Capacity at a service level: Multi-SPIN by its rules, and servers alone (ours; docs/serving.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multispin_env.controllers.capacity import MOST_USERS, Capacity, capacity
from multispin_env.evaluation.table import Cells
from multispin_env.physics.arrivals.factory import make_arrivals
from multispin_env.physics.lengths.factory import make_lengths
from multispin_env.physics.workload import ServiceLevel, Workload
from multispin_env.reproduce.drawing import BLACK, GREEN, ORANGE, PURPLE, RED
from multispin_env.reproduce.figure import PRESETS, FigureSpec
from multispin_env.reproduce.scale import Scale
from multispin_env.scenario import Scenario

COLOURS = {
    "autoregressive": BLACK,
    "colocated": ORANGE,
    "optimal": RED,
    "greedy": GREEN,
    "greedy+deadlines": GREEN,
    "load-aware": PURPLE,
}
"""Servers without devices that draft, and rules; those that plan for batches take minutes with hundreds of devices."""

QUICK = ("autoregressive", "greedy")

PER_TOKEN = {"": {"llama2": 0.08, "qwen3.5": 0.11}, "a100-32b": dict.fromkeys(PRESETS, 0.03)}
"""Seconds that each token adds to the limit, by server (the paper's own law first) and pair."""

FIRST = 0.5
"""Seconds of the limit without any token."""

MEGAHERTZ = 10.0
THINK = 10.0
"""Seconds on average between an answer and the next question."""

START = 16
"""Devices that the search begins with."""

COPIES, QUICK_COPIES = 16, 2
REQUESTS, QUICK_REQUESTS = 600, 20
WARM_UP, HORIZON, QUICK_WARM_UP, QUICK_HORIZON = 10.0, 30.0, 4.0, 6.0


@dataclass(frozen=True)
class CapacityFigureRow:
    """Most devices of which 95 % of the requests are in time."""

    preset: str
    server: str  # profile, or "paper"
    per_token: float  # s, of the limit
    system: str  # or rule
    capacity: float  # devices
    low: float  # 95 % interval
    high: float
    more: bool  # whether even more might be served
    tokens_in_time: float  # tokens/s at the largest number tried that is served
    ttft_p95: float  # s
    tpot_p95: float  # s


def compute(scale: Scale) -> list[CapacityFigureRow]:
    """Every system and rule, for both pairs and each server."""
    servers, systems = scale.pick(tuple(PER_TOKEN), ("",)), scale.pick(tuple(COLOURS), QUICK)
    settings = [(preset, server, system) for preset in PRESETS for server in servers for system in systems]
    return [_row(scale, *setting) for setting in scale.over(settings)]


def _row(scale: Scale, preset: str, server: str, system: str) -> CapacityFigureRow:
    scenario = Scenario.preset(preset, num_users=START, total_bandwidth=MEGAHERTZ * 1e6)
    if server:
        scenario = scenario.replace(server=server, payload="ids", min_draft_length=0)
    per_token = PER_TOKEN[server][preset]
    level = ServiceLevel(e2el=FIRST, e2el_per_token=per_token)
    people = Workload(
        rate=START / THINK, arrivals=make_arrivals("think"), lengths=make_lengths("geometric"), level=level
    )
    found = capacity(
        scenario,
        workload=people,
        controller=system,
        by="users",
        copies=scale.pick((COPIES,), (QUICK_COPIES,))[0],
        warm_up=scale.pick((WARM_UP,), (QUICK_WARM_UP,))[0],
        horizon=scale.pick((HORIZON,), (QUICK_HORIZON,))[0],
        channel="static",
        seed=scale.seed,
        requests=scale.pick((REQUESTS,), (QUICK_REQUESTS,))[0],
    )
    return CapacityFigureRow(preset, server or "paper", per_token, system, *_numbers(found))


def _numbers(found: Capacity) -> tuple[float, float, float, bool, float, float, float]:
    run, value = found.run, (found.value, found.low, found.high, found.value >= MOST_USERS)
    if run is None:
        return (*value, 0.0, 0.0, 0.0)
    return (*value, float(run.tokens_in_time.mean()), float(run.pooled.ttft[1]), float(run.pooled.tpot[1]))


def draw(rows: Sequence[CapacityFigureRow], figure: Any) -> None:
    """A panel of bars for each pair and server."""
    presets, servers = (list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("preset", "server"))
    panels = figure.subplots(len(servers), len(presets), squeeze=False)
    for line, server in zip(panels, servers, strict=True):
        for axes, preset in zip(line, presets, strict=True):
            _bars(axes, [row for row in rows if (row.preset, row.server) == (preset, server)])


def _bars(axes: Any, rows: Sequence[CapacityFigureRow]) -> None:
    places, values = np.arange(len(rows)), np.array([row.capacity for row in rows])
    ends = np.array([[row.low, row.high] for row in rows]).T
    errors = np.maximum(np.abs(ends - values), 0.0)
    axes.barh(places, values, color=[COLOURS[row.system] for row in rows], xerr=errors, ecolor="#606060", capsize=2.5)
    for place, row in zip(places, rows, strict=True):
        text = f" {row.capacity:.0f}{' or more' if row.more else ''}"
        axes.text(max(row.high, row.capacity), place, text, va="center")
    axes.set_yticks(places, [row.system for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.2 * max(*(row.high for row in rows), 1.0))
    axes.set_title(f"{rows[0].preset}, {rows[0].server}: {FIRST:g} s + {1e3 * rows[0].per_token:g} ms a token")
    axes.set_xlabel("devices")
    axes.grid(False, axis="y")


def cells(rows: Sequence[CapacityFigureRow]) -> tuple[Cells, list[Cells]]:
    """Devices with intervals, and latencies there."""
    header = (
        "pair, server, ms a token",
        "system",
        "devices",
        "95 % interval",
        "tokens/s in time",
        "TTFT p95",
        "TPOT p95",
    )
    return header, [_line(row) for row in rows]


def _line(row: CapacityFigureRow) -> Cells:
    setting = f"{row.preset}, {row.server}, {1e3 * row.per_token:g}"
    times = (f"{row.ttft_p95:.2f} s", f"{1e3 * row.tpot_p95:.0f} ms") if row.capacity else ("", "")
    interval = f"{row.low:.0f} to {row.high:.0f}"
    return setting, row.system, f"{row.capacity:.0f}", interval, f"{row.tokens_in_time:.0f}", *times


FIGURE = FigureSpec(
    title="People served at a service level",
    caption="Most devices of which 95 % of the requests end within the limit in the title, where people think for "
    f"{THINK:g} s on average between an answer of 60 tokens and the next question: a server alone, one that drafts for "
    "all, and Multi-SPIN with each rule, at 10 MHz; bars with 95 % intervals. On servers other than the paper's law, "
    "ids are uploaded.",
    compute=compute,
    draw=draw,
    size=(11.0, 6.0),
    cells=cells,
)
