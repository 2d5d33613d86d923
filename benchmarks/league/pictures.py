"""Pictures of the league and of its studies."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.measures import COLOURS
from benchmarks.league.cells import Content
from benchmarks.league.report import League
from benchmarks.league.statistics import all_scores, profile
from multispin_env.evaluation.seeds import BOOTSTRAP_SEED
from multispin_env.files import replacing

POINTS = 201
"""Of a profile."""


def draw(
    path: Path,
    plot: Callable[[Any], None],
    panels: tuple[int, int] | None = None,
    size: tuple[float, float] = (3.2, 2.4),
) -> None:
    """Draw one picture, or rows and columns of some size in inches, into a PNG file; ``plot`` is given the axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = panels or (1, 1)
    whole = (size[0] * columns, size[1] * rows) if panels else (8.0, 4.5)
    figure = Figure(figsize=whole, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    plot(figure.subplots(rows, columns, squeeze=panels is None))
    with replacing(path) as file:
        figure.savefig(file)


def draw_profile(league: League, folder: Path) -> None:
    """Draw ``profile.png``: share of runs above each score."""
    performances = league.performances()
    lowest = min(float(all_scores(its_performances).min()) for its_performances in performances.values())
    grid = np.linspace(min(lowest - 0.02, 0.9), 1.02, POINTS)

    def plot(axes: Any) -> None:
        for colour, (name, its_performances) in zip(COLOURS, performances.items(), strict=False):
            share, low, high = profile(its_performances, grid, np.random.default_rng(BOOTSTRAP_SEED))
            runs = sum(len(performance.values) for performance in its_performances)
            axes.step(
                grid,
                share,
                where="post",
                color=colour,
                label=f"{name}, {runs} runs in {len(its_performances)} contests",
            )
            axes.fill_between(grid, low, high, step="post", color=colour, alpha=0.15, linewidth=0.0)
        axes.set_xlabel("score τ: 0 fixed controller, 1 optimum, clairvoyant or gradient rule")
        axes.set_ylabel("share of runs above τ")
        axes.legend(loc="lower left", fontsize="small")

    draw(folder / "profile.png", plot)


def draw_generalisation(rows: Sequence[Content], folder: Path) -> None:
    """Draw ``generalisation.png``: scores of the pretrained agents by K, and of the best plug-ins, dashed."""
    presets = list(dict.fromkeys(row["preset"] for row in rows))

    def plot(axes: Any) -> None:
        for panel, preset in zip(axes.flat, presets, strict=False):
            _generalisation(panel, [row for row in rows if row["preset"] == preset])
            panel.set_title(preset, fontsize="medium")
        axes[0, 0].set_ylabel("score: 0 fixed, 1 reference")
        axes[0, 0].figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)

    draw(folder / "generalisation.png", plot, (-(-len(presets) // 2), min(2, len(presets))), (5.0, 4.0))


def _generalisation(axes: Any, rows: Sequence[Content]) -> None:
    for colour, env in zip(COLOURS, dict.fromkeys(row["env"] for row in rows), strict=False):
        own = [row for row in rows if row["env"] == env]
        users = [row["num_users"] for row in own]
        low, high = ([row[f"agent_{end}"] for row in own] for end in ("low", "high"))
        label = f"{env.split('/')[-1]}; its run: {own[0]['trained']}"
        axes.plot(users, [row["agent"] for row in own], color=colour, marker="o", markersize=3, label=label)
        axes.fill_between(users, low, high, color=colour, alpha=0.15, linewidth=0.0)
        axes.plot(users, [row["plug_in"] for row in own], color=colour, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    ticks = list(dict.fromkeys(row["num_users"] for row in rows))
    axes.set_xticks(ticks, [str(users) for users in ticks])
    axes.minorticks_off()
    axes.set_xlabel("K in the test; dashed: best plug-in")


def draw_time(rows: Sequence[Content], folder: Path) -> None:
    """Draw ``time.png``: goodput lost against the time of a decision, one at a time and in a batch."""

    def plot(axes: Any) -> None:
        for colour, row in zip(COLOURS, rows, strict=False):
            lost = max(row["lost"], 1e-9)
            axes.plot(row["batched"], lost, color=colour, marker="s", linestyle="none")
            axes.plot(row["alone"], lost, color=colour, marker="o", linestyle="none", label=row["name"])
            axes.plot([row["batched"], row["alone"]], [lost, lost], color=colour, linewidth=0.7)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("seconds a decision: circles alone, squares in a batch; losses below 1e-9 are drawn there")
        axes.set_ylabel("goodput lost against the optimum")
        axes.legend(fontsize="small")

    draw(folder / "time.png", plot)
