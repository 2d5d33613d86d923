"""Cells to tables: where each agent stands between the best plug-in and the reference, losses like wins."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from benchmarks.league.cells import Cell, Content, Contest
from benchmarks.league.statistics import Performance, crossed, iqm_interval
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.seeds import BOOTSTRAP_SEED
from multispin_env.evaluation.statistics import Interval
from multispin_env.evaluation.table import Cells

PLUG_IN = "best plug-in"

DIGITS = {"return": 3}
"""After the point, for metrics that need more than two."""


@dataclass(frozen=True, eq=False)
class Standing:
    """One contender in one contest; an agent with all its seeds."""

    contest: Contest
    metric: str
    name: str
    role: str  # reference, best plug-in, validation, floor, or agent
    seeds: tuple[int, ...]
    values: FloatArray  # (seeds, n)
    mean: Interval
    minus_plug_in: Interval  # in pairs
    minus_reference: Interval
    score: float  # 0 is the fixed controller, 1 the reference

    @property
    def verdict(self) -> str:
        """Whether an agent is ahead of the best plug-in."""
        if self.role != "agent":
            return "-"
        if self.minus_plug_in.low > 0.0:
            return "ahead"
        return "behind" if self.minus_plug_in.high < 0.0 else "undecided"


@dataclass(frozen=True, eq=False)
class League:
    """All that was found."""

    references: dict[Contest, Content]
    results: dict[Cell, Content]
    _known: dict[tuple[Contest, int], list[Standing]] = field(default_factory=dict, init=False, repr=False)

    def label(self, cell: Cell) -> str:
        """Name of an agent in tables; pretrained ones stand alone, as their seed was not drawn for the league."""
        return f"{cell.agent}, pretrained" if cell.pretrained else cell.agent

    def runs(self, contest: Contest) -> dict[str, list[Cell]]:
        """Cells of each agent in a contest."""
        cells: dict[str, list[Cell]] = {}
        for cell in self.results:
            if cell.contest == contest:
                cells.setdefault(self.label(cell), []).append(cell)
        return cells

    def others(self, contest: Contest, name: str) -> FloatArray:
        """Values (n,) of one that agents are compared with."""
        return np.asarray(self.references[contest]["values"][name])

    def standings(self, contest: Contest) -> list[Standing]:
        """Reference, best plug-in and agents, best first; with the plug-in once where it is the reference."""
        key = contest, len(self.results)  # every table asks for them, and intervals take their time
        if key not in self._known:
            self._known[key] = self._standings(contest)
        return self._known[key]

    def _standings(self, contest: Contest) -> list[Standing]:
        about = self.references[contest]
        roles = {
            about["validated_by"]: "validation", about["plug_in"]: PLUG_IN, about["reference"]: "reference",
            about["floor"]: "floor",
        }  # fmt: skip
        standings = [
            self._standing(contest, name, role, (), self.others(contest, name)[None]) for name, role in roles.items()
        ]
        for name, cells in self.runs(contest).items():
            values = np.array([self.results[cell]["values"] for cell in cells])
            standings.append(self._standing(contest, name, "agent", tuple(cell.seed for cell in cells), values))
        return sorted(standings, key=lambda one: -one.mean.mean)

    def _standing(self, contest: Contest, name: str, role: str, seeds: tuple[int, ...], values: FloatArray) -> Standing:
        about = self.references[contest]
        plug_in, reference, floor = (self.others(contest, about[key]) for key in ("plug_in", "reference", "floor"))
        performance = Performance(values, floor, reference)
        score = float(performance.scores(np.full(len(floor), 1.0 / len(floor))).mean())
        mean, minus_plug_in, minus_reference = (_interval(values - other) for other in (0.0, plug_in, reference))
        return Standing(
            contest, about["metric"], name, role, seeds, values, mean, minus_plug_in, minus_reference, score
        )

    def performances(self) -> dict[str, list[Performance]]:
        """Performances of each agent, and of the best plug-in in all contests."""
        performances: dict[str, list[Performance]] = {}
        for contest in self.references:
            for name, performance in self._agents(contest).items():
                performances.setdefault(name, []).append(performance)
        return {**performances, PLUG_IN: [self._plug_in(contest) for contest in self.references]}

    def plug_ins(self) -> dict[str, list[Performance]]:
        """For each name of `performances`, those of the best plug-in in the same contests."""
        performances: dict[str, list[Performance]] = {}
        for contest in self.references:
            for name in (*self._agents(contest), PLUG_IN):
                performances.setdefault(name, []).append(self._plug_in(contest))
        return performances

    def _agents(self, contest: Contest) -> dict[str, Performance]:
        floor, top = (self.others(contest, self.references[contest][key]) for key in ("floor", "reference"))
        agents = [one for one in self.standings(contest) if one.role == "agent"]
        return {one.name: Performance(one.values, floor, top) for one in agents}

    def _plug_in(self, contest: Contest) -> Performance:
        about = self.references[contest]
        plug_in, floor, top = (self.others(contest, about[key]) for key in ("plug_in", "floor", "reference"))
        return Performance(plug_in[None], floor, top)


def _interval(values: FloatArray) -> Interval:
    return crossed(values, np.random.default_rng(BOOTSTRAP_SEED))


def _shown(one: Interval, digits: int, sign: str = "") -> str:
    return f"{one.mean:{sign}.{digits}f} ({one.low:{sign}.{digits}f} to {one.high:{sign}.{digits}f})"


def standing_cells(standings: Sequence[Standing]) -> tuple[Cells, list[Cells]]:
    """Header and lines of a contest's table."""
    digits = DIGITS.get(standings[0].metric, 2)
    header: Cells = (
        "decided by", "what", "seeds", standings[0].metric, "minus best plug-in", "minus reference", "score", "verdict",
    )  # fmt: skip
    lines: list[Cells] = [
        (
            one.name,
            one.role,
            str(len(one.seeds)) if one.seeds else "-",
            _shown(one.mean, digits),
            _shown(one.minus_plug_in, digits, "+"),
            _shown(one.minus_reference, digits, "+"),
            f"{one.score:.4f}",
            one.verdict,
        )
        for one in standings
    ]
    return header, lines


