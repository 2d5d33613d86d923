"""Leaderboard of the suite: scores of methods over all tasks, with their training cost."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from multispin_env.evaluation.statistics import Cells, Interval
from multispin_env.evaluation.suite.entries import CURVE, SuiteEntry, TaskValues, entry_performances, performances
from multispin_env.evaluation.suite.statistics import (
    Performance,
    Score,
    aggregate,
    difference,
    interquartile_mean,
    median_task,
    worst_task,
)
from multispin_env.evaluation.suite.tasks import PUBLIC
from multispin_env.evaluation.suite.version import task

READ = " *"  # mark of rows whose public scores were read


@dataclass(frozen=True, eq=False)
class LeaderRow:
    """Results of one method in all tasks.

    ``fresh`` has the values in a fresh exam, with its number, if it was played. ``curves`` are the scores (points,
    seeds) of each task that the entry claims; they are not verified. ``is_read`` is whether the values of the public
    exam are those that the entry claims too, and were not played again.
    """

    entry: SuiteEntry
    played: TaskValues
    curves: TaskValues | None
    fresh: tuple[TaskValues, int] | None
    is_read: bool

    @cached_property
    def performances(self) -> dict[str, Performance]:
        """Performance in each task of the public exam."""
        return entry_performances(self.entry, self.played)

    @cached_property
    def scores(self) -> dict[str, Score]:
        """Score in each task of the public exam."""
        return {name: Score.of(performance) for name, performance in self.performances.items()}

    @cached_property
    def aggregates(self) -> dict[str, Interval | None]:
        """Aggregates with 95 % intervals over seeds and cases, by name; ``fresh`` is the IQM in the fresh exam."""
        tasks = list(self.performances.values())
        iqm, median, worst = aggregate(tasks, interquartile_mean, median_task, worst_task)
        fresh = None
        if self.fresh is not None:
            (fresh,) = aggregate(list(entry_performances(self.entry, *self.fresh).values()), interquartile_mean)
        return {"iqm": iqm, "fresh": fresh, "median": median, "worst": worst}

    @property
    def iqm(self) -> float:
        """Interquartile mean over tasks and seeds in the public exam."""
        return float(interquartile_mean([performance.mean_scores for performance in self.performances.values()]))

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.entry.method

    @property
    def label(self) -> str:
        """Name of the method, with the tasks that are played by rules."""
        rules, played = self.entry.rules, len(self.scores) - len(self.entry.gaps)
        part = "" if len(rules) == played else f" in {len(rules)} of {played} tasks"
        return f"{self.method} (rule{part})" if rules else self.method

    @property
    def seeds(self) -> int:
        """Smallest number of different policies in a task."""
        return min(len(self.entry.distinct(name)) for name in self.scores if name not in self.entry.gaps)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers by name, for CSV and JSON; scores of tasks without a policy are empty."""
        plain = ("method", "authors", "link", "repository", "revision", "steps", "seconds", "cpu_seconds")
        row: dict[str, Any] = {name: getattr(self.entry, name) for name in plain}
        row |= {"seeds": self.seeds, "rules": " ".join(self.entry.rules), "gaps": " ".join(self.entry.gaps)}
        row["public"] = "read" if self.is_read else "played"
        intervals = self.aggregates | {
            name: None if name in self.entry.gaps else score.score for name, score in self.scores.items()
        }
        for name, numbers in intervals.items():
            mean, low, high = numbers or (None, None, None)
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        return row


def escaped(text: str) -> str:
    """Return a text without characters that have a meaning in Markdown, HTML or formulas."""
    return re.sub(r"[&<>|$`*\[\]\\]", lambda match: f"&#{ord(match[0])};", text)


def summary_cells(rows: Sequence[LeaderRow], exam: int) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of methods; ``exam`` is the number of the fresh one."""
    header = ("method", "seeds", "IQM", f"IQM, seed {exam}", "median task", "worst task", "steps", "s", "CPU s")
    return header, [
        (
            *(f"{row.label}{READ * row.is_read}", str(row.seeds)),
            *map(_shown, row.aggregates.values()),
            *(f"{row.entry.steps:,}", f"{row.entry.seconds:.0f}", f"{row.entry.cpu_seconds:.0f}"),
        )
        for row in rows
    ]


def curve_cells(rows: Sequence[LeaderRow]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of learning curves: interquartile means of methods with a curve."""
    lines: list[Cells] = []
    for row in rows:
        if row.curves is not None:
            missing = np.zeros((len(CURVE), len(row.entry.seeds)))
            means = interquartile_mean([row.curves.get(name, missing) for name in row.scores])
            lines.append((row.method, f"{row.entry.steps:,}", *(f"{mean:.3f}" for mean in means)))
    return ("method", "steps", *(f"after {part:.0%}" for part in CURVE)), lines


def cells_by_task(rows: Sequence[LeaderRow]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of tasks, one column for each method, without intervals."""
    lines: list[Cells] = []
    for name in rows[0].scores:
        cells = ["-" if name in row.entry.gaps else _number(row.scores[name].score.mean) for row in rows]
        frozen, attainable = task(name).frozen, task(name).attainable_text
        lines.append((name, *cells, _number(frozen.middle), _number(frozen.untrained), attainable))
    return ("task", *(row.label for row in rows), "middle", "untrained", "attainable"), lines


def paired_cells(first: LeaderRow, second: LeaderRow) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the differences of two methods in the same cases."""
    pairs = {name: ([first.performances[name]], [second.performances[name]]) for name in first.performances}
    gaps = {*first.entry.gaps, *second.entry.gaps}
    lines: list[Cells] = [
        (name, "-" if name in gaps else _shown(difference(*pair, worst_task))) for name, pair in pairs.items()
    ]
    everything = list(first.performances.values()), list(second.performances.values())
    lines.append(("IQM", _shown(difference(*everything, interquartile_mean))))
    return ("task", f"{first.label} minus {second.label}"), lines


def score_cells(played: TaskValues, exam: int = PUBLIC) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of one method in an exam."""
    scores = {name: Score.of(performance) for name, performance in performances(played, exam).items()}
    lines: list[Cells] = [
        (name, f"{score.value.mean:.3f}", f"{score.value.low:.3f} to {score.value.high:.3f}", _shown(score.score))
        for name, score in scores.items()
    ]
    return ("task", "value", "95 % interval", "score (95 % interval)"), lines


def _shown(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    mean, low, high = map(_number, interval)
    return f"{mean} ({low} to {high})"


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # + 0.0 avoids -0.000
