"""Payoff of distributed drafting against servers alone: goodput, and people served (ours; docs/evidence/serving.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from multispin_env.controllers.capacity import MOST_USERS, capacity
from multispin_env.controllers.rounds.systems import autoregressive_goodput, colocated_goodput
from multispin_env.evaluation.cases import States
from multispin_env.evaluation.statistics import Cells, mean_interval
from multispin_env.physics.arrivals import make_arrivals
from multispin_env.physics.lengths import make_lengths
from multispin_env.physics.workload import ServiceLevel, Workload
from multispin_env.reproduce.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, Series, legend_below
from multispin_env.reproduce.figure import PRESETS, FigureSpec, Scale, scenario_at
from multispin_env.scenario import PAYLOADS

PAIRS = (*PRESETS, "qwen2.5", "r1")
"""Pairs of the paper, and those of arXiv 2608.29618, whose drafts were timed on an A100."""

SHOWN_BUDGET = 10.0  # MHz of the picture and of the capacities
NAMES = {"autoregressive": "server alone", "colocated": "server drafts for all", "multi-spin": "Multi-SPIN"}
COMPARED_SYSTEMS = tuple(NAMES)


@dataclass(frozen=True)
class PayRow:
    """One setting: what each system gives, and how many devices it serves with a token every 40 ms."""

    preset: str
    server: str  # profile, or "own law": that of the stack on which the pair was measured
    payload: str
    num_users: int
    bandwidth_mhz: float
    states: int
    autoregressive: float  # tokens/s
    colocated: float  # tokens/s
    multi_spin: float  # tokens/s, the fast rule
    low: float  # 95 % interval of it
    high: float
    draft_length: float  # mean of the rule's
    winner: str
    over_alone: float  # multi_spin / autoregressive
    over_best: float  # multi_spin / the better of the other two
    capacity_autoregressive: int  # devices, at SHOWN_BUDGET
    capacity_colocated: int
    capacity_multi_spin: int


def pay_rows(scale: Scale) -> list[PayRow]:
    """Every pair of models on every server, with both payloads, for several numbers of devices and budgets."""
    users, budgets = scale.pick((2, 5, 10, 20, 40, 60), (5, 20)), scale.pick((2.0, SHOWN_BUDGET, 50.0), (SHOWN_BUDGET,))
    servers = scale.pick(("", "a100-7b-gemm", "a100-32b", "a100-70b"), ("", "a100-32b"))
    settings = [
        (preset, server, payload, budget, count)
        for preset in scale.pick(PAIRS, PRESETS)
        for server in servers
        for payload in PAYLOADS
        for budget in budgets
        for count in (users if budget == SHOWN_BUDGET else (20,))
    ]
    return [_pay_row(scale, *setting) for setting in scale.over(settings)]


def _pay_row(scale: Scale, preset: str, server: str, payload: str, megahertz: float, users: int) -> PayRow:
    size = min(scale.states, 100)
    scenario = scenario_at(preset, megahertz, server, payload=payload, min_draft_length=0, num_users=users)
    cases = States.draw(scenario, size, scale.seed, certify=None)
    alone = float(autoregressive_goodput(scenario))
    colocated = float(colocated_goodput(scenario, cases.state).mean())
    stats = cases.play("optimal")
    reached = mean_interval(stats.goodput)
    values = dict(zip(COMPARED_SYSTEMS, (alone, colocated, reached.mean), strict=True))
    return PayRow(
        preset, server or "own law", payload, users, megahertz, size,
        alone, colocated, *reached, float(stats.draft_length.mean()), NAMES[winner_of(values)],
        reached.mean / alone, reached.mean / max(alone, colocated),
        *_capacities(preset, server, payload, scale.seed, min(size, 40) if scale.quick else size),
    )  # fmt: skip


def winner_of(values: Mapping[str, float]) -> str:
    """The system of `COMPARED_SYSTEMS` with most tokens/s; of those that are equal but for rounding, the simplest."""
    return max(COMPARED_SYSTEMS, key=lambda system: (round(values[system], 6), -COMPARED_SYSTEMS.index(system)))


@lru_cache(maxsize=256)
def _capacities(preset: str, server: str, payload: str, seed: int, states: int) -> tuple[int, ...]:
    scenario = scenario_at(preset, SHOWN_BUDGET, server, payload=payload, min_draft_length=0)
    return tuple(capacity(scenario, tpot=0.04, system=system, states=states, seed=seed) for system in COMPARED_SYSTEMS)


def draw_pay(rows: Sequence[PayRow], figure: Any) -> None:
    """Goodput over the number of devices: a row of panels for each pair, a column for each server."""
    presets = list(dict.fromkeys(row.preset for row in rows))
    servers = list(dict.fromkeys(row.server for row in rows))
    ids, distributions = {"payload": "ids"}, {"payload": "distributions"}
    series = (
        Series(NAMES["autoregressive"], (BLACK, "", "--"), "autoregressive", ids),
        Series(NAMES["colocated"], (ORANGE, "s", "-"), "colocated", ids),
        Series("Multi-SPIN, ids", (BLUE, "o", "-"), "multi_spin", ids, band=True),
        Series("Multi-SPIN, distributions", (SKY, "o", "-"), "multi_spin", distributions, band=True),
    )
    panels = figure.subplots(len(presets), len(servers), squeeze=False, sharex=True)
    for line, preset in zip(panels, presets, strict=True):
        for axes, server in zip(line, servers, strict=True):
            key = preset, server, SHOWN_BUDGET
            chosen = [row for row in rows if (row.preset, row.server, row.bandwidth_mhz) == key]
            for one in series:
                one.draw(axes, chosen, "num_users")
            axes.set_ylim(bottom=0.0)
            axes.set_title(f"{preset}, {server}", fontsize="medium")
        line[0].set_ylabel("goodput (tokens/s)")
    for axes in panels[-1]:
        axes.set_xlabel("devices K")
    legend_below(figure, panels[0, 0], 4)


def pay_cells(rows: Sequence[PayRow]) -> tuple[Cells, list[Cells]]:
    """The rows of the picture's budget."""
    header = (
        *("pair, server, payload", "K", "alone", "drafts for all", "Multi-SPIN", "mean L", "over alone"),
        *("over the best other", "devices at 40 ms: alone", "drafts for all", "Multi-SPIN"),
    )
    lines: list[Cells] = [
        (
            *(f"{row.preset}, {row.server}, {row.payload}", str(row.num_users)),
            *(f"{goodput:.0f}" for goodput in (row.autoregressive, row.colocated, row.multi_spin)),
            *(f"{row.draft_length:.1f}", f"{row.over_alone:.2f}", f"{row.over_best:.2f}"),
            *map(str, (row.capacity_autoregressive, row.capacity_colocated, row.capacity_multi_spin)),
        )
        for row in rows
        if row.bandwidth_mhz == SHOWN_BUDGET and row.num_users in (20, 60)
    ]
    return header, lines


