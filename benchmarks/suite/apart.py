"""Scores of random actions, of action 0, of every rule and of the bound, for the choice of tasks."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.tools import show
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.suite.statistics import Score
from multispin_env.evaluation.suite.tasks import RANDOM_ACTIONS, SuiteTask
from multispin_env.evaluation.suite.version import task, tasks


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="names (default: all)")


def run(options: Namespace) -> None:
    for entry in [task(name) for name in options.tasks] or tasks():
        show(f"{entry.name}, {entry.metric}: {entry.hard}", _rows(entry))


def _rows(entry: SuiteTask) -> Iterator[Mapping[str, Any]]:
    for name in dict.fromkeys((RANDOM_ACTIONS, "action 0", "fixed", *entry.cases[0].contenders)):
        yield _row(name, entry.score(_zeros(entry) if name == "action 0" else name))
    if entry.frozen.bound is not None:
        yield _row(f"bound: {entry.bound}", Score.of(entry.performance(entry.frozen.bound[None])))


def _row(name: str, score: Score) -> Mapping[str, Any]:
    low, high = (f"{end:.3f}" for end in score.score[1:])
    return {
        "decided by": name,
        "value": score.value.mean,
        "score": f"{score.score.mean:.3f}",
        "95 %": f"{low} to {high}",
    }


def _zeros(entry: SuiteTask) -> Any:
    columns = (native(entry.cases[0].env(entry.cases[0].config)).single_action_space.shape or ())[-1]
    return lambda observation: np.zeros((*np.shape(observation["compute"]), columns))
