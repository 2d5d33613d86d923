"""Summary of a record: rates of its tasks, and how far the i.i.d. formula is off, as tables and a picture."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.checks import check_integer
from multispin_env.evaluation.statistics import Cells
from multispin_env.physics.records import FITTED_LENGTHS, Records, prompt_rates, replayed_expectations
from multispin_env.physics.tokens import expected_tokens
from multispin_env.reproduce.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, legend_below, save
from multispin_env.reproduce.figure import FigureSpec
from multispin_env.scenario import Task

ALL = "all"
"""Row of all tasks together."""

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
"""Of the tasks in a picture, which shows no more of them."""

SUMMARY_COLUMNS = 3
"""Panels in a row."""


@dataclass(frozen=True)
class RoundTokens:
    """Tokens a round of one draft length, means over the prompts of a task."""

    draft_length: int
    replayed: float  # along the record, with β for what each round gains
    formula: float  # E[N | L] of [MS] (12) at each prompt's rate

    @property
    def off(self) -> float:
        """Formula over replay, minus 1."""
        return self.formula / self.replayed - 1.0


@dataclass(frozen=True)
class TaskSummary:
    """One task of a record, or all of them."""

    task: str
    prompts: int
    places: int
    mean_probability: float  # mean of β over places
    token_std: float  # its standard deviation between places
    overlap: float | None  # mean of Σ min(p, q); ``None`` where the record does not say it
    rate: float
    """α of the i.i.d. formula, mean over prompts (see `prompt_rates`)."""
    prompt_std: float  # standard deviation of α between prompts
    rounds: tuple[RoundTokens, ...]  # for L = 1..16

    @property
    def worst(self) -> RoundTokens:
        """Where the formula is off most."""
        return max(self.rounds, key=lambda one: abs(one.off))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self) | {"rounds": [asdict(one) | {"off": one.off} for one in self.rounds]}


def summarise(records: Records, overlap: FloatArray | None, names: Sequence[str]) -> list[TaskSummary]:
    """A row for each task of a record, and behind them one for all if there are several.

    ``overlap`` is Σ min(p, q) at each place, (N,), or ``None``.
    """
    check_integer("tasks", len(names), records.num_tasks, records.num_tasks)
    rows = [_summary(records, overlap, name, records.task == index) for index, name in enumerate(names)]
    return rows if len(rows) == 1 else [*rows, _summary(records, overlap, ALL, records.task >= 0)]


def _summary(records: Records, overlap: FloatArray | None, name: str, prompts: BoolArray) -> TaskSummary:
    places = prompts[records.prompt]
    beta, rate = records.probability[places], prompt_rates(records)[prompts]
    replayed = replayed_expectations(records)[:, prompts].mean(1)
    formula = expected_tokens(FITTED_LENGTHS[:, None], rate).mean(1)
    return TaskSummary(
        task=name,
        prompts=int(prompts.sum()),
        places=len(beta),
        mean_probability=float(beta.mean()),
        token_std=float(beta.std()),
        overlap=None if overlap is None else float(overlap[places].mean()),
        rate=float(rate.mean()),
        prompt_std=float(rate.std()),
        rounds=tuple(map(RoundTokens, FITTED_LENGTHS.tolist(), replayed.tolist(), formula.tolist())),
    )


def tasks_of(rows: Sequence[TaskSummary]) -> tuple[Task, ...]:
    """Tasks of a scenario: α, and its standard deviation between prompts."""
    return tuple(Task(name=row.task, acceptance_rate=row.rate, acceptance_std=row.prompt_std) for row in of_tasks(rows))


def of_tasks(rows: Sequence[TaskSummary]) -> Sequence[TaskSummary]:
    """The rows of single tasks."""
    return rows[:-1] if len(rows) > 1 else rows


def task_cells(rows: Sequence[TaskSummary]) -> tuple[Cells, list[Cells]]:
    """Header and lines of the table of rates."""
    header = ("task", "prompts", "places", "mean β", "± tokens", "overlap", "α", "± prompts", "formula off", "at L")
    lines: list[Cells] = [
        (
            row.task,
            str(row.prompts),
            str(row.places),
            f"{row.mean_probability:.3f}",
            f"{row.token_std:.3f}",
            "" if row.overlap is None else f"{row.overlap:.3f}",
            f"{row.rate:.3f}",
            f"{row.prompt_std:.3f}",
            f"{100.0 * row.worst.off:+.1f} %",
            str(row.worst.draft_length),
        )
        for row in rows
    ]
    return header, lines


def round_cells(rows: Sequence[TaskSummary]) -> tuple[Cells, list[Cells]]:
    """Header and lines of the table of rounds: replayed tokens, and how far the formula is off."""
    header = ("L", *(row.task for row in rows))
    lines: list[Cells] = [
        (str(rounds[0].draft_length), *(f"{one.replayed:.2f} {100.0 * one.off:+5.1f} %" for one in rounds))
        for rounds in zip(*(row.rounds for row in rows), strict=True)
    ]
    return header, lines


def draw_summary(rows: Sequence[TaskSummary], records: Records, stem: Path) -> None:
    """Write ``stem.png``: for each task the tokens a round against the formula; then β by place, and α by prompt."""
    shown = of_tasks(rows)[: len(COLOURS)]
    panels = len(shown) + 2
    height = -(-panels // SUMMARY_COLUMNS)

    def draw(_: Sequence[Any], figure: Any) -> None:
        grid = figure.subplots(height, SUMMARY_COLUMNS, squeeze=False).ravel()
        for axes, row in zip(grid, shown, strict=False):
            _draw_rounds(axes, row)
        _draw_probabilities(grid[len(shown)], shown, records)
        _draw_rates(grid[len(shown) + 1], shown, records)
        for axes in grid[panels:]:
            axes.set_axis_off()
        legend_below(figure, grid[0], 2)

    save(FigureSpec("", "", lambda _: [], draw, (3.3 * SUMMARY_COLUMNS, 2.6 * height + 0.3)), [], stem, (".png",))


def _draw_rounds(axes: Any, row: TaskSummary) -> None:
    lengths = [one.draft_length for one in row.rounds]
    axes.plot(lengths, [one.replayed for one in row.rounds], color=BLUE, marker="o", markersize=3.5, label="replayed")
    formula = [one.formula for one in row.rounds]
    axes.plot(lengths, formula, color=BLACK, linestyle="--", label="E[N] at the prompts' α")
    axes.set_title(f"{row.task}: α {row.rate:.3f}, {row.prompts} prompt{'s' if row.prompts > 1 else ''}")
    axes.set_xlabel("draft length L (tokens)")
    axes.set_ylabel("tokens a round")
    axes.set_xticks([1, *(length for length in lengths if length % 4 == 0)])
    axes.set_ylim(0.0, 1.08 * max(one.replayed for one in row.rounds))


def _draw_probabilities(axes: Any, rows: Sequence[TaskSummary], records: Records) -> None:
    """How many places have at most each β."""
    for index, row in enumerate(rows):
        beta = np.sort(records.probability[records.task[records.prompt] == index])
        share = np.arange(1, len(beta) + 1) / len(beta)
        axes.step(beta, share, where="post", color=COLOURS[index], linewidth=1.3, label=row.task)
    axes.set_title("β at the places of the texts")
    axes.set_xlabel("β")
    axes.set_ylabel("share of places up to β")
    axes.set_ylim(0.0, 1.0)
    axes.legend(frameon=False, fontsize="small")


def _draw_rates(axes: Any, rows: Sequence[TaskSummary], records: Records) -> None:
    """α of each prompt, with mean and standard deviation of its task."""
    rates = prompt_rates(records)
    for index, row in enumerate(rows):
        mine = rates[records.task == index]
        axes.plot(np.full(len(mine), index), mine, "o", color=COLOURS[index], markersize=3.5, alpha=0.6)
        axes.errorbar(index + 0.25, row.rate, row.prompt_std, color=BLACK, marker="s", markersize=4, capsize=3)
    axes.set_xticks(range(len(rows)), [row.task for row in rows], rotation=30 if len(rows) > 4 else 0)
    axes.set_title("α of each prompt; mean ± std")
    axes.set_ylabel("α")
    axes.set_xlim(-0.5, len(rows) - 0.25)