PAY = FigureSpec(
    title="Does it pay?",
    caption="Goodput of the server alone, of a server that hosts both models and drafts for all, and of Multi-SPIN "
    "with draft lengths from 0, at 10 MHz, on the law of each pair's own stack and on measured servers; means with "
    "95 % bands. Below, for 20 and 60 devices, also the most devices that each serves with a token every 40 ms.",
    compute=pay_rows,
    draw=draw_pay,
    size=(11.0, 9.6),
    cells=pay_cells,
)


COLOURS = {
    "autoregressive": BLACK,
    "colocated": ORANGE,
    "optimal": RED,
    "greedy": GREEN,
    "greedy+deadlines": GREEN,
    "load-aware": PURPLE,
}
"""Servers without devices that draft, and rules; those that plan for batches take minutes with hundreds of devices."""

PER_TOKEN = {"": {"llama2": 0.08, "qwen3.5": 0.11}, "a100-32b": dict.fromkeys(PRESETS, 0.03)}
"""Seconds that each token adds to the limit, by server (the paper's own law first) and pair."""

FIRST, THINK = 0.5, 10.0  # seconds of the limit without any token, and on average between an answer and a question


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


def capacity_rows(scale: Scale) -> list[CapacityFigureRow]:
    """Every system and rule, for both pairs and each server."""
    servers, systems = scale.pick(tuple(PER_TOKEN), ("",)), scale.pick(tuple(COLOURS), ("autoregressive", "greedy"))
    settings = [(preset, server, system) for preset in PRESETS for server in servers for system in systems]
    return [_capacity_row(scale, *setting) for setting in scale.over(settings)]


