"""Leaderboard of the suite: scores of methods over all tasks, with their training cost."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.evaluation.statistics import Cells, Interval
from multispin_lab.suite.entries import (
    AROUND,
    CURVE,
    Policies,
    SuiteEntry,
    TaskValues,
    entry_performances,
    performances,
    select,
)
from multispin_lab.suite.statistics import (
    Performance,
    Score,
    interquartile_mean,
    median_task,
    over_cases,
    over_seeds,
    worst_task,
)
from multispin_lab.suite.tasks import PUBLIC
from multispin_lab.suite.version import task, tasks

READ = " *"  # mark of rows whose public scores were read
BUDGETS = 0, 5_000, 50_000  # steps; methods within the same budget are compared
LEGEND = """Actions: o own allocation, c bandwidths of the closed form, r around a rule. Ranks are within one budget and
kind of actions, by the IQM of all tasks of fixed size. (x to y) is the range of seeds; the 95 % interval of seeds needs
five. Percentages are parts of what is attainable above action 0, where that is known and at least 0.1. Curves are
reported and not verified; "start" precedes all updates."""

_LEAST = 0.1  # attainable score above action 0, of tasks with percentages
LETTERS = {"own": "o", "closed form": "c", AROUND: "r", "mixed": "m"}  # of kinds of actions
_OF_TASK = "", "_min", "_max", "_error", "_actions", "_minus_action_0", "_fraction"  # endings of names of numbers


@dataclass(frozen=True, eq=False)
class LeaderRow:
    """Results of one method in the tasks that it plays.

    ``fresh`` has the values for a fresh evaluation seed, with that seed, if it was played. ``curves`` are the scores
    (points, seeds) of each task that the entry reports; they are not verified. ``is_read`` is whether some values of
    the public seed are those that the entry claims, and were not played again. ``kinds`` are those of `kinds_of`.
    ``policies`` are those of `playable`, and ``None`` if all are: the others only have stated scores.
    """

    entry: SuiteEntry
    played: TaskValues
    curves: TaskValues | None
    fresh: tuple[TaskValues, int] | None
    is_read: bool
    kinds: Mapping[str, tuple[str, float | None]]
    policies: Policies | None = None

    @cached_property
    def performances(self) -> dict[str, Performance]:
        """Performance in each task for the public seed."""
        return entry_performances(self.entry, self.played)

    @cached_property
    def scores(self) -> dict[str, FloatArray]:
        """Score of each training seed by task."""
        return {name: performance.mean_scores for name, performance in self.performances.items()}

    @cached_property
    def numbers(self) -> dict[str, float | None]:
        """Interquartile means, by default over the tasks played, and other summaries; ``None`` if not known.

        ``fixed_size`` is over all tasks of fixed size. The limits of ``iqm`` are over training seeds, and its error is
        half of the 95 % interval over episodes. ``fresh`` needs all policies, as other means are of other tasks.
        """
        played, scores = list(self.performances.values()), list(self.scores.values())
        fresh = []
        if self.fresh is not None and self.policies is None:
            fresh = list(entry_performances(self.entry, *self.fresh).values())
        fixed = [self.scores[name] for name in _fixed() if name in self.scores]
        zeros = [np.array([zero]) for _, zero in self.kinds.values() if zero is not None]
        iqm, (low, high) = interquartile_mean(scores), over_seeds(interquartile_mean, played) or (None, None)
        numbers = {
            "fixed_size": interquartile_mean(fixed) if fixed and len(fixed) == len(_fixed()) else None,
            **{"iqm": iqm, "iqm_low": low, "iqm_high": high},
            "iqm_error": _half_width(over_cases(interquartile_mean, played)),
            "fresh": interquartile_mean([performance.mean_scores for performance in fresh]) if fresh else None,
            "minus_action_0": iqm - interquartile_mean(zeros) if len(zeros) == len(scores) else None,
            **{"median": median_task(scores), "worst": worst_task(scores)},
        }
        return {name: None if number is None else float(number) for name, number in numbers.items()}

    def learnt_in(self, name: str) -> tuple[float | None, float | None]:
        """Return the score minus that of action 0, and its fraction of what is attainable, if these are known."""
        zero, (attainable, _) = self.kinds[name][1], task(name).attainable or (-np.inf, np.inf)
        if zero is None:
            return None, None
        learnt = float(self.scores[name].mean()) - zero
        return learnt, learnt / (attainable - zero) if attainable - zero >= _LEAST else None

    @property
    def budget(self) -> int:
        """The smallest of `BUDGETS` that holds the steps."""
        return min(budget for budget in BUDGETS if budget >= self.entry.steps)

    @property
    def actions(self) -> str:
        """Numbers of tasks of fixed size with each kind of actions."""
        counts = Counter(kind for name, (kind, _) in self.kinds.items() if name in _fixed())
        return ", ".join(f"{counts[kind]} {letter}" for kind, letter in LETTERS.items() if kind in counts) or "-"

    @property
    def is_trained(self) -> bool:
        """Whether the policies are trained, and none is a rule."""
        return self.entry.steps > 0 and not self.entry.rules

    @property
    def ranked_by(self) -> float | None:
        """Number ``fixed_size`` of a trained method; otherwise ``None``."""
        return self.numbers["fixed_size"] if self.is_trained else None

    def is_like(self, other: "LeaderRow", names: Iterable[str]) -> bool:
        """Whether another method has the same budget, and the same kinds of actions in these tasks."""
        return self.budget == other.budget and all(self.kinds[name][0] == other.kinds[name][0] for name in names)

    def rank(self, rows: "Sequence[LeaderRow]") -> str:
        """Return the rank among those of ``rows`` that are alike, such as "1 of 3", or "-"."""
        own = self.ranked_by
        if own is None:
            return "-"
        means = [mean for row in rows if (mean := row.ranked_by) is not None and row.is_like(self, _fixed())]
        return f"{1 + sum(mean > own for mean in means)} of {len(means)}"

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.entry.method

    @property
    def label(self) -> str:
        """Name of the method, with the tasks that are played by rules."""
        rules, played = self.entry.rules, len(self.scores)
        part = "" if len(rules) == played else f" in {len(rules)} of {played} tasks"
        return f"{self.method} (rule{part})" if rules else self.method

    @property
    def seeds(self) -> int:
        """Smallest number of different policies in a task."""
        return min(map(len, self.scores.values()))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers by name, for CSV and JSON; those of tasks without a policy are empty."""
        plain = ("method", "authors", "link", "repository", "revision", "steps", "seconds", "cpu_seconds")
        row: dict[str, Any] = {name: getattr(self.entry, name) for name in plain}
        row |= {"seeds": self.seeds, "rules": " ".join(self.entry.rules), "gaps": " ".join(self.entry.gaps)}
        row |= {"public": "read" if self.is_read else "played", "tasks": len(self.scores), **self.numbers}
        for item in tasks():
            name, numbers = item.name, dict.fromkeys(_OF_TASK)
            if name in self.scores:
                by_seed, score = self.scores[name], Score.of(self.performances[name]).score
                spread = score.mean, float(by_seed.min()), float(by_seed.max()), _half_width(score)
                numbers = dict(zip(_OF_TASK, (*spread, self.kinds[name][0], *self.learnt_in(name)), strict=True))
            row |= {f"{name}{ending}": number for ending, number in numbers.items()}
        return row


