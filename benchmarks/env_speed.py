"""Steps per second of every environment: ``python -m benchmarks.env_speed --out results/env_speed``.

Counts env-steps (one round of one copy) per second of CPU time, on one core, with random actions drawn beforehand:
single environments as `gymnasium.make` gives them, Gymnasium's sync vector of them, and the native vector; beside
them in the same run Gymnasium's own native CartPole, mobile-env where it is installed (``pip install -e
".[benchmark]"``), and the floor: the bare draw of one standard exponential for each user, without which there is no
round of fading.

Whole episodes are timed, with their restarts. The things compared take turns, so that a busy machine slows all of
them, and the best of the turns counts. ``--quick`` is a smoke test of less than 20 s.
"""

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path

import gymnasium as gym
import numpy as np

from benchmarks.speed.profile import profile, show_profiles
from benchmarks.speed.report import draw, show, targets
from benchmarks.speed.streams import show_streams, streams
from benchmarks.speed.subjects import ENCODINGS, QUICK, REFERENCE_K, REFERENCE_N, Grid, measure


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: few N, one K, short turns")
    parser.add_argument("--out", type=Path, default=Path("results/env_speed"))
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
    (options.out / "env_speed.json").write_text(json.dumps(report, indent=2))
    draw(subjects, grid, options.out / "env_speed.png")
    print(f"written: {options.out}/env_speed.json, {options.out}/env_speed.png")


if __name__ == "__main__":
    main()
