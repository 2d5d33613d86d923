"""Payoff of distributed drafting over servers alone: goodput, and users served (docs/evidence/serving.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.baselines.systems import autoregressive_goodput, colocated_goodput, overlapping_goodput
from multispin_env.controllers.base import Controller
from multispin_env.controllers.names import make_controller
from multispin_env.evaluation.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY
from multispin_env.evaluation.statistics import Cells, mean_interval
from multispin_env.physics.arrivals import make_arrivals
from multispin_env.physics.lengths import make_lengths
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.physics.types import SystemState
from multispin_env.physics.workload import ServiceLevel, Workload
from multispin_env.registry import SERVERS
from multispin_env.scenario import Scenario
from multispin_env.simulation.long_run import long_run
from multispin_lab.drawing import Series, legend_below
from multispin_lab.planning.capacity import MAX_USERS, capacity
from multispin_lab.reproduce.figure import PRESETS, FigureSpec, Scale, scenario_at

NAMES = {
    "autoregressive": "server alone",
    "colocated": "server drafts for all",
    "overlapping": "drafts overlap (at most)",
    "multi-spin": "rounds",
    "multi-spin-ahead": "rounds, ahead",
    "no-barrier": "no barrier",
    "no-barrier-ahead": "no barrier, ahead",
}
"""Systems, the simplest first."""

_LOOKS = {
    "autoregressive": (BLACK, "", "--"),
    "overlapping": (ORANGE, "s", "--"),
    "multi-spin": (BLUE, "o", "-"),
    "multi-spin-ahead": (RED, "D", "-"),
    "no-barrier": (SKY, "o", "--"),
    "no-barrier-ahead": (PURPLE, "D", "--"),
}
"""Lines of the picture, relative to the server that drafts for all."""

RECORDED = ("a100-32b", "a100-70b")
"""Servers with recorded passes but no draft times, which are those of `_DRAFTS_OF`."""

_DRAFTS_OF = "a100-8b"

_BY_TABLES = ("a100-8b", "h100-27b", "b200-32b", "l40s-8b", "rtx-pro-6000-8b")
_FREE_RULES: dict[str, dict[str, Any]] = {"own-pace": {}, "greedy": {}, "groups": {"groups": 2}}
"""Rules without the barrier, with their options."""

_MOST_GROUPED = 60  # most devices for `groups`, which is slow with more
_PRICE = 1.3
"""Price of a second with drafting ahead, in goodputs of the best rounds without it.

