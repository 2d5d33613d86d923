"""Scores after 10,000, 100,000 and 1,000,000 steps, twenty times the budget of an entry.

Trains PPO of Stable-Baselines3 with `DevicePolicy` and our `ppo` in two tasks, and stores each training in a folder, as
``multispin suite run`` does. Stored trainings are not repeated.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.tools import Options, Row, show
from multispin_env.apps.executors import Serial
from multispin_lab.suite.entries import CURVE
from multispin_lab.suite.trainer import Cell, train_missing, with_curve

FOLDER = Path(__file__).parents[2] / "docs" / "results" / "suite" / "long"

METHODS = {"PPO with DevicePolicy": "benchmarks.suite.methods:parallel_device_ppo", "ppo (ours)": "ppo"}

OPTIONS: Options = {
    "tasks": ["hidden", "battery"],
    "seeds": (1, "trainings of each method in each task"),
    "steps": (1_000_000, "of the environment, for each training"),
    "out": (str(FOLDER), "folder of the trainings"),
}


def rows(cells: Sequence[tuple[str, Cell, Path]]) -> Iterator[Row]:
    for method, cell, folder in cells:
        train_missing([cell], folder, Serial())
        content = with_curve(cell, folder)
        assert content is not None, f"the training of {cell.name} failed, see {folder}/failed"
        steps = [f"{round(part * cell.steps):,}" for part in CURVE]
        named = dict(zip(steps, (f"{score:.3f}" for score in content["curve"]), strict=True))
        cost = {"steps": content["steps"], "CPU s": f"{content['cpu_seconds']:.0f}"}
        yield {"task": cell.task, "method": method, "seed": cell.seed, **named, **cost}


def run(options: Namespace) -> None:
    out = Path(options.out)
    cells = [
        (method, Cell(agent, name, seed, options.steps), out / agent.rpartition(":")[2])
        for name in options.tasks
        for method, agent in METHODS.items()
        for seed in range(options.seeds)
    ]
    show("Long trainings", rows(cells))
