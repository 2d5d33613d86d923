"""Scores of actions that know nothing, of every rule and of the bound, for the choice of tasks."""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.tools import Options, show
from multispin_env.evaluation.suite.statistics import Score
from multispin_env.evaluation.suite.tasks import BLIND, SuiteTask
from multispin_env.evaluation.suite.version import task, tasks

OPTIONS: Options = {"tasks": (None, "names (default: all)", {"nargs": "*"})}


def run(options: Namespace) -> None:
    for entry in [task(name) for name in options.tasks] or tasks():
        show(f"{entry.name}, {entry.metric}: {entry.hard}", _rows(entry))


def _rows(entry: SuiteTask) -> Iterator[Mapping[str, Any]]:
    for name in dict.fromkeys((*BLIND, "fixed", *entry.cases()[0].contenders)):
        yield _row(name, entry.score(name))
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