def _fixed() -> tuple[str, ...]:
    return tuple(item.name for item in tasks() if not any("num_users" in part for part in item.held_out))


def _half_width(interval: Interval) -> float:
    return 0.5 * (interval.high - interval.low)


def escaped(text: str) -> str:
    """Return a text without characters that have a meaning in Markdown, HTML or formulas."""
    return re.sub(r"[&<>|$`*\[\]\\]", lambda match: f"&#{ord(match[0])};", text)


def summary_cells(rows: Sequence[LeaderRow], fresh: int) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of methods; ``fresh`` is the fresh evaluation seed."""
    header = ("method", "rank", "actions", "steps", "seeds", "tasks", f"IQM of {len(_fixed())}", "IQM", "95 % of seeds")
    others = ("± episodes", f"IQM, seed {fresh}", "IQM - action 0", "median", "worst", "CPU s")
    lines = []
    for row in rows:
        fixed, mean, low, high, *numbers = map(_number, row.numbers.values())
        about = (row.actions, f"{row.entry.steps:,}", str(row.seeds), str(len(row.scores)))
        limits = "-" if low == "-" else f"{low} to {high}"
        name, cost = f"{row.label}{READ * row.is_read}", f"{row.entry.cpu_seconds:.0f}"
        lines.append((name, row.rank(rows), *about, fixed, mean, limits, *numbers, cost))
    return (*header, *others), lines


def partial_cells(rows: Sequence[LeaderRow], fresh: int) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of entries without some networks: scores of the policies that are there."""
    lines: list[Cells] = []
    for row in rows:
        if row.policies is not None:
            by_task = {name: row.policies[name] for name in row.entry.played}
            public = performances(select(row.played, by_task))
            values, number = row.fresh or ({}, fresh)
            again = performances({name: values[name] for name in public if name in values}, number)
            means = ([performance.mean_scores for performance in played.values()] for played in (public, again))
            scores = (_number(float(interquartile_mean(mean))) if mean else "-" for mean in means)
            are_played = [bool(policy) for policies in by_task.values() for policy in policies]
            lines.append((row.method, f"{sum(are_played)} of {len(are_played)}", *scores))
    return ("missing networks", "policies played", "IQM of these", f"IQM of these, seed {fresh}"), lines


