"""Measures of agents: the learning curve, validation, and the comparison at the end as table, files and pictures."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.policies import policy_of
from agents.runs import RunConfig
from multispin_env.apps.terminal.output import Progress
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.cases import Cases, States, cases_of, heading, held_out, listed_contenders, watched
from multispin_env.evaluation.comparison import METRICS, OTHER_SYSTEMS, Row, comparison_cells
from multispin_env.evaluation.statistics import aligned, to_csv, to_json
from multispin_env.files import MIB, read_bytes, replacing, write_atomically

CURVE = "curve.csv"

TABLE = "table.json"

LARGEST = 16 * MIB
"""Bytes of its file: a run has fifty lines for each of its budgets."""


def read_curve(path: Path, key: str) -> tuple[list[int], list[float]]:
    """Rounds trained and scores of a learning curve; ``ValueError`` if it is none, as in a run that a stranger made."""
    with _readable(path):
        rows = _rows(path)
        return [int(row["timesteps"]) for row in rows], [float(row[key]) for row in rows]


def add_row(path: Path, row: Mapping[str, float]) -> None:
    """Add a validation after those of fewer rounds; a run that goes on from its checkpoint may have had later ones.

    ``ValueError`` if the file is there, but no learning curve.
    """
    with _readable(path):
        before = [old for old in _rows(path) if int(old["timesteps"]) < row["timesteps"]] if path.exists() else []
    text = io.StringIO()
    writer = csv.DictWriter(text, list(row), extrasaction="ignore")
    writer.writeheader()
    writer.writerows([*before, row])
    write_atomically(path, text.getvalue().encode())


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise ValueError(f"{path}: can't be read as a learning curve ({error})") from None


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read_bytes(path, LARGEST).decode())))


@dataclass(frozen=True)
class Headline:
    """The one number that is watched and drawn."""

    key: str  # its name among those of the validation, and in the file of the learning curve
    caption: str  # what it is, behind the number
    axis: str  # what it is, in full


@dataclass(frozen=True)
class Report:
    """The comparison of one agent with every reference."""

    title: str
    text: str  # tables, aligned
    about: dict[str, Any]
    rows: list[Row]
    axis: str  # what the means of the rows are
    headline: Headline


@dataclass(frozen=True)
class Measure:
    """Measures agents in one environment, on the cases that it is compared on."""

    config: EnvConfig

    @property
    def kind(self) -> type[Cases]:
        """What the cases are."""
        return cases_of(self.config)

    @cached_property
    def headline(self) -> Headline:
        """Share of the reference where a share says something, else the metric itself."""
        metric = METRICS[self._watched.metric]
        if not metric.has_share:
            return Headline(self._watched.metric, self._watched.metric, metric.header)
        known = self._watched.best_known
        return Headline("share_of_reference", f"of {known}", f"share of {known}")

    def validation(self) -> Callable[[BaseAlgorithm], dict[str, float]]:
        """Let the reference play the cases that a run watches itself on; returns what measures a model there."""
        cases, headline = self._watched, self.headline
        metric = METRICS[cases.metric]
        best = cases.values(cases.reference)

        def validate(model: BaseAlgorithm) -> dict[str, float]:
            stats = cases.play(policy_of(model, self.config))
            reached = metric.values(stats)
            share = {headline.key: float(reached.mean() / best.mean())} if metric.has_share else {}
            return {
                **share,
                "goodput": float(stats.goodput.mean()),
                "return": float(stats.returns.mean()),
                "regret": float((best - reached).mean()),
                "round_latency": float(stats.round_latency.mean()),
                "draft_length": float(stats.draft_length.mean()),
            }

        return validate

    def report(self, model: BaseAlgorithm, label: str, size: int | None = None) -> Report:
        """Compare with every reference on the same cases, which training never saw; says on stderr how far it is."""
        cases, config = self.compared(size), self.config.held_out
        contenders: dict[str, Any] = {**listed_contenders(cases), label: policy_of(model, config)}
        with Progress(len(contenders)) as progress:
            rows = cases.table(contenders, progress.begin)
        what = cases.title if isinstance(cases, States) else f"{cases.title}; reference: {cases.reference}"
        return Report(
            title=heading(config, what),
            text=f"{aligned(*comparison_cells(rows, cases.metric, cases.reference_title))}{_below(cases, rows, label)}",
            about=self.about(cases, model.num_timesteps),
            rows=rows,
            axis=METRICS[cases.metric].header,
            headline=self.headline,
        )

    @cached_property
    def _watched(self) -> Cases:
        return watched(self.config)

    def about(self, cases: Cases, rounds_trained: int) -> dict[str, Any]:
        """What a table says that it is about: the cases, and the model by the rounds that it has trained."""
        return {"env": self.config.env_id, **cases.about, "rounds_trained": rounds_trained}

    def compared(self, size: int | None = None) -> Cases:
        """Held-out cases; on states every controller and system is shown, whether or not actions can express it."""
        if self.kind is States:
            return States.draw(self.config.held_out.scenario, size or States.default_size)
        return held_out(self.config, size)


def _below(cases: Cases, rows: list[Row], label: str) -> str:
    if isinstance(cases, States):
        spread = next(row for row in rows if row.name == label).details
        return (
            f"\n\n{label}, share of the optimum in each state: mean {spread['share_mean']:.5f}, "
            f"5 % quantile {spread['share_quantile_5']:.5f}, lowest {spread['share_lowest']:.5f}"
        )
    cells = METRICS[cases.metric].below
    return "" if cells is None else f"\n\n{aligned(*cells(rows))}"


_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
AGENT, _OTHERS, _OF_SYSTEMS = "#D55E00", "#0072B2", "#BBBBBB"


def agent_label(config: RunConfig) -> str:
    """Name of the agent's row."""
    return f"{config.agent} ({config.env.action})"


