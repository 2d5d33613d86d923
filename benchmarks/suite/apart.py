"""Scores of actions that know nothing, of every rule and of the bound, for the choice of tasks."""

from argparse import Namespace
from collections.abc import Iterator
from itertools import chain

from benchmarks.tools import Options, Row, interval_text, show
from multispin_lab.suite.statistics import Score
from multispin_lab.suite.tasks import BLIND, SuiteTask
from multispin_lab.suite.version import task, tasks

OPTIONS: Options = {"tasks": (None, "names (default: all)", {"nargs": "*"})}


def run(options: Namespace) -> None:
    for entry in [task(name) for name in options.tasks] or tasks():
        show(f"{entry.name}, {entry.metric}: {entry.hard}; attainable: {entry.attainable_text}", _rows(entry))


def _rows(entry: SuiteTask) -> Iterator[Row]:
    names = dict.fromkeys((*BLIND, "fixed", *entry.cases()[0].contenders))
    scores = ((name, entry.score(name)) for name in names)
    bound = entry.frozen.bound
    known = [] if bound is None else [(f"bound: {entry.bound}", Score.of(entry.performance(bound[None])))]
    for name, score in chain(scores, known):
        text = interval_text(score.score, ".3f")
        yield {"decided by": name, "value": score.value.mean, "score (95 %)": text}
