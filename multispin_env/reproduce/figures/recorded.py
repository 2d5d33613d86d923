"""Expected tokens of the i.i.d. model against recorded speculative decoding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.physics.acceptance.records import Records, load_records
from multispin_env.physics.acceptance.replay import accepted_runs, advance, prompt_rates
from multispin_env.physics.tokens import expected_tokens
from multispin_env.reproduce.drawing import BLACK, BLUE, ORANGE, legend_below
from multispin_env.reproduce.figure import FigureSpec
from multispin_env.reproduce.scale import Scale

TASKS = ("code", "mathematics", "chat", "reading")
DRAFT_LENGTHS = tuple(range(1, 17))
QUICK_LENGTHS = (1, 2, 4, 8, 12, 16)
ROUNDS = 64


@dataclass(frozen=True)
class RecordedRow:
    """One draft length on the prompts of one task."""

    task: str
    draft_length: int
    prompts: int
    replayed: float  # tokens a round, mean over prompts
    low: float  # 95 % interval over prompts
    high: float
    fitted: float  # E[N | L] at each prompt's fitted rate, mean over prompts
    plain: float  # E[N | L] at each prompt's mean acceptance probability


def replayed_tokens(records: Records, draft_length: int, rounds: int = ROUNDS) -> FloatArray:
    """Tokens a round of each prompt, (P,): the mean over rounds that begin at every place and read on."""
    runs = accepted_runs(records)
    place: IntArray = np.arange(len(runs))
    total = np.zeros(len(place))
    for _ in range(rounds):
        tokens = np.minimum(runs[place], draft_length) + 1
        total += tokens
        place = advance(records, place, tokens)
    mean: FloatArray = np.add.reduceat(total, records.start) / (rounds * records.length)
    return mean


def compute(scale: Scale) -> list[RecordedRow]:
    """Replay the record of the package; nothing here is random but the bootstrap."""
    records = load_records()
    fitted = prompt_rates(records)
    plain = np.add.reduceat(records.probability, records.start) / records.length
    rows = []
    for length in scale.over(scale.pick(DRAFT_LENGTHS, QUICK_LENGTHS)):
        tokens = replayed_tokens(records, length)
        for index, task in enumerate(TASKS):
            mine = records.task == index
            interval = mean_interval(tokens[mine])
            means = [float(expected_tokens(np.array(length), rates[mine]).mean()) for rates in (fitted, plain)]
            rows.append(RecordedRow(task, length, int(mine.sum()), *interval, *means))
    return rows


def draw(rows: Sequence[RecordedRow], figure: Any) -> None:
    """A panel for each task."""
    panels = figure.subplots(1, len(TASKS), sharey=True)
    for axes, task in zip(panels, TASKS, strict=True):
        points = [row for row in rows if row.task == task]
        lengths = [row.draft_length for row in points]
        axes.fill_between(lengths, [row.low for row in points], [row.high for row in points], color=BLUE, alpha=0.2)
        replayed = [row.replayed for row in points]
        axes.plot(lengths, replayed, color=BLUE, marker="o", markersize=3.5, label="replayed record, 95 % band")
        axes.plot(lengths, [row.fitted for row in points], color=BLACK, linestyle="--", label="E[N] at the fitted α")
        plain = [row.plain for row in points]
        axes.plot(lengths, plain, color=ORANGE, linestyle=":", linewidth=2.0, label="E[N] at the mean acceptance")
        axes.set_title(f"{task}, {points[0].prompts} prompts")
        axes.set_xlabel("draft length L (tokens)")
        axes.set_ylim(bottom=0.0)
    panels[0].set_ylabel("tokens gained a round")
    legend_below(figure, panels[0], 3)


FIGURE = FigureSpec(
    title="E[N] against recorded drafts",
    caption="The i.i.d. formula at one rate for each prompt, fitted or its plain mean acceptance, stays within a tenth "
    "of the replayed record at every draft length, though real acceptance is not i.i.d.: chat gains less, reading more "
    "than it says. The record is of the project's own model pair, the same for both presets.",
    compute=compute,
    draw=draw,
    size=(10.5, 3.6),
)
