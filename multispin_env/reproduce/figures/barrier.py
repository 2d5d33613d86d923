"""Cost of the barrier: tokens per second with and without it, beside the bound on every policy (ours)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multispin_env.controllers.continuous.bound import rate_bound
from multispin_env.controllers.continuous.rates import LongRun, long_run
from multispin_env.controllers.factory import make_controller
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.evaluation.table import Cells
from multispin_env.physics.dynamics import sample_state
from multispin_env.reproduce.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, draw_lines
from multispin_env.reproduce.figure import PRESETS, FigureSpec
from multispin_env.reproduce.scale import Scale
from multispin_env.scenario import Scenario

BARRIER, BASE, BOUND = "optimal", "synchronous", "bound"
RULES = (BARRIER, BASE, "greedy", "groups", "prices")
"""The paper's round, the best with the barrier, and those without."""

STYLES = {
    BARRIER: (RED, "v", "-"),
    BASE: (ORANGE, "s", "-"),
    "greedy": (GREEN, "^", "-"),
    "groups": (BLUE, "o", "-"),
    "prices": (PURPLE, "D", "-"),
    BOUND: (BLACK, "", "--"),
}

SHOWN_USERS, SHOWN_BUDGET = 20, 10.0
USERS, QUICK_USERS = (2, 4, 8, 12, 20, 30), (4, 8)
BUDGETS, QUICK_BUDGETS = (2.5, 5.0, 20.0), (5.0,)
MEASURED_SERVERS, QUICK_SERVERS = ("a100-7b-gemm", "a100-32b", "a100-70b"), ()
"""Profiles beside the paper's own law; there ids are uploaded and lengths may be 0."""

STATES, QUICK_STATES = 12, 4
WARM_UP, HORIZON, QUICK_HORIZON = 3.0, 15.0, 5.0
ALIKE = 0.5
"""Seconds with the barrier: in a static channel all rounds are alike."""


@dataclass(frozen=True)
class BarrierRow:
    """What one controller makes in one setting, mean over static systems."""

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
    least_device: float  # tokens/s of the device that gets least
    server_busy: float  # shares of the time
    uplink_busy: float
    drafting: float
    uploading: float
    ready: float
    verifying: float


def compute(scale: Scale) -> list[BarrierRow]:
    """Every preset over the number of devices, over the budget, and over the law of verification."""
    users = scale.pick(USERS, QUICK_USERS)
    shown = min(SHOWN_USERS, users[-1])
    settings = [
        (preset, *rest)
        for preset in PRESETS
        for rest in (
            *(("", count, SHOWN_BUDGET) for count in users),
            *(("", shown, budget) for budget in scale.pick(BUDGETS, QUICK_BUDGETS)),
            *((server, shown, SHOWN_BUDGET) for server in scale.pick(MEASURED_SERVERS, QUICK_SERVERS)),
        )
    ]
    return [row for setting in scale.over(settings) for row in _rows(scale, *setting)]


def scenario_of(preset: str, server: str, users: int, megahertz: float) -> Scenario:
    """The system of a setting."""
    scenario = Scenario.preset(preset, num_users=users, total_bandwidth=megahertz * 1e6)
    return scenario.replace(server=server, payload="ids", min_draft_length=0) if server else scenario


def _rows(scale: Scale, preset: str, server: str, users: int, megahertz: float) -> list[BarrierRow]:
    scenario = scenario_of(preset, server, users, megahertz)
    states = min(scale.states, scale.pick((STATES,), (QUICK_STATES,))[0])
    state = sample_state(scenario, np.random.default_rng(scale.seed), states)
    horizon = scale.pick((HORIZON,), (QUICK_HORIZON,))[0]
    times = {name: (0.0, ALIKE) if name in (BARRIER, BASE) else (WARM_UP, horizon) for name in RULES}
    runs = {
        name: long_run(make_controller(name, scenario), state, warm_up=warm_up, horizon=time)
        for name, (warm_up, time) in times.items()
    }
    bound = rate_bound(scenario, state)
    base = runs[BASE].rate
    head = preset, server or "paper", users, megahertz
    rows = [_row(head, name, run, bound, base) for name, run in runs.items()]
    return [
        *rows,
        BarrierRow(*head, BOUND, states, *mean_interval(bound), 1.0, *mean_interval(bound / base), *[0.0] * 7),
    ]


