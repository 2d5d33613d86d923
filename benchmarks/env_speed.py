"""Steps per second of every environment: ``python -m benchmarks.env_speed --out results/env_speed``.

Counts env-steps (one round of one copy) per second of CPU time, on one core, with random actions drawn beforehand:
single environments as `gymnasium.make` gives them, Gymnasium's sync vector of them, and the native vector; beside
them in the same run Gymnasium's own native CartPole, mobile-env where it is installed (``pip install -e
".[benchmark]"``), and the floor: the bare draw of one standard exponential for each user, without which there is no
round of fading.

Whole episodes are timed, with their restarts. The things compared take turns, so that a busy machine slows all of
them, and the best of the turns counts. ``--quick`` is a smoke test of less than 20 s. ``--plain`` runs all of it once
more as on a processor without AVX-512 and prints both columns.
"""

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks import plain
from benchmarks.speed.profile import profile, show_profiles
from benchmarks.speed.report import draw, show, targets
from benchmarks.speed.streams import show_streams, streams
from benchmarks.speed.subjects import ENCODINGS, QUICK, REFERENCE_K, REFERENCE_N, Grid, measure

WRITTEN = "env_speed.json"


def compare(usual: dict[str, Any], plainly: dict[str, Any]) -> None:
    """Print both columns: env-steps per CPU-second, parts of a step, targets."""
    plain.show("env-steps per CPU-second", _rates(usual), _rates(plainly))
    plain.show("µs of one call of step", _parts(usual), _parts(plainly), ",.1f")
    plain.show("targets", _goals(usual), _goals(plainly), ",.3f")


def _rates(report: dict[str, Any]) -> dict[str, float]:
    rates = {}
    for row in report["subjects"]:
        name = " ".join(filter(None, (row["name"], row["env_id"].rpartition("/")[2], row["action"])))
        rates[f"{name}, K = {row['users'] or '-'}, N = {row['copies']}"] = row["steps_per_cpu_second"]
    return rates


def _parts(report: dict[str, Any]) -> dict[str, float]:
    return {f"{label}: {part}": spent for label, parts in report["profiles"].items() for part, spent in parts.items()}


def _goals(report: dict[str, Any]) -> dict[str, float]:
    return {row["target"]: row["measured"] for row in report["targets"]}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: few N, one K, short turns")
    parser.add_argument("--out", type=Path, default=Path("results/env_speed"))
    plain.add_option(parser)
    options = parser.parse_args()
    grid = QUICK if options.quick else Grid()
    subjects = measure(grid)
    show(subjects, grid)
    profiles = {
        "single residual": profile(1, "residual", grid.turns),
        **{f"N = {REFERENCE_N} {action}": profile(REFERENCE_N, action, grid.turns) for action in ENCODINGS},
    }
    show_profiles(profiles)
    drawn = streams(grid.turns)
    show_streams(drawn)
    goals = targets(subjects)
    print(f"\ntargets, K = {REFERENCE_K}")
    for row in goals:
        met = "met   " if row["met"] else "MISSED"
        print(f"{met} {row['measured']:14,.3f} of {row['at_least']:>11,.1f}  {row['target']}")
    options.out.mkdir(parents=True, exist_ok=True)
    rows = [{k: v for k, v in vars(s).items() if k != "play"} | {"steps_per_cpu_second": s.rate} for s in subjects]
    versions = {"python": platform.python_version(), "numpy": np.__version__, "gymnasium": gym.__version__}
    report = {"versions": versions, "grid": asdict(grid), "subjects": rows, "profiles": profiles, "streams": drawn}
    report["targets"] = goals
    plainly = plain.rerun("benchmarks.env_speed", WRITTEN) if options.plain else None
    if plainly is not None:
        compare(report, plainly)
        report["plain"] = plainly
    (options.out / WRITTEN).write_text(json.dumps(report, indent=2), encoding="utf-8")
    draw(subjects, grid, options.out / "env_speed.png")
    print(f"written: {options.out}/{WRITTEN}, {options.out}/env_speed.png")


if __name__ == "__main__":
    main()
