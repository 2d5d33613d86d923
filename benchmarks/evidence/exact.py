"""Exact optimum without the barrier for two and three devices, bounds and rules, in static channels.

*Optimum* is a rate that a cycle of batches attains, *end* one that no policy exceeds (`benchmarks.exact_continuous`).
First 17 systems of llama2: *sampled* devices, *equal* ones with their means, and *unequal* ones with draft times from
half to twice the mean, acceptance rates of ∓ 0.15 and efficiencies of twice to half the mean. Then 40 of both pairs
with other sampled devices; in a wide one T_k = T̄ 10^U(−0.5, 0.5). Servers other than the paper's get ids and lengths
from 0. Lengths are at most *L ≤* for all.
"""

import csv
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import multispin_env as ms
from benchmarks.continuous_systems import System
from benchmarks.exact_continuous import OUTSIDE, make_fleet, optimum
from benchmarks.plan.__main__ import Plan
from benchmarks.tools import Options, Row, show
from multispin_env.arrays import IntArray
from multispin_env.evaluation.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, save
from multispin_env.evaluation.statistics import HELD_OUT_SEED
from multispin_env.files import replace_file
from multispin_env.physics.continuous.averages import play, seeded_core
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.units import MHZ
from multispin_lab.drawing import legend_below

RULES = {"timetable": BLACK, "groups": BLUE, "prices": PURPLE, "greedy": GREEN, "own-pace": SKY, "synchronous": RED}
LONGEST = {"llama2": (12, 6), "qwen3.5": (16, 14)}
"""Caps of lengths for two and three devices."""
MOST_STATES = {2: 150_000, 3: 100_000}
PASSES = 500  # of the rules, of one draft each
MEASURED = "l40s-8b", "a100-32b", "h100-32b"


class Case(NamedTuple):
    """System of the table."""

    users: int
    server: str  # profile, or "paper" and MHz
    devices: str  # kind, or number of a sample
    preset: str = "llama2"
    wide: bool = False

    @property
    def name(self) -> str:
        """Name in tables."""
        kind = f"{self.preset} {'wide' if self.wide else 'narrow'} " if self.devices.isdigit() else ""
        return f"K{self.users} {self.server} {kind}{self.devices}"

    @property
    def scenario(self) -> ms.Scenario:
        """Scenario with capped lengths."""
        longest = LONGEST[self.preset][self.users - 2]
        fields: dict[str, Any] = {"num_users": self.users, "max_draft_length": longest, "channel": "static"}
        if self.server in MEASURED:
            fields |= {"server": self.server, "payload": "ids", "min_draft_length": 0}
            if self.users == 3:
                fields["max_draft_length"] = min(fields["max_draft_length"], 10)  # passes are short
        elif megahertz := self.server.partition(" ")[2]:
            fields["total_bandwidth"] = float(megahertz) * MHZ
        return ms.Scenario.preset(self.preset, **fields)

    @property
    def state(self) -> ms.SystemState:
        """Devices (K,)."""
        if self.devices.isdigit():
            number = int(self.devices)
            return System(self.preset, self.users, 10, self.wide).states(HELD_OUT_SEED, number + 1)[number]
        state = ms.sample_state(self.scenario, np.random.default_rng(0))
        if self.devices == "sampled":
            return state
        spread = np.linspace(-1.0, 1.0, self.users) * (self.devices == "unequal")
        return state.changed(
            draft_time=state.draft_time.mean() * 2.0**spread,
            spectral_efficiency=state.spectral_efficiency.mean() * 2.0**-spread,
            acceptance_rate=state.acceptance_rate.mean() + 0.15 * spread,
        )


def cases() -> list[Case]:
    """Return the systems of the table."""
    kinds = ["sampled", "equal", "unequal"]
    named = [Case(2, "paper", kind) for kind in kinds]
    named += [Case(2, server, kind) for server in ("paper 2.5", *MEASURED[:2]) for kind in kinds[::2]]
    named += [Case(2, MEASURED[2], kinds[0])] + [Case(3, "paper", kind) for kind in kinds]
    named += [Case(3, server, kind) for server in MEASURED[:2] for kind in kinds[::2]]
    pairs = [(2, server, str(i)) for server in ("paper", *MEASURED[:2]) for i in range(2)]
    pairs += [(3, server, str(i)) for server in ("paper", MEASURED[1]) for i in range(2)]
    return named + [Case(*pair, preset, wide) for pair, preset, wide in product(pairs, LONGEST, (False, True))]


def text(table: IntArray) -> str:
    """Return the batches of a table by the lengths of their devices, with – for a device outside."""
    return " ".join(f"({','.join('–' if n == OUTSIDE else str(n) for n in row)})" for row in table)


def row(case: Case) -> Row:
    """Return the optimum, bounds and rates of rules in tokens/s."""
    scenario, state = case.scenario, case.state
    fleet = make_fleet(scenario, state)
    best, horizon = optimum(fleet, 1e-3, MOST_STATES[case.users]), PASSES * float(fleet.pass_time[1, 0])
    rates = {
        name: float(ms.long_run(ms.make_controller(name, scenario), state, warm_up=0.1 * horizon, horizon=horizon).rate)
        for name in RULES
    }
    others = max(rate for name, rate in rates.items() if name != "timetable")
    bound = float(ms.rate_bound(scenario, state).value)
    tight = float(ms.rate_bound(scenario, state, tight=True).value) if scenario.law.flat else np.nan
    return {
        "system": case.name, "L ≤": scenario.max_draft_length, "optimum": best.rate, "end": min(best.bound, bound),
        "bound": bound, "tight": tight, **rates, "timetable / optimum": rates["timetable"] / best.rate,
        "groups / optimum": rates["groups"] / best.rate, "best other / optimum": others / best.rate,
        "optimum / bound": best.rate / bound, "cycle": text(best.table),
    }  # fmt: skip