def aggregate_cells(league: League) -> tuple[Cells, list[Cells]]:
    """Header and lines of the interquartile means."""
    lines: list[Cells] = []
    plug_ins = league.plug_ins()
    for name, performances in league.performances().items():
        own, other = (
            iqm_interval(one, np.random.default_rng(BOOTSTRAP_SEED)) for one in (performances, plug_ins[name])
        )
        runs = sum(len(performance.values) for performance in performances)
        lines.append((name, str(len(performances)), str(runs), _shown(own, 4), _shown(other, 4)))
    return ("decided by", "contests", "runs", "IQM of scores", "best plug-in in the same contests"), lines


def cell_cells(league: League) -> tuple[Cells, list[Cells]]:
    """Header and lines of what was trained, how and by which code; cells that differ in contest and seed alone as one.

    ``results.json`` has each cell by itself.
    """
    groups: dict[Cells, list[Cell]] = {}
    for cell, about in league.results.items():
        settings = about["arguments"] | about["hyperparameters"]
        commit = about["commit"][:9] + ("+" if about["commit"].endswith("+") else "")
        key = (
            league.label(cell), cell.contest.env, about["action"], str(about["rounds_trained"]), commit,
            ", ".join(f"{name}={value}" for name, value in settings.items()),
        )  # fmt: skip
        groups.setdefault(key, []).append(cell)
    lines: list[Cells] = [(*key, str(len(cells))) for key, cells in groups.items()]
    return ("agent", "environment", "action", "rounds", "commit", "arguments and hyperparameters", "cells"), lines


def flat(league: League) -> list[Content]:
    """One row for each contender in each contest."""
    rows = []
    for contest in league.references:
        for one in league.standings(contest):
            row: Content = {**asdict(contest), "metric": one.metric, "name": one.name, "role": one.role}
            row |= {"seeds": " ".join(map(str, one.seeds)), "score": one.score, "verdict": one.verdict}
            for name in ("mean", "minus_plug_in", "minus_reference"):
                row |= {f"{name}_{key}": value for key, value in getattr(one, name)._asdict().items()}
            rows.append(row)
    return rows


def to_csv(rows: Sequence[Content]) -> str:
    """Rows of `flat`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
