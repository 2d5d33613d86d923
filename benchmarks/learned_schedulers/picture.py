"""Picture of where an agent gains under load: ``learned.png``."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.league.pictures import draw
from benchmarks.learned_schedulers.generalisation import measured
from benchmarks.learned_schedulers.subjects import OPEN, PRESETS, Learned, System
from multispin_env.evaluation.table import aligned

LOADS, SPREADS = (0.4, 0.6, 0.85, 1.1), (0.15, 0.5, 0.8)
USERS, EPISODES = 8, 12

COLOURS = "PuOr"
"""A diverging map that colour-blind readers can tell apart, white in the middle."""

SMALLEST_RANGE = 1.0
"""Per cent at the ends of the map at least, so that noise is not drawn in full colour."""


@dataclass(frozen=True)
class Row:
    """One cell.

    Parameters
    ----------
    preset, load, spread
        The system.
    best
        Name of the best rule.
    gain, low, high
        Of the agent over it in per cent of its rate, with the 95 % interval.
    """

    preset: str
    load: float
    spread: float
    best: str
    gain: float
    low: float
    high: float


def cell(learned: Learned, preset: str, load: float, spread: float, size: int) -> Row:
    """The agent and the rules on the same episodes."""
    system = System.of(preset, OPEN, load=load, num_users=USERS, draft_time_spread=spread)
    row = measured(learned, system, size)
    if row.over_best is None or row.best_rate is None:
        raise ValueError(f"agent: expected one that can play {system.title}, but {row.why_not}")
    gain, low, high = (100.0 * value / row.best_rate for value in row.over_best)
    return Row(preset, load, spread, row.best, gain, low, high)


def run(subjects: Sequence[Learned], size: int | None) -> list[Row]:
    """All cells of the agent of the open system."""
    cells = itertools.product(PRESETS, LOADS, SPREADS)
    wanted = [(one, *where) for one in subjects if one.env_id == OPEN for where in cells]
    return [cell(*where, size or EPISODES) for where in wanted]


def table(rows: Sequence[Row]) -> str:
    """All cells."""
    header = (f"{OPEN}, K = {USERS}", "load", "spread", "best rule", "agent over it (%)", "95 % interval")
    lines = [
        (
            *(row.preset, f"{row.load:g}", f"{row.spread:g}", row.best),
            *(f"{row.gain:+.1f}", f"{row.low:+.1f} to {row.high:+.1f}"),
        )
        for row in rows
    ]
    return aligned(header, lines)


def draw_gains(rows: Sequence[Row], path: Path) -> None:
    """Draw a heat map for each preset; bold where the interval is off zero."""
    presets = list(dict.fromkeys(row.preset for row in rows))
    end = max(SMALLEST_RANGE, *(abs(row.gain) for row in rows))

    def plot(axes: Any) -> None:
        for panel, preset in zip(axes.flat, presets, strict=True):
            image = _panel(panel, [row for row in rows if row.preset == preset], end)
            panel.set_title(f"{preset}, K = {USERS}", fontsize="medium")
        axes[0, 0].set_ylabel("spread of draft times (±)")
        colours = axes[0, 0].figure.colorbar(image, ax=list(axes.flat))
        colours.set_label("agent over the best rule (%); bold: interval off 0", fontsize="small")

    draw(path, plot, (1, len(presets)), (4.4, 3.2))


def _panel(axes: Any, rows: Sequence[Row], end: float) -> Any:
    loads, spreads = (sorted({getattr(row, name) for row in rows}) for name in ("load", "spread"))
    gains = np.full((len(spreads), len(loads)), np.nan)
    for row in rows:
        place = spreads.index(row.spread), loads.index(row.load)
        gains[place] = row.gain
        weight = "bold" if row.low > 0.0 or row.high < 0.0 else "normal"
        colour = "white" if abs(row.gain) > 0.65 * end else "black"  # readable on the dark ends of the map
        axes.text(place[1], place[0], f"{row.gain:+.1f}", ha="center", va="center", weight=weight, color=colour)
    axes.set_xticks(range(len(loads)), [f"{load:g}" for load in loads])
    axes.set_yticks(range(len(spreads)), [f"{spread:g}" for spread in spreads])
    axes.set_xlabel("load")
    return axes.imshow(gains, cmap=COLOURS, vmin=-end, vmax=end, origin="lower", aspect="auto")