def _row(head: tuple[str, str, int, float], name: str, run: LongRun, bound: Any, base: Any) -> BarrierRow:
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


def draw(rows: Sequence[BarrierRow], figure: Any) -> None:
    """A line of panels for each preset: over devices, over bandwidth, and what everybody does meanwhile."""
    presets = list(dict.fromkeys(row.preset for row in rows))
    panels = figure.subplots(len(presets), 3, squeeze=False)
    for line, preset in zip(panels, presets, strict=True):
        own = [row for row in rows if row.preset == preset and row.server == "paper"]
        by_users = [row for row in own if row.bandwidth_mhz == SHOWN_BUDGET]
        most = max(row.num_users for row in own)
        by_budget = [row for row in own if row.num_users == min(SHOWN_USERS, most)]
        _lines(line[0], by_users, lambda row: row.num_users, f"devices K, {SHOWN_BUDGET:g} MHz")
        _lines(line[1], by_budget, lambda row: row.bandwidth_mhz, f"MHz, K = {min(SHOWN_USERS, most)}")
        _bars(line[2], [row for row in by_budget if row.bandwidth_mhz == SHOWN_BUDGET and row.controller != BOUND])
        for axes in line[:2]:
            axes.set_ylabel("tokens/s")
            axes.set_title(preset)
        line[2].set_title(preset)
    entries: dict[str, Any] = {}
    for axes in panels[0][::2]:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=len(STYLES), frameon=False)


def _lines(axes: Any, rows: Sequence[BarrierRow], position: Any, label: str) -> None:
    draw_lines(axes, STYLES, lambda name: ((position(row), row.rate) for row in rows if row.controller == name))
    axes.set_xlabel(label)
    axes.set_ylim(bottom=0.0)


PHASES = (("drafting", BLUE), ("uploading", ORANGE), ("ready", "#D0D0D0"), ("verifying", GREEN))
"""Of devices, with their colours in films."""


def _bars(axes: Any, rows: Sequence[BarrierRow]) -> None:
    """For each controller, what devices do, stacked, and how busy server and uplink are, as marks."""
    places = np.arange(len(rows))
    left = np.zeros(len(rows))
    for phase, colour in PHASES:
        widths = np.array([getattr(row, phase) for row in rows])
        axes.barh(places, widths, left=left, color=colour, label=f"devices {phase}")
        left += widths
    server, uplink = ([getattr(row, name) for row in rows] for name in ("server_busy", "uplink_busy"))
    axes.plot(server, places, "k|", markersize=14, markeredgewidth=2.5, label="server busy")
    axes.plot(uplink, places, color=SKY, linestyle="", marker="d", markeredgecolor="k", label="uplink busy")
    axes.set_yticks(places, [row.controller for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.02)
    axes.grid(False)
    axes.set_xlabel("share of the time")


def cells(rows: Sequence[BarrierRow]) -> tuple[Cells, list[Cells]]:
    """Rates, and gains over the best with the barrier."""
    header = ("setting", "controller", "tokens/s", "over synchronous", "of the bound", "least device")
    return header, [_line(row) for row in rows]


def _line(row: BarrierRow) -> Cells:
    setting = f"{row.preset}, {row.server}, K = {row.num_users}, {row.bandwidth_mhz:g} MHz"
    gain = f"{row.gain:.2f} ({row.gain_low:.2f} to {row.gain_high:.2f})"
    least = "" if row.controller == BOUND else f"{row.least_device:.1f}"
    return setting, row.controller, f"{row.rate:.1f}", gain, f"{row.of_bound:.3f}", least


FIGURE = FigureSpec(
    title="What the barrier costs",
    caption="Without the barrier the server verifies while devices draft and upload, and is almost always busy. Means "
    "over static systems; no policy is above the dashed bound. Servers other than the paper's are in the table, "
    "with ids.",
    compute=compute,
    draw=draw,
    size=(12.0, 7.4),
    cells=cells,
)