def draw_shares(rows: list[Row], figure: Any) -> None:
    """Draw rules over the optimum, and the optimum and its end over the bound."""
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3.0, 1.0))
    places = np.arange(len(rows))
    for name, colour in RULES.items():
        shares = [row[name] / row["optimum"] for row in rows]
        left.plot(shares, places, "o", color=colour, markersize=4, label=name, alpha=0.8)
    for value, colour, mark in (("optimum", BLACK, "|"), ("end", ORANGE, "|"), ("tight", SKY, "x")):
        shares = [row[value] / row["bound"] for row in rows]
        right.plot(shares, places, mark, color=colour, markersize=7, label=value)
    left.set_yticks(places, [row["system"] for row in rows], fontsize=6.5)
    left.set_ylim(len(rows) - 0.5, -0.5)
    left.set_xlabel("rule / optimum")
    right.set_xlabel("of the bound")
    legend_below(figure, left, 4, right)


def draw_cycle(case: Case, table: IntArray, figure: Any) -> None:
    """Draw the best cycle and `groups` over time."""
    scenario = case.scenario
    controllers = {"best cycle": Plan(scenario, (table,)), "groups": ms.make_controller("groups", scenario)}
    panels = figure.subplots(len(controllers), 1, sharex=True)
    for axes, (name, controller) in zip(panels, controllers.items(), strict=True):
        _draw_timeline(axes, case, controller)
        axes.set_title(f"{case.name}: {name}", fontsize=9)
    legend_below(figure, panels[0], 3)
    panels[-1].set_xlabel("ms")


def _draw_timeline(axes: Any, case: Case, controller: Any, batches: int = 9) -> None:
    core = seeded_core(ContinuousSystem.of(case.scenario, controller.discipline), 1, 0, drawn=False)
    core.hold(case.state.mapped(lambda array: array[None]))
    now = 0.0
    for step, (_, outcome) in enumerate(play(core, controller.decide_continuous, 24 + batches)):
        if step < 24:
            continue
        begin, end = outcome.start_delay[0], outcome.duration[0]
        for k in range(case.users):
            drafted, uploaded = np.minimum((outcome.drafted_at[0, k], outcome.uploaded_at[0, k]), end)
            parts = {"drafts": (0.0, drafted, BLUE), "uploads": (drafted, uploaded, ORANGE)}
            if outcome.verified[0, k]:
                parts["is verified"] = (begin, end, GREEN)
                middle = 1e3 * (now + 0.5 * (begin + end))
                axes.text(middle, k, f"{outcome.draft_length[0, k]}", ha="center", va="center", fontsize=8)
            for start, stop, colour in parts.values():
                axes.barh(k, 1e3 * (stop - start), 0.7, 1e3 * (now + start), color=colour)
        axes.barh(case.users, 1e3 * (end - begin), 0.7, 1e3 * (now + begin), color=GREEN)
        now += end
    for label, colour in (("drafts", BLUE), ("uploads", ORANGE), ("is verified", GREEN)):
        axes.barh(0, 0.0, color=colour, label=label)
    axes.set_yticks(range(case.users + 1), [*(f"device {k + 1}" for k in range(case.users)), "server"])
    axes.invert_yaxis()


def _tokens(cell: str) -> list[int]:
    return [OUTSIDE if n == "–" else int(n) for n in cell.strip("()").split(",")]


def results(chosen: list[Case], workers: int) -> Iterator[Row]:
    """Yield the rows of cases, which processes compute."""
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(row, chosen)


def summary(chosen: list[Case], rows: list[Row]) -> Iterator[Row]:
    """Yield means and least ratios of kinds of systems, and of all."""
    ratios = [
        {name: row[name] for name in row if " / " in name}
        | {"synchronous / optimum": row["synchronous"] / row["optimum"], "optimum / end": row["optimum"] / row["end"]}
        for row in rows
    ]
    kinds = [f"sampled, K = {case.users}" if case.devices.isdigit() else "17, llama2" for case in chosen]
    for kind in (*dict.fromkeys(kinds), "all"):
        parts = [ratio for ratio, other in zip(ratios, kinds, strict=True) if kind in (other, "all")]
        columns = {name: np.array([part[name] for part in parts]) for name in parts[0]}
        yield {"systems": kind} | {name: f"{x.mean():.3f} ({x.min():.3f})" for name, x in columns.items()}


OPTIONS: Options = {
    "systems": ("", "words of their names (default: all)"),
    "workers": (2, "processes"),
    "folder": (None, "folder of exact.csv and two pictures", {"type": Path}),
}


def run(options: Namespace) -> None:
    chosen = [case for case in cases() if all(word in case.name.split() for word in options.systems.split())]
    if not chosen:
        raise ValueError(f"systems: expected words of {[case.name for case in cases()]}, got {options.systems!r}")
    if options.folder is not None:
        options.folder.mkdir(parents=True, exist_ok=True)
    rows = show("tokens/s", results(chosen, options.workers))
    show("ratios, means (least)", summary(chosen, rows))
    if options.folder is None:
        return
    with replace_file(options.folder / "exact.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    save(lambda figure: draw_shares(rows, figure), (8.5, 1.5 + 0.14 * len(rows)), options.folder / "exact", [".png"])
    worst = int(np.argmin([row["groups / optimum"] for row in rows]))
    table = np.array([_tokens(cell) for cell in rows[worst]["cycle"].split()])
    save(lambda figure: draw_cycle(chosen[worst], table, figure), (9.0, 4.0), options.folder / "exact-cycle", [".png"])
