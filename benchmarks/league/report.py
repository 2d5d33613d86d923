"""Cells to tables: where each agent stands between the best plug-in and the reference, losses like wins."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.league.cells import Cell, Content, Contest
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.statistics import Cells, Interval, aligned, markdown, to_csv
from multispin_env.evaluation.suite.statistics import Performance, aggregate, crossed, interquartile_mean
from multispin_env.files import write_atomically

PLUG_IN = "best plug-in"

DIGITS = {"return": 3}
"""After the point, for metrics that need more than two."""

EXPLAINED = (
    "`score` is 0 for the fixed controller and 1 for the reference: the optimum, the clairvoyant, for fairness the "
    "gradient rule, or, without the barrier, a bound that no policy exceeds. Runs are compared with `validation` "
    "while they learn. Intervals are 95 % bootstrap intervals over cases and, where there are several, seeds; "
    "differences are paired case by case. With one seed an interval says nothing of other trainings."
)

OVERVIEW = (
    "Scores, means over seeds and cases. Agents are behind the best plug-in, with an interval off zero, unless it says "
    "`ahead` or `undecided`."
)

Table = tuple[Cells, list[Cells]]
"""Header and lines."""


@dataclass(frozen=True, eq=False)
class Standing:
    """One contender in one contest; an agent with all its seeds."""

    contest: Contest
    metric: str
    name: str
    role: str  # reference, best plug-in, validation, floor, or agent
    seeds: tuple[int, ...]
    performance: Performance  # 0 is the fixed controller, 1 the reference
    mean: Interval
    minus_plug_in: Interval  # in pairs
    minus_reference: Interval

    @property
    def score(self) -> float:
        """Mean over seeds and cases."""
        return float(self.performance.mean_scores.mean())

    @property
    def verdict(self) -> str:
        """Whether an agent is ahead of the best plug-in."""
        if self.role != "agent":
            return "-"
        if self.minus_plug_in.low > 0.0:
            return "ahead"
        return "behind" if self.minus_plug_in.high < 0.0 else "undecided"

    def to_dict(self) -> Content:
        """A row of ``results.csv``."""
        row: Content = {**asdict(self.contest), "metric": self.metric, "name": self.name, "role": self.role}
        row |= {"seeds": " ".join(map(str, self.seeds)), "score": self.score, "verdict": self.verdict}
        for name in ("mean", "minus_plug_in", "minus_reference"):
            row |= {f"{name}_{key}": value for key, value in getattr(self, name)._asdict().items()}
        return row


@dataclass(frozen=True, eq=False)
class League:
    """All that was found."""

    references: dict[Contest, Content]
    results: dict[Cell, Content]

    @property
    def agents(self) -> list[str]:
        """Names of all agents, in the order they were run."""
        return list(dict.fromkeys(cell.label for cell in self.results))

    def runs(self, contest: Contest) -> dict[str, list[Cell]]:
        """Cells of each agent in a contest."""
        cells: dict[str, list[Cell]] = {}
        for cell in self.results:
            if cell.contest == contest:
                cells.setdefault(cell.label, []).append(cell)
        return cells

    def others(self, contest: Contest, *names: str) -> list[FloatArray]:
        """Values (n,) of some that agents are compared with, as ``floor`` or ``plug_in``, or by their own name."""
        about = self.references[contest]
        return [np.asarray(about["values"][about.get(name, name)]) for name in names]

    @cached_property
    def standings(self) -> dict[Contest, list[Standing]]:
        """Reference, best plug-in and agents, best first; with the plug-in once where it is the reference."""
        return {
            contest: sorted(self._standings(contest), key=lambda one: -one.mean.mean) for contest in self.references
        }

    def _standings(self, contest: Contest) -> Iterator[Standing]:
        about = self.references[contest]
        titles = {"validated_by": "validation", "plug_in": PLUG_IN, "reference": "reference", "floor": "floor"}
        for name, role in {about[key]: title for key, title in titles.items()}.items():
            yield self._standing(contest, name, role, (), self.others(contest, name)[0][None])
        for name, cells in self.runs(contest).items():
            values = np.array([self.results[cell]["values"] for cell in cells])
            yield self._standing(contest, name, "agent", tuple(cell.seed for cell in cells), values)

    def _standing(self, contest: Contest, name: str, role: str, seeds: tuple[int, ...], values: FloatArray) -> Standing:
        plug_in, floor, reference = self.others(contest, "plug_in", "floor", "reference")
        intervals = (crossed(values), crossed(values - plug_in), crossed(values - reference))
        performance = Performance(values[:, None], floor[None], reference[None])
        return Standing(contest, self.references[contest]["metric"], name, role, seeds, performance, *intervals)

    def performances(self) -> dict[str, list[tuple[Performance, Performance]]]:
        """For each agent, and the best plug-in, its performance and that of the best plug-in in each contest."""
        found: dict[str, list[tuple[Performance, Performance]]] = {}
        plug_ins = []
        for contest, standings in self.standings.items():
            values, *ends = self.others(contest, "plug_in", "floor", "reference")
            plug_in = Performance(values[None, None], *(end[None] for end in ends))
            plug_ins.append((plug_in, plug_in))
            for one in standings:
                if one.role == "agent":
                    found.setdefault(one.name, []).append((one.performance, plug_in))
        return found | {PLUG_IN: plug_ins}


def _shown(one: Interval, digits: int, sign: str = "") -> str:
    return f"{one.mean:{sign}.{digits}f} ({one.low:{sign}.{digits}f} to {one.high:{sign}.{digits}f})"


def standing_cells(standings: Sequence[Standing]) -> Table:
    """A contest."""
    metric = standings[0].metric
    digits = DIGITS.get(metric, 2)
    differences = ("minus best plug-in", "minus reference")
    return ("decided by", "what", "seeds", metric, *differences, "score", "verdict"), [
        (
            *(one.name, one.role, str(len(one.seeds) or "-"), _shown(one.mean, digits)),
            *(_shown(one.minus_plug_in, digits, "+"), _shown(one.minus_reference, digits, "+")),
            *(f"{one.score:.4f}", one.verdict),
        )
        for one in standings
    ]


def overview_cells(league: League) -> Table:
    """Scores of the best plug-in and of every agent, in all contests."""
    names, lines = league.agents, []
    for contest, of_contest in league.standings.items():
        standings = {one.name: one for one in of_contest}
        plug_in = league.references[contest]["plug_in"]
        scores = [_score(standings[name]) if name in standings else "-" for name in names]
        lines.append((contest.title, f"{plug_in} {standings[plug_in].score:.4f}", *scores))
    return ("contest", PLUG_IN, *names), lines


def _score(one: Standing) -> str:
    return f"{one.score:.4f}{'' if one.verdict == 'behind' else f' {one.verdict}'}"


def aggregate_cells(league: League) -> Table:
    """Interquartile means."""
    lines: list[Cells] = []
    for name, pairs in league.performances().items():
        own, other = (_shown(aggregate(one, interquartile_mean), 4) for one in zip(*pairs, strict=True))
        runs = sum(len(performance.values) for performance, _ in pairs)
        lines.append((name, str(len(pairs)), str(runs), own, other))
    return ("decided by", "contests", "runs", "IQM of scores", "best plug-in in the same contests"), lines


def share_cells(league: League) -> Table:
    """Shares of the reference: over all, by seed and by case, where a share says something."""
    lines: list[Cells] = []
    for contest, standings in league.standings.items():
        about, (reference,) = league.references[contest], league.others(contest, "reference")
        for one in standings if METRICS[about["metric"]].has_share else ():
            if one.name not in (about["reference"], about["floor"]):
                values = one.performance.values[:, 0]
                seeds = np.sort(values.mean(-1) / reference.mean())[::-1]
                by_seed = " ".join(f"{share:.4f}" for share in seeds) if one.seeds else "-"
                quantile = np.quantile(values / reference, 0.05)
                lines.append((contest.title, one.name, f"{seeds.mean():.4f}", by_seed, f"{quantile:.4f}"))
    return ("contest", "decided by", "share of reference", "seeds", "5 % quantile of cases"), lines


def cell_cells(league: League) -> Table:
    """What was trained, how and by which code; cells that differ in contest and seed alone as one."""
    groups: dict[Cells, int] = {}
    for cell, about in league.results.items():
        settings = about["arguments"] | about["hyperparameters"]
        commit = about["commit"][:9] + ("+" if about["commit"].endswith("+") else "")
        words = ", ".join(f"{name}={value}" for name, value in settings.items())
        key = (cell.label, cell.contest.env, about["action"], str(about["rounds_trained"]), commit, words)
        groups[key] = groups.get(key, 0) + 1
    header = ("agent", "environment", "action", "rounds", "commit", "arguments and hyperparameters", "cells")
    return header, [(*key, str(count)) for key, count in groups.items()]


def to_markdown(league: League, command: str, skipped: Sequence[str]) -> str:
    """All tables."""
    parts = ["# League", f"`{command}`", EXPLAINED, "## All contests", OVERVIEW]
    parts += [markdown(*overview_cells(league)), markdown(*aggregate_cells(league))]
    header, lines = share_cells(league)
    if lines:
        parts += ["## Shares of the reference", markdown(header, lines)]
    for contest, standings in league.standings.items():
        size = f"{standings[0].performance.top.shape[-1]} held-out {league.references[contest]['cases']}"
        parts += [f"## {contest.title}", size, markdown(*standing_cells(standings))]
    parts += ["## Cells", markdown(*cell_cells(league))]
    if skipped:
        parts.append("Left out:\n\n" + "\n".join(f"- {line}" for line in skipped))
    return "\n\n".join(parts) + "\n"


def to_text(league: League) -> str:
    """Tables for the terminal."""
    parts = [f"{contest.title}\n\n{aligned(*standing_cells(one))}" for contest, one in league.standings.items()]
    return "\n\n".join([*parts, aligned(*overview_cells(league)), aligned(*aggregate_cells(league))])


def write(league: League, folder: Path, command: str, skipped: Sequence[str]) -> None:
    """Write ``results.md``, ``results.csv`` and ``results.json``."""
    rows = [one for standings in league.standings.values() for one in standings]
    cells = [
        {"cell": cell.stem, **{key: value for key, value in about.items() if key != "values"}}
        for cell, about in league.results.items()
    ]
    about = {"command": command, "rows": [one.to_dict() for one in rows], "cells": cells, "left_out": list(skipped)}
    write_atomically(folder / "results.md", to_markdown(league, command, skipped).encode())
    write_atomically(folder / "results.csv", to_csv(rows).encode())
    write_atomically(folder / "results.json", (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode())