def print_report(report: Report, console: Console) -> None:
    """Print the table."""
    console.print(f"\n{report.title}\n\n{report.text}\n", highlight=False, markup=False, soft_wrap=True)


def write_report(report: Report, folder: Path) -> None:
    """Write ``table.json`` and ``table.csv``."""
    write_atomically(folder / TABLE, to_json(report.rows, report.about).encode())
    write_atomically(folder / "table.csv", to_csv(report.rows).encode())


def draw_report(report: Report, label: str, folder: Path) -> None:
    """Draw ``comparison.png`` and ``learning_curve.png`` from the table and the curve's file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for name, plot in (("comparison", _bars), ("learning_curve", _curve)):
        figure = Figure(figsize=(8.0, 4.5), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        plot(figure.subplots(), report, label, folder)
        with replacing(folder / f"{name}.png") as file:
            figure.savefig(file)


def _bars(axes: Any, report: Report, label: str, folder: Path) -> None:
    shown = report.rows[::-1]  # other systems come last in the table, so they are at the bottom, below a gap
    systems = sum(not bar.decides for bar in shown)
    positions = [index - (not bar.decides) for index, bar in enumerate(shown)]
    values = [bar.mean for bar in shown]
    errors = [[bar.mean - bar.low for bar in shown], [bar.high - bar.mean for bar in shown]]
    colours = [(AGENT if bar.name == label else _OTHERS) if bar.decides else _OF_SYSTEMS for bar in shown]
    axes.barh(positions, values, xerr=errors, color=colours, capsize=3)
    axes.set_yticks(positions, [bar.name for bar in shown])
    if systems:
        axes.text(0.0, systems - 1, f" {OTHER_SYSTEMS}", va="center", color="#666666")
    for position, bar in zip(positions, shown, strict=True):
        axes.text(max(bar.high, 0.0), position, f"  {bar.headline:.4f}", va="center", fontsize="small")
    axes.set_xlim(1.12 * min(0.0, *(bar.low for bar in shown)), 1.12 * max(0.0, *(bar.high for bar in shown)))
    beside = "" if report.headline.axis == report.axis else f"; beside it the {report.headline.axis}"
    axes.set_xlabel(f"{report.axis}, mean and 95 % interval{beside}")


def _curve(axes: Any, report: Report, label: str, folder: Path) -> None:
    steps, scores = read_curve(folder / CURVE, report.headline.key)
    axes.plot(steps, scores, color=AGENT, marker="o", markersize=3, label=f"{label}, validation")
    rows = [bar for bar in report.rows if bar.decides]
    lowest = min(scores) - 0.1 * abs(max(bar.headline for bar in rows))
    references = [bar for bar in rows if bar.name != label and bar.headline > lowest]
    for colour, bar in zip(_COLOURS, references, strict=False):
        axes.axhline(bar.headline, color=colour, linestyle="--", linewidth=1, label=f"{bar.name}, {bar.headline:.4f}")
    axes.set_xlabel("rounds trained")
    axes.set_ylabel(report.headline.axis)
    axes.legend(loc="center right", fontsize="small")
