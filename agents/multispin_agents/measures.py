"""Measurement of agents: learning curves, validation, and the final comparison as tables, files and pictures."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from multispin_agents.policies import policy_of
from multispin_agents.runs import RunConfig
from multispin_env.apps.terminal.output import Progress
from multispin_env.arrays import FloatArray
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import (
    Cases,
    StateCases,
    cases_of,
    heading,
    held_out,
    listed_contenders,
    validation_cases,
)
from multispin_env.evaluation.comparison import METRICS, OTHER_SYSTEMS, Row, comparison_cells
from multispin_env.evaluation.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, save
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.evaluation.policy import Policy
from multispin_env.evaluation.statistics import aligned, to_csv, to_json
from multispin_env.files import MIB, read_bytes, write_atomically

CURVE, TABLE = "curve.csv", "table.json"

LARGEST_FILE = 16 * MIB
"""Maximum size of the file of a learning curve in bytes; a run has 50 lines for each of its budgets."""


def read_curve(path: Path, key: str) -> tuple[list[int], list[float]]:
    """Return the environment steps and scores of a learning curve; raise ``ValueError`` for any other file."""
    rows = _rows(path, key)
    return [steps for steps, _, _ in rows], [score for _, score, _ in rows]


def add_row(path: Path, row: Mapping[str, float]) -> None:
    """Add a validation to a learning curve; remove rows with the same or more steps, which are from before a resume.

    Raises ``ValueError`` if the file exists and is not a learning curve.
    """
    rows = _rows(path, "timesteps") if path.exists() else []
    before = [old for steps, _, old in rows if steps < row["timesteps"]]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), extrasaction="ignore")
    writer.writeheader()
    writer.writerows([*before, row])
    write_atomically(path, text.getvalue().encode())


def _rows(path: Path, key: str) -> list[tuple[int, float, dict[str, str]]]:
    try:
        rows = csv.DictReader(io.StringIO(read_bytes(path, LARGEST_FILE).decode()))
        return [(int(row["timesteps"]), float(row[key]), row) for row in rows]
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise ValueError(f"{path}: can't be read as a learning curve ({error})") from None


@dataclass(frozen=True)
class Headline:
    """Main number of a validation."""

    key: str  # name in validations and in the file of the learning curve
    caption: str  # short text to print after the number
    axis: str  # full text for axes


@dataclass(frozen=True)
class Report:
    """Comparison of one agent with all references."""

    title: str
    text: str  # aligned tables
    about: dict[str, Any]
    rows: list[Row]
    axis: str  # label for the means of the rows
    headline: Headline


@dataclass(frozen=True)
class Measure:
    """Measurement of agents in one environment, on states or episodes."""

    config: EnvConfig

    @property
    def kind(self) -> type[Cases]:
        """Kind of the cases."""
        return cases_of(self.config)

    @cached_property
    def headline(self) -> Headline:
        """Share of the reference if a share is meaningful, otherwise the metric itself."""
        metric = METRICS[self._watched.metric]
        if not metric.has_share:
            return Headline(self._watched.metric, self._watched.metric, metric.header)
        reference = "the optimum" if isinstance(self._watched, StateCases) else self._watched.reference
        return Headline("share_of_reference", f"of {reference}", f"share of {reference}")

    def play(self, model: BaseAlgorithm) -> EpisodeStats:
        """Play the validation cases with a model."""
        return self._watched.play(policy_of(model, self.config))

    def compared_with_reference(self, stats: EpisodeStats) -> dict[str, float]:
        """Return the numbers of played validation cases; the reference plays at the first call."""
        metric, best = METRICS[self._watched.metric], self._best
        values = metric.values(stats)
        share = {self.headline.key: float(values.mean() / best.mean())} if metric.has_share else {}
        return {
            **share,
            "goodput": float(stats.goodput.mean()),
            "return": float(stats.returns.mean()),
            "regret": float((best - values).mean()),
            "round_latency": float(stats.round_latency.mean()),
            "draft_length": float(stats.draft_length.mean()),
        }

    def report(self, model: BaseAlgorithm, label: str, size: int | None = None) -> Report:
        """Compare the model with every reference on the same held-out cases; progress is shown on stderr."""
        cases, config = self.compared(size), self.config.held_out
        contenders: dict[str, str | Policy] = {**listed_contenders(cases), label: policy_of(model, config)}
        with Progress(len(contenders)) as progress:
            rows = cases.table(contenders, progress.begin)
        title = cases.title if isinstance(cases, StateCases) else f"{cases.title}; reference: {cases.reference}"
        table = aligned(*comparison_cells(rows, cases.metric, cases.reference_title))
        return Report(
            title=heading(config, title),
            text=f"{table}{_footer(cases, rows, label)}",
            about=self.about(cases, model.num_timesteps),
            rows=rows,
            axis=METRICS[cases.metric].header,
            headline=self.headline,
        )

    @cached_property
    def _watched(self) -> Cases:
        return validation_cases(self.config)

    @cached_property
    def _best(self) -> FloatArray:
        return self._watched.values(self._watched.reference)

    def about(self, cases: Cases, rounds_trained: int) -> dict[str, Any]:
        """Return the description to store with a table: the cases and the training steps of the model."""
        return {"env": self.config.env_id, **cases.about, "rounds_trained": rounds_trained}

    def compared(self, size: int | None = None) -> Cases:
        """Return the held-out cases; with states, all controllers play, even if no action expresses their decisions."""
        if self.kind is StateCases:
            return StateCases.draw(self.config.held_out.scenario, size or StateCases.default_size)
        return held_out(self.config, size)


def _footer(cases: Cases, rows: list[Row], label: str) -> str:
    if isinstance(cases, StateCases):
        details = next(row for row in rows if row.name == label).details
        return (
            f"\n\n{label}, share of the optimum in each state: mean {details['share_mean']:.5f}, "
            f"5 % quantile {details['share_quantile_5']:.5f}, lowest {details['share_lowest']:.5f}"
        )
    cells = METRICS[cases.metric].second_table
    return "" if cells is None else f"\n\n{aligned(*cells(rows))}"


_LABELS = {"colocated": "server drafts for all\n(needs a draft model there)"}  # of bars, instead of the name
_GREY = "#BBBBBB"  # of bars of other systems


def agent_label(config: RunConfig) -> str:
    """Return the name of the agent's row."""
    return f"{config.agent} ({config.env.action})"