def _capacity_row(scale: Scale, preset: str, server: str, system: str) -> CapacityFigureRow:
    scenario = scenario_at(preset, 10.0, server, num_users=16)  # devices that the search begins with
    per_token = PER_TOKEN[server][preset]
    level = ServiceLevel(e2el=FIRST, e2el_per_token=per_token)
    arrivals, lengths = make_arrivals("think"), make_lengths("geometric")
    people = Workload(rate=scenario.num_users / THINK, arrivals=arrivals, lengths=lengths, level=level)
    found = capacity(
        scenario,
        workload=people,
        controller=system,
        by="users",
        copies=scale.pick(16, 2),
        warm_up=scale.pick(10.0, 4.0),
        horizon=scale.pick(30.0, 6.0),
        channel="static",
        seed=scale.seed,
        requests=scale.pick(600, 20),
    )
    run, reached = found.run, (found.value, found.low, found.high, found.value >= MOST_USERS)
    there = (run.tokens_in_time.mean(), run.pooled.ttft[1], run.pooled.tpot[1]) if run else (0.0, 0.0, 0.0)
    return CapacityFigureRow(preset, server or "paper", per_token, system, *reached, *map(float, there))


def draw_capacity(rows: Sequence[CapacityFigureRow], figure: Any) -> None:
    """A panel of bars for each pair and server."""
    presets, servers = (list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("preset", "server"))
    panels = figure.subplots(len(servers), len(presets), squeeze=False)
    for line, server in zip(panels, servers, strict=True):
        for axes, preset in zip(line, presets, strict=True):
            _capacity_bars(axes, [row for row in rows if (row.preset, row.server) == (preset, server)])


def _capacity_bars(axes: Any, rows: Sequence[CapacityFigureRow]) -> None:
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


def served_cells(rows: Sequence[CapacityFigureRow]) -> tuple[Cells, list[Cells]]:
    """Devices with intervals, and latencies there."""
    header = (
        *("pair, server, ms a token", "system", "devices", "95 % interval"),
        *("tokens/s in time", "TTFT p95", "TPOT p95"),
    )
    lines: list[Cells] = []
    for row in rows:
        setting = f"{row.preset}, {row.server}, {1e3 * row.per_token:g}"
        times = (f"{row.ttft_p95:.2f} s", f"{1e3 * row.tpot_p95:.0f} ms") if row.capacity else ("", "")
        interval = f"{row.low:.0f} to {row.high:.0f}"
        lines.append((setting, row.system, f"{row.capacity:.0f}", interval, f"{row.tokens_in_time:.0f}", *times))
    return header, lines


CAPACITY = FigureSpec(
    title="People served at a service level",
    caption="Most devices of which 95 % of the requests end within the limit in the title, where people think for "
    f"{THINK:g} s on average between an answer of 60 tokens and the next question: a server alone, one that drafts for "
    "all, and Multi-SPIN with each rule, at 10 MHz; bars with 95 % intervals. On servers other than the paper's law, "
    "ids are uploaded.",
    compute=capacity_rows,
    draw=draw_capacity,
    size=(11.0, 6.0),
    cells=served_cells,
)
