"""Figures of the leaderboard: performance profiles and learning curves."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.evaluation.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, save
from multispin_lab.drawing import legend_below
from multispin_lab.suite.entries import CURVE
from multispin_lab.suite.leaderboard import LeaderRow
from multispin_lab.suite.statistics import profile
from multispin_lab.suite.version import task, tasks

_STYLES = [
    {"linestyle": line, "color": colour}
    for line, colour in product(("-", "--", ":"), (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, BLACK))
]

_SCORE_LIMITS = (-0.1, 1.1)  # of the axes


def draw_pictures(rows: Sequence[LeaderRow], folder: Path) -> None:
    """Draw ``profile.png``, and ``curves.png`` for methods with learning curves."""
    styles = dict(zip((row.method for row in rows), _STYLES * len(rows), strict=False))
    save(lambda figure: _profile(figure, rows, styles), (8.0, 4.5), folder / "profile", (".png",))
    with_curves = [row for row in rows if row.curves is not None and row.entry.steps]
    if with_curves:
        height = 2.4 * -(-len(tasks()) // 4) + 0.4
        save(lambda figure: _curves(figure, with_curves, styles), (12.8, height), folder / "curves", (".png",))


def _label(row: LeaderRow) -> str:
    name = row.label.replace("$", r"\$")  # no formulas; names with a leading underscore would be left out
    return f" {name}" if name.startswith("_") else name


def _profile(figure: Any, rows: Sequence[LeaderRow], styles: dict[str, Any]) -> None:
    axes, grid = figure.subplots(), np.linspace(*_SCORE_LIMITS, 241)
    for row in rows:
        share = profile(list(row.performances.values()), grid)
        axes.step(grid, share, where="post", label=_label(row), **styles[row.method])
    axes.set(xlabel="score τ: 0 random actions, 1 reference", ylabel="share of trainings above τ")
    legend_below(figure, axes, 3)


def _curves(figure: Any, rows: Sequence[LeaderRow], styles: dict[str, Any]) -> None:
    names = [item.name for item in tasks() if any(item.name in row.scores for row in rows)]
    panels = figure.subplots(-(-len(names) // 4), 4, squeeze=False, sharey=True).ravel()
    steps = [row.entry.steps for row in rows]
    limits = 0.7 * CURVE[0] * min(steps), 1.4 * max(steps)  # in all panels, also in one without curves
    for axes, name in zip(panels, names, strict=False):
        frozen = task(name).frozen
        axes.axhline(frozen.middle, color="0.6", linestyle="--", linewidth=0.8, label="middle of the range")
        axes.axhline(frozen.untrained, color="0.6", linewidth=0.8, label="untrained network")
        for row in rows:
            scores = np.full((len(CURVE), 1), np.nan)  # of a gap: nothing but a label
            if row.curves is not None and name in row.scores:
                scores = row.curves[name]
            reached = row.entry.steps * np.array(CURVE)
            axes.plot(reached, scores.mean(-1), marker="o", markersize=3, label=_label(row), **styles[row.method])
            band = {"color": styles[row.method]["color"], "alpha": 0.15, "linewidth": 0.0}
            axes.fill_between(reached, scores.min(-1), scores.max(-1), **band)
        axes.set(title=name, xscale="log", xlim=limits, ylim=_SCORE_LIMITS, xlabel="environment steps")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    figure.supylabel("reported score")
    legend_below(figure, panels[0], 4)
