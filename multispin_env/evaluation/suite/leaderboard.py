"""Leaderboard of the suite: scores of methods over all tasks, with their training cost."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """Results of one method: aggregates with 95 % intervals over seeds and cases, and the score in each task.

    ``fresh`` is the interquartile mean in a fresh exam, if it was played. ``curves`` are the scores (points, seeds) of
    each task that the entry claims; they are not verified. ``is_read`` is whether the scores of the public exam are
    those that the entry claims too, and were not played again.
    """

    entry: SuiteEntry
    iqm: Interval
    fresh: Interval | None
    median: Interval
    worst: Interval
    scores: Mapping[str, Score]
    performances: Mapping[str, Performance]
    curves: TaskValues | None
    is_read: bool

    @classmethod
    def of(
        cls,
        entry: SuiteEntry,
        played: TaskValues,
        curves: TaskValues | None,
        fresh: tuple[TaskValues, int] | None,
        is_read: bool,
    ) -> "LeaderRow":
        """Return the row of an entry with its values, its learning curves, and its values in a fresh exam."""
        by_task = entry_performances(entry, played)
        all_tasks = list(by_task.values())
        again = None if fresh is None else list(entry_performances(entry, *fresh).values())
        return cls(
            entry,
            iqm=aggregate(all_tasks, interquartile_mean),
            fresh=None if again is None else aggregate(again, interquartile_mean),
            median=aggregate(all_tasks, median_task),
            worst=aggregate(all_tasks, worst_task),
            scores={name: Score.of(performance) for name, performance in by_task.items()},
            performances=by_task,
            curves=curves,
            is_read=is_read,
        )

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
        intervals = {name: getattr(self, name) for name in ("iqm", "fresh", "median", "worst")}
        intervals |= {name: None if name in self.entry.gaps else score.score for name, score in self.scores.items()}
        for name, numbers in intervals.items():
            mean, low, high = numbers or (None, None, None)
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        return row


def escaped(text: str) -> str:
    """Return a text without characters that have a meaning in Markdown, HTML or formulas."""
    return re.sub(r"[&<>|$`*\[\]\\]", lambda match: f"&#{ord(match[0])};", text)


def ranked(rows: Sequence[LeaderRow]) -> list[LeaderRow]:
    """Sort rows by interquartile mean, best first."""
    return sorted(rows, key=lambda row: -row.iqm.mean)


def summary_cells(rows: Sequence[LeaderRow], exam: int) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of methods; ``exam`` is the number of the fresh one."""
    header = ("method", "seeds", "IQM", f"IQM, seed {exam}", "median task", "worst task", "steps", "s", "CPU s")
    return header, [
        (
            *(f"{row.label}{READ * row.is_read}", str(row.seeds)),
            *map(_shown, (row.iqm, row.fresh, row.median, row.worst)),
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
        frozen = task(name).frozen
        lines.append((name, *cells, _number(frozen.middle), _number(frozen.untrained)))
    return ("task", *(row.label for row in rows), "middle", "untrained"), lines


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
