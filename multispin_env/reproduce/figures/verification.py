"""Verification latency against batch size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from multispin_env.reproduce.drawing import BLUE, ORANGE, legend_below
from multispin_env.reproduce.figure import PRESETS, FigureSpec
from multispin_env.reproduce.scale import Scale
from multispin_env.scenario import Scenario

LARGEST = 32
FITTED = 16
"""Largest batch that the paper's lines were fitted to."""


@dataclass(frozen=True)
class BatchRow:
    """One batch size of one model."""

    preset: str
    batch: int
    verification_ms: float
    per_draft_ms: float


def compute(scale: Scale) -> list[BatchRow]:
    """T_ver = T_fix + K T_lin ([MS] 7)."""
    rows = []
    for preset in scale.over(PRESETS):
        for batch in range(1, LARGEST + 1):
            time = 1e3 * Scenario.preset(preset, num_users=batch).verification_time
            rows.append(BatchRow(preset, batch, time, time / batch))
    return rows


def draw(rows: Sequence[BatchRow], figure: Any) -> None:
    """Latency of the batch, and for each draft in it."""
    left, right = figure.subplots(1, 2)
    for preset, colour, marker in zip(PRESETS, (BLUE, ORANGE), ("o", "s"), strict=True):
        points = [row for row in rows if row.preset == preset]
        batch = [row.batch for row in points]
        left.plot(batch, [row.verification_ms for row in points], color=colour, marker=marker, markersize=3)
        right.plot(batch, [row.per_draft_ms for row in points], color=colour, marker=marker, markersize=3, label=preset)
    for axes, what in (
        (left, "verification latency of the batch (ms)"),
        (right, "verification latency per draft (ms)"),
    ):
        axes.axvspan(FITTED, LARGEST, color="0.92", zorder=0, label="beyond the fitted batches")
        axes.set_xlabel("batch size K (drafts)")
        axes.set_ylabel(what)
        axes.set_ylim(bottom=0.0)
        axes.set_xlim(0, LARGEST)
    legend_below(figure, right, 3)


FIGURE = FigureSpec(
    title="Verification latency against batch size",
    caption="A batch takes T_fix + K T_lin (left), so each draft in it costs less the more share it, down to T_lin "
    "(right); the lines are the paper's fits to batches of 1 to 16, and its own 20 devices lie beyond them.",
    compute=compute,
    draw=draw,
)
