"""Leaderboard of the suite: scores of methods over all tasks, with their training cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from multispin_env.evaluation.statistics import Cells, Interval
from multispin_env.evaluation.suite.entries import CURVE, SuiteEntry, TaskValues, performances
from multispin_env.evaluation.suite.statistics import (
    Performance,
    Score,
    aggregate,
    interquartile_mean,
    median_task,
    worst_task,
)


@dataclass(frozen=True, eq=False)
class LeaderRow:
    """Results of one method: aggregates with 95 % intervals over seeds and cases, and the score in each task.

    ``curves`` are the scores (points, seeds) of each task that the entry claims; they are not verified.
    """

    method: str
    authors: str
    link: str
    seeds: int
    steps: int
    seconds: float
    cpu_seconds: float
    iqm: Interval
    median: Interval
    worst: Interval
    scores: Mapping[str, Score]
    performances: Mapping[str, Performance]
    curves: TaskValues | None

    @classmethod
    def of(cls, entry: SuiteEntry, played: TaskValues, curves: TaskValues | None) -> "LeaderRow":
        """Return the row of an entry with its values and learning curves."""
        by_task = performances(played)
        all_tasks = list(by_task.values())
        return cls(
            *(entry.method, entry.authors, entry.link, len(entry.seeds)),
            *(entry.steps, entry.seconds, entry.cpu_seconds),
            iqm=aggregate(all_tasks, interquartile_mean),
            median=aggregate(all_tasks, median_task),
            worst=aggregate(all_tasks, worst_task),
            scores={name: Score.of(performance) for name, performance in by_task.items()},
            performances=by_task,
            curves=curves,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers by name, for CSV and JSON."""
        plain = ("method", "authors", "link", "seeds", "steps", "seconds", "cpu_seconds")
        row: dict[str, Any] = {name: getattr(self, name) for name in plain}
        intervals = {name: getattr(self, name) for name in ("iqm", "median", "worst")}
        intervals |= {name: score.score for name, score in self.scores.items()}
        for name, (mean, low, high) in intervals.items():
            row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        return row


def ranked(rows: Sequence[LeaderRow]) -> list[LeaderRow]:
    """Sort rows by interquartile mean, best first."""
    return sorted(rows, key=lambda row: -row.iqm.mean)


def summary_cells(rows: Sequence[LeaderRow]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of methods."""
    header = ("method", "seeds", "IQM", "median task", "worst task", "steps", "s", "CPU s")
    return header, [
        (
            *(row.method, str(row.seeds), *map(_shown, (row.iqm, row.median, row.worst))),
            *(f"{row.steps:,}", f"{row.seconds:.0f}", f"{row.cpu_seconds:.0f}"),
        )
        for row in rows
    ]


def curve_cells(rows: Sequence[LeaderRow]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of learning curves: interquartile means of methods with a curve."""
    lines: list[Cells] = [
        (row.method, f"{row.steps:,}", *(f"{mean:.3f}" for mean in interquartile_mean(list(row.curves.values()))))
        for row in rows
        if row.curves is not None
    ]
    return ("method", "steps", *(f"after {part:.0%}" for part in CURVE)), lines


def cells_by_task(rows: Sequence[LeaderRow]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of tasks, one column for each method, without intervals."""
    lines = [(name, *(_number(row.scores[name].score.mean) for row in rows)) for name in rows[0].scores]
    return ("task", *(row.method for row in rows)), lines


def score_cells(scores: Mapping[str, Score]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of one method."""
    lines: list[Cells] = [
        (name, f"{score.value.mean:.3f}", f"{score.value.low:.3f} to {score.value.high:.3f}", _shown(score.score))
        for name, score in scores.items()
    ]
    return ("task", "value", "95 % interval", "score (95 % interval)"), lines


def _shown(interval: Interval) -> str:
    mean, low, high = map(_number, interval)
    return f"{mean} ({low} to {high})"


def _number(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # + 0.0 avoids -0.000
