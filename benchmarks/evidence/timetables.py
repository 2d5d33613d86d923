"""Rules without the barrier for 2 to 60 devices on the paper's and four measured servers, in static channels.

Mean tokens/s of some systems: devices of the preset (*sampled*), *equal* ones with the means of each system, *unequal*
ones, whose draft times grow from half to twice the mean while efficiencies fall from twice to half of it, and measured
fleets. Servers other than the paper's get ids, and lengths from 0. *Over best* is the paired mean ratio of `timetable`
to the rule that is best in the row, rounds (`synchronous`) included, with its 95 % interval; *left out* the share of
devices that `timetable` never verifies; *plan* the CPU seconds of its first decision.
"""

import csv
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.tools import HELP, PAIRS, Options, Row, cpu_seconds, interval_text, show
from multispin_env.evaluation.statistics import HELD_OUT_SEED, mean_interval
from multispin_env.files import replace_file

USERS = [2, 3, 8, 20, 60]
SERVERS = ["paper", "l40s-8b", "a100-32b", "a100-70b", "h100-32b"]
KINDS = ["sampled", "equal", "unequal"]
FLEETS = ["phones", "boards", "household"]
RULES = ("timetable", "groups", "prices", "greedy", "own-pace", "load-aware", "synchronous")


def system(preset: str, users: int, server: str, devices: str, count: int) -> tuple[ms.Scenario, ms.SystemState]:
    """Return the scenario, and devices (count, K) of a kind or a fleet."""
    fields: dict[str, Any] = {"num_users": users, "channel": "static"}
    if server != "paper":
        fields |= {"server": server, "payload": "ids", "min_draft_length": 0}
    if devices in FLEETS:
        fields["fleet"] = devices
    scenario = ms.Scenario.preset(preset, **fields)
    state = ms.sample_state(scenario, np.random.default_rng(HELD_OUT_SEED), count)
    if devices not in ("equal", "unequal"):
        return scenario, state
    factor = 2.0 ** (np.linspace(-1.0, 1.0, users) * (devices == "unequal"))
    one = np.ones(state.draft_time.shape)
    return scenario, state.changed(
        draft_time=state.draft_time.mean(-1, keepdims=True) * factor * one,
        spectral_efficiency=state.spectral_efficiency.mean(-1, keepdims=True) / factor * one,
        acceptance_rate=state.acceptance_rate.mean(-1, keepdims=True) * one,
    )


def row(preset: str, count: int, seconds: float, place: tuple[int, str, str]) -> Row:
    """Return the rates of a number of devices, a server and a kind of devices."""
    scenario, state = system(preset, *place, count)
    length = seconds * max(1.0, scenario.verification_time / 0.3)
    rates, left_out = {}, 0.0
    timetable = partial(ms.long_run, ms.make_controller("timetable", scenario), state)
    plan = cpu_seconds(lambda: timetable(warm_up=0.0, horizon=1e-9)) / count
    for name in RULES:
        run = ms.long_run(ms.make_controller(name, scenario), state, warm_up=0.3 * length, horizon=length)
        rates[name] = run.rate
        if name == "timetable":
            left_out = float((run.device_rate == 0.0).mean())
    bound = ms.rate_bound(scenario, state).value
    best = max(RULES[1:], key=lambda name: float(rates[name].mean()))
    over = rates["timetable"] / rates[best]
    return {
        "K": place[0], "server": place[1], "devices": place[2],
        **{name: float(rate.mean()) for name, rate in rates.items()}, "bound": float(bound.mean()), "best other": best,
        "over best": interval_text(mean_interval(over), ".3f"), "ratio": float(over.mean()), "least": float(over.min()),
        "of the bound": float((rates["timetable"] / bound).mean()), "left out": left_out, "plan": plan,
    }  # fmt: skip


def rows(options: Namespace) -> Iterator[Row]:
    """Yield the rows, which processes compute."""
    places = product(options.users, options.servers, [*KINDS, *FLEETS])
    with ProcessPoolExecutor(options.workers) as pool:
        yield from pool.map(partial(row, options.preset, options.states, options.seconds), places)


def summary(table: list[Row]) -> Iterator[Row]:
    """Yield means (least) over kinds of devices for each number of devices and server."""
    for users, server in dict.fromkeys((row["K"], row["server"]) for row in table):
        part = [row for row in table if (row["K"], row["server"]) == (users, server)]
        ratio, least, share, left, plan = (
            np.array([row[name] for row in part]) for name in ("ratio", "least", "of the bound", "left out", "plan")
        )
        yield {
            "K": users, "server": server, "timetable over best": f"{ratio.mean():.3f} ({least.min():.3f})",
            "of the bound": f"{share.mean():.3f} ({share.min():.3f})", "left out": f"{left.mean():.2f}",
            "plan": f"{plan.mean():.2f}",
        }  # fmt: skip


OPTIONS: Options = {
    "preset": ("qwen3.5", "", {"choices": PAIRS}),
    "users": (USERS, HELP["users"]),
    "servers": (SERVERS, "the paper's and profiles"),
    "states": (4, "systems of each row"),
    "seconds": (30.0, "simulated; longer where passes are"),
    "workers": (2, "processes"),
    "file": (None, "where to write the rows", {"type": Path}),
}


def run(options: Namespace) -> None:
    table = show("tokens/s", rows(options))
    show("means (least) over kinds of devices", summary(table))
    if options.file is not None:
        with replace_file(options.file) as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in table)