def print_report(report: Report, console: Console) -> None:
    """Print the table."""
    console.print(f"\n{report.title}\n\n{report.text}\n", highlight=False, markup=False, soft_wrap=True)


def write_report(report: Report, folder: Path) -> None:
    """Write ``table.json`` and ``table.csv``."""
    write_atomically(folder / TABLE, to_json(report.rows, report.about).encode())
    write_atomically(folder / "table.csv", to_csv(report.rows).encode())


def draw_report(report: Report, label: str, folder: Path) -> None:
    """Draw ``comparison.png`` from the report and ``learning_curve.png`` from the file of the curve."""
    for name, plot in (("comparison", _bars), ("learning_curve", _curve)):
        save(partial(plot, report, label, folder), (8.0, 4.5), folder / name, (".png",))


def _bars(report: Report, label: str, folder: Path, figure: Any) -> None:
    axes = figure.subplots()
    bars = report.rows[::-1]  # other systems come last in the table, so they are at the bottom, below a gap
    systems = sum(not bar.decides for bar in bars)
    positions = [index - (not bar.decides) for index, bar in enumerate(bars)]
    values = [bar.mean for bar in bars]
    errors = [[bar.mean - bar.low for bar in bars], [bar.high - bar.mean for bar in bars]]
    colours = [(RED if bar.name == label else BLUE) if bar.decides else _GREY for bar in bars]
    axes.barh(positions, values, xerr=errors, color=colours, capsize=3)
    axes.set_yticks(positions, [_LABELS.get(bar.name, bar.name) for bar in bars])
    if systems:
        axes.text(0.0, systems - 1, f" {OTHER_SYSTEMS}", va="center", color="#666666")
    for position, bar in zip(positions, bars, strict=True):
        axes.text(max(bar.high, 0.0), position, f"  {bar.headline:.4f}", va="center", fontsize="small")
    axes.set_xlim(1.12 * min(0.0, *(bar.low for bar in bars)), 1.12 * max(0.0, *(bar.high for bar in bars)))
    numbers = "" if report.headline.axis == report.axis else f"; numbers: {report.headline.axis}"
    axes.set_xlabel(f"{report.axis}, mean and 95 % interval{numbers}")


def _curve(report: Report, label: str, folder: Path, figure: Any) -> None:
    axes = figure.subplots()
    steps, scores = read_curve(folder / CURVE, report.headline.key)
    axes.plot(steps, scores, color=RED, marker="o", markersize=3, label=f"{label}, validation")
    axes.annotate(f"untrained: {scores[0]:.4f}", (steps[0], scores[0]), (6, -3), textcoords="offset points", va="top")
    rows = [bar for bar in report.rows if bar.decides]
    lowest = min(scores) - 0.1 * abs(max(bar.headline for bar in rows))
    references = [bar for bar in rows if bar.name != label and bar.headline > lowest]
    for colour, bar in zip((BLUE, ORANGE, GREEN, PURPLE, SKY, RED, BLACK), references, strict=False):
        axes.axhline(bar.headline, color=colour, linestyle="--", linewidth=1, label=f"{bar.name}, {bar.headline:.4f}")
    axes.set_xlabel("rounds trained")
    axes.set_ylabel(report.headline.axis)
    axes.legend(loc="lower right", fontsize="small")