On other devices than those of the figure, 20 to 240, it reached at least 97 % of the rate at the best price.
"""

WARM_UP, _ROUNDS = 5, 10  # simulated rounds; without the barrier, the time of twice as many


@dataclass(frozen=True)
class _PayRow:
    """Result of a system in a setting, mean over static devices."""

    preset: str
    server: str  # profile, or "own law": that of the stack on which the pair was measured
    payload: str
    num_users: int
    system: str  # one of `NAMES`
    rule: str  # of devices that draft
    states: int
    rate: float  # tokens/s
    rate_low: float  # 95 % interval
    rate_high: float
    over: float  # mean of its rate over that of `colocated`, for the same devices
    low: float  # 95 % interval
    high: float
    best: bool  # whether no system has a higher rate, and no simpler one the same


def _pay_settings(scale: Scale) -> list[tuple[str, str, int]]:
    servers = scale.pick(("", *RECORDED, *_BY_TABLES), ("", "a100-32b"))
    return list(product(PRESETS, servers, scale.pick((20, 60, 120, 240), (5, 20))))


def pay_rows(scale: Scale, setting: tuple[str, str, int]) -> list[_PayRow]:
    """Return rows of all systems for a pair on a server (empty: its own) and K devices."""
    preset, server, users = setting
    scenario = pay_scenario(preset, server, num_users=users)
    state = sample_state(scenario, np.random.default_rng(scale.seed), scale.pick(5, 2))
    rates = system_rates(scenario, state, scale.pick(1.0, 0.5))
    best = winner_of({system: float(rate.mean()) for system, (rate, _) in rates.items()})
    base, _ = rates["colocated"]
    head = preset, server or "own law", scenario.payload, users
    return [
        _PayRow(*head, system, rule, len(base), *mean_interval(rate), *mean_interval(rate / base), system == best)
        for system, (rate, rule) in rates.items()
    ]


def pay_scenario(preset: str, server: str, **fields: Any) -> Scenario:
    """Return a pair at 10 MHz with draft lengths from 0 on a server (empty: its own) that can draft."""
    scenario = scenario_at(preset, 10.0, server, **{"min_draft_length": 0} | fields)
    drafting = SERVERS.load(_DRAFTS_OF).draft_pieces if server in RECORDED else scenario.server_draft_pieces
    return scenario.replace(server_draft_pieces=drafting)


def system_rates(scenario: Scenario, state: SystemState, part: float = 1.0) -> dict[str, tuple[FloatArray, str]]:
    """Return tokens/s (n,) of each system and its rule; ``part`` shortens the simulated time.

    Rounds cannot draft ahead if uploads are lost: then `multi-spin-ahead` is missing.
    """
    ahead = scenario.replace(draft_ahead=True)
    rounds = expected_outcome(scenario, state, make_controller("optimal", scenario)(state))
    time = part * float(rounds.round_latency.mean())

    def simulated(controller: Controller, rounds: float) -> FloatArray:
        return long_run(controller, state, warm_up=WARM_UP * time, horizon=rounds * time).rate

    def best_free(system: Scenario) -> tuple[FloatArray, str]:
        rules = [rule for rule in _FREE_RULES if rule != "groups" or system.num_users <= _MOST_GROUPED]
        made = {rule: make_controller(rule, system, **_FREE_RULES[rule]) for rule in rules}
        rates = ((simulated(controller, 2 * _ROUNDS), rule) for rule, controller in made.items())
        return max(rates, key=lambda pair: pair[0].mean())

    waiting: dict[str, tuple[FloatArray, str]] = {"multi-spin": (rounds.goodput, "optimal")}
    if not scenario.upload_loss:
        price = make_controller("ahead-price", ahead, rho=_PRICE * rounds.goodput)
        waiting["multi-spin-ahead"] = simulated(price, _ROUNDS), "ahead-price"
    return {
        "autoregressive": (autoregressive_goodput(scenario, state), ""),
        "colocated": (colocated_goodput(scenario, state), ""),
        "overlapping": (overlapping_goodput(scenario, state), ""),
        **waiting,
        "no-barrier": best_free(scenario),
        "no-barrier-ahead": best_free(ahead),
    }


FIVE = {
    "no drafts": ("autoregressive",),
    "server drafts": ("colocated",),
    "rounds": ("multi-spin",),
    "no barrier": ("no-barrier",),
    "drafting ahead": ("multi-spin-ahead", "no-barrier-ahead"),
}
"""Systems that can be built, with `NAMES`; of several the one with the higher rate."""


def five_rates(scenario: Scenario, state: SystemState) -> dict[str, FloatArray]:
    """Return tokens/s (n,) of the systems of `FIVE`."""
    rates = {system: rate for system, (rate, _) in system_rates(scenario, state).items()}
    return {name: max((rates[of] for of in systems if of in rates), key=np.mean) for name, systems in FIVE.items()}


def winner_of(rates: Mapping[str, float]) -> str:
    """Return the system with the highest rate; of those that are equal up to rounding, the first."""
    return max(rates, key=lambda system: round(rates[system], 6))


def _draw_pay(rows: Sequence[_PayRow], figure: Any) -> None:
    panels_of = list(dict.fromkeys((row.preset, row.server) for row in rows))
    columns = min(len(panels_of) // len(PRESETS), 4)
    panels = figure.subplots(len(panels_of) // columns, columns, squeeze=False, sharex=True, sharey=True)
    users = sorted({row.num_users for row in rows})
    for axes, (preset, server) in zip(panels.flat, panels_of, strict=True):
        shown_rows = [row for row in rows if (row.preset, row.server) == (preset, server)]
        for system, look in _LOOKS.items():
            series = Series(NAMES[system], look, "over", {"system": system}, band=True)
            series.draw(axes, list(map(vars, shown_rows)), "num_users")
        axes.axhline(1.0, color=ORANGE, label=NAMES["colocated"])
        axes.set_title(f"{preset}, {server}", fontsize="medium")
        axes.set_xscale("log")
        axes.set_xticks(users, [str(count) for count in users])
        axes.minorticks_off()
        axes.set_ylim(0.0, 2.25)
    for axes in panels[:, 0]:
        axes.set_ylabel("over drafts for all")
    for axes in panels[-1]:
        axes.set_xlabel("devices K")
    legend_below(figure, panels[0, 0], 4)


def _pay_cells(rows: Sequence[_PayRow]) -> tuple[Cells, list[Cells]]:
    header = ("pair, server, payload", "K", *NAMES.values(), "best", "devices' best over drafts for all")
    lines: list[Cells] = []
    for setting in dict.fromkeys((row.preset, row.server, row.payload, row.num_users) for row in rows):
        systems = {row.system: row for row in rows if (row.preset, row.server, row.payload, row.num_users) == setting}
        (best,) = (NAMES[row.system] for row in systems.values() if row.best)
        drafting = max((row for row in systems.values() if row.rule), key=lambda row: row.rate)
        rates = (f"{systems[system].rate:.0f}" for system in NAMES)
        over = f"{drafting.over:.2f} ({drafting.low:.2f} to {drafting.high:.2f})"
        lines.append((", ".join(setting[:3]), str(setting[3]), *rates, best, over))
    return header, lines


PAY = FigureSpec(
    title="Does it pay?",
    caption="Goodput over that of a server that hosts both models and drafts for all (1), at 10 MHz with draft lengths "
    "from 0: the server alone, at most of one whose drafts overlap with verification, and of devices that draft, in "
    "rounds and without the barrier, ahead or not; on the law of each pair's own stack, where distributions are "
    "uploaded, and on other servers with ids. Means over static devices with 95 % bands.",
    settings=_pay_settings,
    rows=pay_rows,
    draw=_draw_pay,
    size=(9.6, 9.2),
    cells=_pay_cells,
    seconds=130.0,
)


_COLOURS = {
    "autoregressive": BLACK,
    "colocated": ORANGE,
    "optimal": RED,
    "greedy": GREEN,
    "greedy+deadlines": GREEN,
    "load-aware": PURPLE,
}
"""Servers without drafting devices, and rules but those that plan batches, which take minutes with many devices."""

PER_TOKEN = {"": {"llama2": 0.08, "qwen3.5": 0.11}, "a100-32b": dict.fromkeys(PRESETS, 0.03)}
"""Seconds of the limit per token, by server (the paper's law first) and pair."""

FIRST, _THINK = 0.5, 10.0  # limit without tokens; mean time from an answer to the next question


@dataclass(frozen=True)
class _CapacityFigureRow:
    """Most devices with 95 % of the requests in time."""

    preset: str
    server: str  # profile, or "paper"
    per_token: float  # s, of the limit
    system: str  # or rule
    capacity: float  # devices
    low: float  # 95 % interval
    high: float  # infinite where a search ended at its limit
    more: bool  # whether the search ended at its limit
    tokens_in_time: float  # tokens/s at the largest number tried that meets the level
    ttft_p95: float  # s
    tpot_p95: float  # s


def _capacity_settings(scale: Scale) -> list[tuple[str, str, str]]:
    servers, systems = scale.pick(tuple(PER_TOKEN), ("",)), scale.pick(tuple(_COLOURS), ("autoregressive", "greedy"))
    return list(product(PRESETS, servers, systems))


def _capacity_rows(scale: Scale, setting: tuple[str, str, str]) -> list[_CapacityFigureRow]:
    preset, server, system = setting
    scenario = scenario_at(preset, 10.0, server, num_users=16)  # start of the search
    per_token = PER_TOKEN[server][preset]
    level = ServiceLevel(e2el=FIRST, e2el_per_token=per_token)
    arrivals, lengths = make_arrivals("think"), make_lengths("geometric")
    people = Workload(rate=scenario.num_users / _THINK, arrivals=arrivals, lengths=lengths, level=level)
    result = capacity(
        scenario,
        workload=people,
        controller=system,
        by="users",
        copies=scale.pick(16, 2),
        warm_up=scale.pick(10.0, 4.0),
        horizon=scale.pick(20.0, 6.0),
        channel="static",
        seed=scale.seed,
        requests=scale.pick(400, 20),
    )
    run, reached = result.run, (result.value, result.low, result.high, result.value >= MAX_USERS)
    there = (run.tokens_in_time.mean(), run.pooled.ttft[1], run.pooled.tpot[1]) if run else (0.0, 0.0, 0.0)
    return [_CapacityFigureRow(preset, server or "paper", per_token, system, *reached, *map(float, there))]


def _draw_capacity(rows: Sequence[_CapacityFigureRow], figure: Any) -> None:
    presets, servers = (list(dict.fromkeys(getattr(row, name) for row in rows)) for name in ("preset", "server"))
    panels = figure.subplots(len(servers), len(presets), squeeze=False)
    for line, server in zip(panels, servers, strict=True):
        for axes, preset in zip(line, presets, strict=True):
            _capacity_bars(axes, [row for row in rows if (row.preset, row.server) == (preset, server)])


def _capacity_bars(axes: Any, rows: Sequence[_CapacityFigureRow]) -> None:
    positions, values = np.arange(len(rows)), np.array([row.capacity for row in rows])
    ends = np.minimum([[row.low for row in rows], [row.high for row in rows]], MAX_USERS)  # those that were tried
    errors = np.maximum(np.abs(ends - values), 0.0)
    axes.barh(
        positions, values, color=[_COLOURS[row.system] for row in rows], xerr=errors, ecolor="#606060", capsize=2.5
    )
    for position, row, end in zip(positions, rows, ends[1], strict=True):
        text = f" {row.capacity:.0f}{' or more' if row.more else ''}"
        axes.text(max(end, row.capacity), position, text, va="center")
    axes.set_yticks(positions, [row.system for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0.0, 1.3 * max(ends.max(), 1.0))
    axes.set_title(f"{rows[0].preset}, {rows[0].server}: {FIRST:g} s + {1e3 * rows[0].per_token:g} ms a token")
    axes.set_xlabel("devices")
    axes.grid(False, axis="y")


def _served_cells(rows: Sequence[_CapacityFigureRow]) -> tuple[Cells, list[Cells]]:
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
    f"{_THINK:g} s on average between an answer of 60 tokens and the next question: a server alone, one that drafts "
    "for all, and Multi-SPIN with each rule, at 10 MHz; bars with 95 % intervals. On servers other than the paper's "
    "law, ids are uploaded.",
    settings=_capacity_settings,
    rows=_capacity_rows,
    draw=_draw_capacity,
    size=(11.0, 6.0),
    cells=_served_cells,
    seconds=240.0,
)
