"""Pictures of the league: performance profile, learning curves, and pretrained agents over K."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.measures import COLOURS, CURVE, Measure, points
from benchmarks.league.cells import BOUND, Cell, Content, Contest
from benchmarks.league.report import League
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.suite.statistics import all_scores, profile
from multispin_env.files import replacing

Curve = tuple[FloatArray, FloatArray]
"""Rounds (points,) and scores (..., points)."""

LOWEST = 0.2
"""Part of its best that a panel of curves shows below it; worse is cut off."""


def draw(path: Path, plot: Callable[[Any], None], count: int, columns: int, size: tuple[float, float]) -> None:
    """Draw so many panels of some size in inches into a PNG file; ``plot`` is given the axes (count,)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns, rows = min(columns, count), -(-count // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for panel in axes[count:]:
        panel.set_axis_off()
    plot(axes[:count])
    with replacing(path) as file:
        figure.savefig(file)


def draw_profile(league: League, folder: Path) -> None:
    """Draw ``profile.png``: share of runs above each score."""
    performances = {name: [own for own, _ in pairs] for name, pairs in league.performances().items()}
    lowest = min(float(all_scores(its_performances).min()) for its_performances in performances.values())
    grid = np.linspace(min(lowest - 0.02, 0.9), 1.02, 201)

    def plot(panels: Any) -> None:
        (axes,) = panels
        for colour, (name, of_name) in zip(COLOURS, performances.items(), strict=False):
            share, low, high = profile(of_name, grid)
            label = f"{name}, {sum(len(one.values) for one in of_name)} runs in {len(of_name)} contests"
            axes.step(grid, share, where="post", color=colour, label=label)
            axes.fill_between(grid, low, high, step="post", color=colour, alpha=0.15, linewidth=0.0)
        axes.set_xlabel("score τ: 0 fixed controller, 1 optimum, clairvoyant or gradient rule")
        axes.set_ylabel("share of runs above τ")
        axes.legend(loc="lower left", fontsize="small")

    draw(folder / "profile.png", plot, 1, 1, (8.0, 4.5))


def draw_curves(league: League, folder: Path) -> None:
    """Draw ``curves.png``: for each contest the mean of the seeds, in a band from the worst to the best.

    The dashed line is the best plug-in or rule; the dotted one is the bound, where there is one.
    """
    curves = {contest: found for contest in league.references if (found := _curves_of(league, contest, folder))}
    colours = dict(zip(league.agents, COLOURS, strict=False))

    def plot(panels: Any) -> None:
        for axes, (contest, of_contest) in zip(panels, curves.items(), strict=True):
            for name, (rounds, scores) in of_contest.items():
                axes.plot(rounds, scores.mean(0), color=colours[name], linewidth=1, label=name)
                axes.fill_between(rounds, scores.min(0), scores.max(0), color=colours[name], alpha=0.2, linewidth=0.0)
            best = max(float(scores.max()) for _, scores in of_contest.values())
            axes.set_ylim(best - LOWEST * abs(best), best + 0.02 * abs(best))
            axes.set_xscale("log")
            axes.set_title(f"{contest.env.split('/')[-1]}\n{contest.preset}, K = {contest.num_users}", fontsize="small")
            axes.tick_params(labelsize="x-small")
            axes.tick_params(axis="x", which="minor", labelbottom=False)
            axes.set_xlabel("rounds or states", fontsize="x-small")
            _lines(axes, league, contest)
        first = panels[0]
        first.figure.legend(*first.get_legend_handles_labels(), loc="outside upper center", ncols=len(colours))

    if curves:
        draw(folder / "curves.png", plot, len(curves), 4, (3.2, 2.4))


def _curves_of(league: League, contest: Contest, folder: Path) -> dict[str, Curve]:
    """Scores (seeds, points) of each agent."""
    curves_of = {}
    for name, cells in league.runs(contest).items():
        curves = [_curve(cell, folder) for cell in cells if (folder / "runs" / cell.stem / CURVE).is_file()]
        if curves:
            rounds = curves[0][0]
            curves_of[name] = rounds, np.array([np.interp(rounds, *curve) for curve in curves])
    return curves_of


def _curve(cell: Cell, folder: Path) -> Curve:
    """Validation scores (points,) of a run."""
    headline = Measure(cell.contest.env, cell.contest.settings).headline.key
    rounds, scores = np.array(points(folder / "runs" / cell.stem / CURVE, headline), float)
    return rounds, scores


def _lines(axes: Any, league: League, contest: Contest) -> None:
    """The best plug-in and the bound, where curves are shares of what runs are validated by."""
    about = league.references[contest]
    if METRICS[about["metric"]].has_share:
        one, plug_in, top = (values.mean() for values in league.others(contest, "validated_by", "plug_in", "reference"))
        axes.axhline(plug_in / one, color="0.4", linewidth=0.8, linestyle="--")
        if about["reference"] == BOUND:
            axes.axhline(top / one, color="0.4", linewidth=0.8, linestyle=":")
            axes.set_ylim(top=max(axes.get_ylim()[1], 1.01 * top / one))


def draw_generalisation(rows: Sequence[Content], folder: Path) -> None:
    """Draw ``generalisation.png``: scores of the pretrained agents by K, and of the best plug-ins, dashed."""
    presets = list(dict.fromkeys(row["preset"] for row in rows))

    def plot(panels: Any) -> None:
        for panel, preset in zip(panels, presets, strict=True):
            _generalisation(panel, [row for row in rows if row["preset"] == preset])
            panel.set_title(preset, fontsize="medium")
        first = panels[0]
        first.set_ylabel("score: 0 fixed, 1 reference")
        first.figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=2)

    draw(folder / "generalisation.png", plot, len(presets), 2, (5.0, 4.0))


def _generalisation(axes: Any, rows: Sequence[Content]) -> None:
    for colour, env in zip(COLOURS, dict.fromkeys(row["env"] for row in rows), strict=False):
        own = [row for row in rows if row["env"] == env]
        users, low, high, agent, plug_in = (
            [row[key] for row in own] for key in ("num_users", "agent_low", "agent_high", "agent", "plug_in")
        )
        label = f"{env.split('/')[-1]}; its run: {own[0]['trained']}"
        axes.plot(users, agent, color=colour, marker="o", markersize=3, label=label)
        axes.fill_between(users, low, high, color=colour, alpha=0.15, linewidth=0.0)
        axes.plot(users, plug_in, color=colour, linestyle="--", linewidth=1)
    axes.set_xscale("log")
    ticks = list(dict.fromkeys(row["num_users"] for row in rows))
    axes.set_xticks(ticks, [str(users) for users in ticks])
    axes.minorticks_off()
    axes.set_xlabel("K in the test; dashed: best plug-in")
