"""Time and quality of every controller, in one run on one core (``OMP_NUM_THREADS=1``).

``python -m benchmarks.solvers --out results`` prints a table for each number of users, and writes JSON and a picture
of time against quality. Ratios are to ``algorithm1`` on a 100 × 100 grid in the same run. ``--plain`` adds times as on
a processor without AVX-512.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from benchmarks import plain
from multispin_env.arrays import FloatArray
from multispin_env.controllers.base import RoundsController
from multispin_env.controllers.factory import make_controller
from multispin_env.physics.dynamics import sample_state
from multispin_env.physics.rounds import expected_outcome
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

CONTROLLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "algorithm1 100x100": ("algorithm1", {"phi_points": 100, "lambda_points": 100}),
    "algorithm1 30x30": ("algorithm1", {"phi_points": 30, "lambda_points": 30}),
    "algorithm1 10x10": ("algorithm1", {"phi_points": 10, "lambda_points": 10}),
    "fixed": ("fixed", {}),
    "homogeneous": ("homogeneous", {}),
    "uniform-bandwidth": ("uniform-bandwidth", {}),
    "random": ("random", {}),
    "optimal": ("optimal", {}),
    "optimal certified 1e-6": ("optimal", {"certify": 1e-6}),
}

WRITTEN = "solvers.json"

TURNS = 3
"""Turns of a batch; the median counts."""

SLOW = 20
"""One in so many instances is given to the grid searches, whose time for an instance does not depend on it."""


def seconds(call: Callable[[], object], repeats: int) -> float:
    """Median processor time of a call in s, which other work on the machine stretches less."""
    times = []
    for _ in range(repeats):
        start = process_time()
        call()
        times.append(process_time() - start)
    return float(np.median(times))


def measure(controller: RoundsController, state: SystemState, best: FloatArray, singles: int) -> dict[str, float]:
    """Batched and single time in s, share of the certified optimum."""
    count = len(state.draft_time)
    controller(state[:1])
    batched = seconds(lambda: controller(state), TURNS) / count
    single = [seconds(lambda i=i: controller(state[i % count]), 1) for i in range(singles)]  # type: ignore[misc]
    share = expected_outcome(controller.scenario, state, controller(state)).goodput / best
    return {
        "batched_s": batched,
        "single_s": float(np.median(single)),
        "mean_share": float(share.mean()),
        "worst_share": float(share.min()),
    }


def table(scenario: Scenario, instances: int, singles: int) -> dict[str, dict[str, float]]:
    """Every controller on the same states."""
    state = sample_state(scenario, np.random.default_rng(0), instances)
    certified = make_controller("optimal", scenario, certify=1e-6)(state)
    best = expected_outcome(scenario, state, certified).goodput
    rows = {}
    for label, (name, options) in CONTROLLERS.items():
        slow = name == "algorithm1"
        few = max(2, instances // SLOW) if slow else instances
        rows[label] = measure(
            make_controller(name, scenario, **options),
            state[:few],
            best[:few],
            max(2, singles // SLOW) if slow else singles,
        )
    for row in rows.values():
        row["times_faster"] = rows["algorithm1 100x100"]["batched_s"] / row["batched_s"]
    return rows


def show(scenario: Scenario, rows: dict[str, dict[str, float]]) -> None:
    """Print one table."""
    print(f"\n{scenario.name}, K = {scenario.num_users}, {scenario.total_bandwidth / 1e6:g} MHz")
    print(f"{'controller':24}{'µs/instance':>13}{'× faster':>10}{'single ms':>11}{'mean share':>12}{'worst':>10}")
    for label, row in rows.items():
        print(
            f"{label:24}{row['batched_s'] * 1e6:13.1f}{row['times_faster']:10.1f}{row['single_s'] * 1e3:11.2f}"
            f"{row['mean_share']:12.6f}{row['worst_share']:10.6f}"
        )


MARKERS = {"o": "circle", "s": "square", "d": "diamond", "^": "triangle up", "v": "triangle down"}
SMALLEST_LOSS = 1e-9


def draw(results: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Time for an instance against what is lost to the optimum."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.0), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shown = list(zip(MARKERS, results.items(), strict=False))
    for marker, (users, rows) in shown:
        for i, (label, row) in enumerate(rows.items()):
            loss = max(1.0 - row["mean_share"], SMALLEST_LOSS)
            name = label if users == next(iter(results)) else None
            axes.loglog(row["batched_s"], loss, marker, color=f"C{i}", label=name)
    axes.set_xlabel("time for an instance (s), batched, one core")
    axes.set_ylabel(f"mean loss to the certified optimum ({SMALLEST_LOSS:g}: that or less)")
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set_title(", ".join(f"K = {users}: {MARKERS[marker]}" for marker, (users, _) in shown), fontsize="small")
    figure.savefig(path)


def times(results: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """µs of a decision, in a batch and alone."""
    return {
        f"K = {users}, {label}, {way}": row[f"{key}_s"] * 1e6
        for users, rows in results.items()
        for label, row in rows.items()
        for key, way in (("batched", "batched"), ("single", "alone"))
    }


def speeds(results: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """How many times as fast as the grid of the paper, in a batch."""
    rows = ((f"K = {users}, {label}", row) for users, table in results.items() for label, row in table.items())
    return {label: row["times_faster"] for label, row in rows}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="llama2")
    parser.add_argument("--num-users", type=int, nargs="+", default=[4, 8, 20, 100, 1024])
    parser.add_argument("--bandwidth-mhz", type=float, default=10.0)
    parser.add_argument("--user-instances", type=int, default=20_000, help="instances times users of a table")
    parser.add_argument("--singles", type=int, default=100, help="single calls timed")
    parser.add_argument("--out", type=Path, default=Path("results"))
    plain.add_option(parser)
    options = parser.parse_args()
    results = {}
    for users in options.num_users:
        scenario = Scenario.preset(options.scenario, num_users=users, total_bandwidth=options.bandwidth_mhz * 1e6)
        count = int(np.clip(options.user_instances // users, 4, 1000))
        results[str(users)] = table(scenario, count, min(options.singles, 10 * count))
        show(scenario, results[str(users)])
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / WRITTEN).write_text(json.dumps(results, indent=2), encoding="utf-8")
    draw(results, options.out / "solvers.png")
    plainly = plain.rerun("benchmarks.solvers", WRITTEN) if options.plain else None
    if plainly is not None:
        plain.show("µs of a decision", times(results), times(plainly), ",.1f")
        plain.show("times as fast as algorithm1 100x100", speeds(results), speeds(plainly), ",.1f")
        (options.out / "solvers_plain.json").write_text(json.dumps(plainly, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