def curve_cells(rows: Sequence[LeaderRow]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of reported curves: interquartile means over tasks of fixed size."""
    lines: list[Cells] = []
    for row in rows:
        names = [name for name in _fixed() if name in row.scores]
        if row.curves is not None and names:
            means = interquartile_mean([row.curves[name] for name in names])
            points = (f"{'start ' * (point < row.entry.starts)}{_number(mean)}" for point, mean in enumerate(means))
            lines.append((row.method, f"{row.entry.steps:,}", str(len(names)), *points))
    return ("method", "steps", "tasks", *(f"reported after {part:.0%}" for part in CURVE)), lines


def cells_by_task(rows: Sequence[LeaderRow]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of tasks: mean, kind of actions and range of the seeds of each method."""

    def cell(row: LeaderRow, name: str) -> str:
        if name not in row.scores:
            return "-"
        by_seed = row.scores[name]
        spread = f"({_range(by_seed)})" if len(by_seed) > 1 else ""
        return " ".join(filter(None, (_number(by_seed.mean()), LETTERS.get(row.kinds[name][0], ""), spread)))

    lines = [(item.name, *(cell(row, item.name) for row in rows), item.attainable_text) for item in tasks()]
    return ("task", *(row.label for row in rows), "attainable"), lines


def learnt_cells(rows: Sequence[LeaderRow]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the scores minus that of action 0, with the fraction of what is attainable."""

    def cell(row: LeaderRow, name: str) -> str:
        learnt, fraction = row.learnt_in(name) if name in row.scores else (None, None)
        part = "" if learnt is None else f" ({'-' if fraction is None else f'{round(100 * fraction)} %'})"
        return f"{_number(learnt)}{part}"

    trained = [row for row in rows if row.is_trained]
    lines = [(item.name, *(cell(row, item.name) for row in trained)) for item in tasks()]
    return ("score - action 0", *(row.label for row in trained)), lines if trained else []


def pair_cells(rows: Sequence[LeaderRow]) -> tuple[Cells, list[Cells]]:
    """Return header and lines that compare methods without a rank with those alike, in common tasks of fixed size."""
    lines: list[Cells] = []
    for first, second in permutations([row for row in rows if row.is_trained], 2):
        names = [name for name in _fixed() if name in first.scores and name in second.scores]
        is_new = second.ranked_by is not None or rows.index(first) < rows.index(second)
        if first.ranked_by is None and names and is_new and first.is_like(second, names):
            lines.append((f"{first.label} - {second.label}", str(len(names)), *_difference(first, second, names)))
    return ("methods", "tasks", "difference of IQM", "± episodes"), lines


def paired_cells(first: LeaderRow, second: LeaderRow) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the differences of two methods in the same cases of their common tasks."""
    names = [name for name in first.scores if name in second.scores]
    lines = [(title, *_difference(first, second, part)) for title, part in [*((x, [x]) for x in names), ("IQM", names)]]
    return ("task", f"{first.label} - {second.label}", "± episodes"), lines if names else []


def _difference(first: LeaderRow, second: LeaderRow, names: Sequence[str]) -> Cells:
    both = ([row.performances[name] for name in names] for row in (first, second))
    difference = over_cases(interquartile_mean if len(names) > 1 else median_task, *both)
    return _number(difference.mean), _number(_half_width(difference))


def score_cells(played: TaskValues, seed: int = PUBLIC) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of one method for an evaluation seed, with the range of training seeds."""
    lines: list[Cells] = []
    for name, performance in performances(played, seed).items():
        score, by_seed = Score.of(performance), performance.mean_scores
        value, spread = (
            score.value,
            "-" if len(by_seed) == 1 else f"{_number(by_seed.min())} to {_number(by_seed.max())}",
        )
        lines.append((name, f"{value.mean:.3f}", f"{value.low:.3f} to {value.high:.3f}", _shown(score.score), spread))
    return ("task", "value", "95 % of episodes", "score (95 % of episodes)", "seeds"), lines


def _range(by_seed: FloatArray) -> str:
    return f"{_number(by_seed.min())} to {_number(by_seed.max())}"


def _shown(interval: Interval) -> str:
    mean, low, high = map(_number, interval)
    return f"{mean} ({low} to {high})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 3) + 0.0:.3f}"  # + 0.0 avoids -0.000
