"""Comparison of a server alone, one that drafts for all, and Multi-SPIN: where distributed drafting pays (ours)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from multispin_env.controllers.capacity import capacity
from multispin_env.controllers.rounds.systems import autoregressive_goodput, colocated_goodput
from multispin_env.evaluation.cases.states import States
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.evaluation.table import Cells
from multispin_env.reproduce.drawing import BLACK, BLUE, ORANGE, SKY, legend_below
from multispin_env.reproduce.figure import PRESETS, FigureSpec
from multispin_env.reproduce.scale import Scale
from multispin_env.scenario import PAYLOADS, Scenario

PAIRS = (*PRESETS, "qwen2.5", "r1")
"""Pairs of the paper, and those of arXiv 2608.29618, whose drafts were timed on an A100."""

SERVER_NAMES = ("", "a100-7b-gemm", "a100-32b", "a100-70b")
"""Profiles, and the pair's own law."""

QUICK_SERVERS = ("", "a100-32b")

USERS = (2, 5, 10, 20, 40, 60)
QUICK_USERS = (5, 20)
BUDGETS = (2.0, 10.0, 50.0)
QUICK_BUDGETS = (10.0,)
SHOWN_BUDGET, ELSEWHERE = 10.0, 20
"""MHz of the picture and of the capacities; devices with which other budgets are tried."""

MOST_STATES = 100
TPOT = 0.04
"""Seconds between two tokens of a device, for capacity."""

COMPARED_SYSTEMS = ("autoregressive", "colocated", "multi-spin")
NAMES = {"autoregressive": "server alone", "colocated": "server drafts for all", "multi-spin": "Multi-SPIN"}


@dataclass(frozen=True)
class PayRow:
    """One setting: what each system gives, and how many devices it serves at `TPOT`."""

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


def compute(scale: Scale) -> list[PayRow]:
    """Every pair of models on every server, with both payloads, for several numbers of devices and budgets."""
    users, budgets = scale.pick(USERS, QUICK_USERS), scale.pick(BUDGETS, QUICK_BUDGETS)
    pairs, servers = scale.pick(PAIRS, PRESETS), scale.pick(SERVER_NAMES, QUICK_SERVERS)
    settings = [
        (preset, server, payload, budget, count)
        for preset in pairs
        for server in servers
        for payload in PAYLOADS
        for budget in budgets
        for count in (users if budget == SHOWN_BUDGET else (ELSEWHERE,))
    ]
    return [_row(scale, *setting) for setting in scale.over(settings)]


def _scenario(preset: str, server: str, payload: str, megahertz: float) -> Scenario:
    scenario = Scenario.preset(preset, payload=payload, min_draft_length=0, total_bandwidth=megahertz * 1e6)
    return scenario.replace(server=server) if server else scenario


def _row(scale: Scale, preset: str, server: str, payload: str, megahertz: float, users: int) -> PayRow:
    size = min(scale.states, MOST_STATES)
    scenario = _scenario(preset, server, payload, megahertz).replace(num_users=users)
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
    scenario = _scenario(preset, server, payload, SHOWN_BUDGET)
    return tuple(capacity(scenario, tpot=TPOT, system=system, states=states, seed=seed) for system in COMPARED_SYSTEMS)


def draw(rows: Sequence[PayRow], figure: Any) -> None:
    """Goodput over the number of devices: a row of panels for each pair, a column for each server."""
    presets = list(dict.fromkeys(row.preset for row in rows))
    servers = list(dict.fromkeys(row.server for row in rows))
    panels = figure.subplots(len(presets), len(servers), squeeze=False, sharex=True)
    for line, preset in zip(panels, presets, strict=True):
        for axes, server in zip(line, servers, strict=True):
            chosen = [
                row for row in rows if (row.preset, row.server, row.bandwidth_mhz) == (preset, server, SHOWN_BUDGET)
            ]
            _panel(axes, chosen)
            axes.set_title(f"{preset}, {server}", fontsize="medium")
        line[0].set_ylabel("goodput (tokens/s)")
    for axes in panels[-1]:
        axes.set_xlabel("devices K")
    legend_below(figure, panels[0, 0], 4)


def _panel(axes: Any, rows: Sequence[PayRow]) -> None:
    ids, distributions = ([row for row in rows if row.payload == payload] for payload in ("ids", "distributions"))
    users = [row.num_users for row in ids]
    axes.plot(users, [row.autoregressive for row in ids], color=BLACK, linestyle="--", label=NAMES["autoregressive"])
    axes.plot(users, [row.colocated for row in ids], color=ORANGE, marker="s", markersize=3, label=NAMES["colocated"])
    for points, colour, what in ((ids, BLUE, "ids"), (distributions, SKY, "distributions")):
        axes.fill_between(users, [row.low for row in points], [row.high for row in points], color=colour, alpha=0.25)
        values = [row.multi_spin for row in points]
        axes.plot(users, values, color=colour, marker="o", markersize=3, label=f"Multi-SPIN, {what}")
    axes.set_ylim(bottom=0.0)


HEADER = (
    "pair, server, payload",
    "K",
    "alone",
    "drafts for all",
    "Multi-SPIN",
    "mean L",
    "over alone",
    "over the best other",
    "devices at 40 ms: alone",
    "drafts for all",
    "Multi-SPIN",
)


def pay_cells(rows: Sequence[PayRow]) -> tuple[Cells, list[Cells]]:
    """The rows of the picture's budget."""
    lines: list[Cells] = [
        (
            f"{row.preset}, {row.server}, {row.payload}",
            str(row.num_users),
            f"{row.autoregressive:.0f}",
            f"{row.colocated:.0f}",
            f"{row.multi_spin:.0f}",
            f"{row.draft_length:.1f}",
            f"{row.over_alone:.2f}",
            f"{row.over_best:.2f}",
            str(row.capacity_autoregressive),
            str(row.capacity_colocated),
            str(row.capacity_multi_spin),
        )
        for row in rows
        if row.bandwidth_mhz == SHOWN_BUDGET and row.num_users in (20, 60)
    ]
    return HEADER, lines


FIGURE = FigureSpec(
    title="Does it pay?",
    caption="Goodput of the server alone, of a server that hosts both models and drafts for all, and of Multi-SPIN "
    "with draft lengths from 0, at 10 MHz, on the law of each pair's own stack and on measured servers; means with "
    "95 % bands. Below, for 20 and 60 devices, also the most devices that each serves with a token every 40 ms.",
    compute=compute,
    draw=draw,
    size=(11.0, 9.6),
    cells=pay_cells,
)
