"""Pictures of the leaderboard: performance profile and learning curves."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.apps.reproduce.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, legend_below, save
from multispin_env.evaluation.suite.entries import CURVE
from multispin_env.evaluation.suite.leaderboard import LeaderRow
from multispin_env.evaluation.suite.statistics import profile

_LOOKS = [
    {"linestyle": line, "color": colour}
    for line, colour in product(("-", "--", ":"), (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, BLACK))
]

_SHOWN = (-0.1, 1.1)  # scores that are drawn; worse and better ones are cut off


def draw_pictures(rows: Sequence[LeaderRow], folder: Path) -> None:
    """Draw ``profile.png``, and ``curves.png`` of methods that have curves."""
    looks = dict(zip((row.method for row in rows), _LOOKS * len(rows), strict=False))
    save(lambda figure: _profile(figure, rows, looks), (8.0, 4.5), folder / "profile", (".png",))
    learnt = [row for row in rows if row.curves is not None]
    if learnt:
        height = 2.4 * -(-len(learnt[0].scores) // 4) + 0.4
        save(lambda figure: _curves(figure, learnt, looks), (12.8, height), folder / "curves", (".png",))


def _profile(figure: Any, rows: Sequence[LeaderRow], looks: dict[str, Any]) -> None:
    axes, grid = figure.subplots(), np.linspace(*_SHOWN, 241)
    for row in rows:
        share, low, high = profile(list(row.performances.values()), grid)
        axes.step(grid, share, where="post", label=row.method, **looks[row.method])
        axes.fill_between(grid, low, high, step="post", color=looks[row.method]["color"], alpha=0.15, linewidth=0.0)
    axes.set(xlabel="score τ: 0 random actions, 1 reference", ylabel="share of trainings above τ")
    legend_below(figure, axes, 4)


def _curves(figure: Any, rows: Sequence[LeaderRow], looks: dict[str, Any]) -> None:
    names = list(rows[0].scores)
    panels = figure.subplots(-(-len(names) // 4), 4, squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        for row in rows:
            assert row.curves is not None
            steps, scores = row.steps * np.array(CURVE), row.curves[name]
            axes.plot(steps, scores.mean(-1), marker="o", markersize=3, label=row.method, **looks[row.method])
            band = {"color": looks[row.method]["color"], "alpha": 0.15, "linewidth": 0.0}
            axes.fill_between(steps, scores.min(-1), scores.max(-1), **band)
        axes.set(title=name, xscale="log", ylim=_SHOWN, xlabel="environment steps")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    figure.supylabel("score")
    legend_below(figure, panels[0], 6)
