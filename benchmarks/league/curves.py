"""Learning curves of the league: validation scores of all seeds while they learn."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agents.measures import COLOURS, CURVE, Measure, points
from benchmarks.league.cells import BOUND, Cell, Contest
from benchmarks.league.overview import agents_of
from benchmarks.league.pictures import draw
from benchmarks.league.report import League
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.comparison import METRICS

COLUMNS = 4
LOWEST = 0.2
"""Part of its best that a panel shows below it; worse is cut off."""


def draw_curves(league: League, folder: Path) -> None:
    """Draw ``curves.png``: for each contest the mean of the seeds, in a band from the worst to the best.

    The dashed line is the best plug-in or rule; the dotted one is the bound, where there is one.
    """
    curves = {
        contest: of_contest for contest in league.references if (of_contest := _curves_of(league, contest, folder))
    }
    if not curves:
        return
    colours = dict(zip(agents_of(league), COLOURS, strict=False))

    def plot(axes: Any) -> None:
        for panel in axes.flat[len(curves) :]:
            panel.set_axis_off()
        for panel, (contest, of_contest) in zip(axes.flat, curves.items(), strict=False):
            _panel(panel, contest, of_contest, colours)
            _lines(panel, league, contest)
        first = axes.flat[0]
        first.figure.legend(*first.get_legend_handles_labels(), loc="outside upper center", ncols=len(colours))

    draw(folder / "curves.png", plot, (-(-len(curves) // COLUMNS), min(COLUMNS, len(curves))))


def _curves_of(league: League, contest: Contest, folder: Path) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Rounds (points,) and scores (seeds, points) of each agent."""
    curves_of = {}
    for name, cells in league.runs(contest).items():
        curves = [curve for cell in cells if (curve := _curve(cell, folder)) is not None]
        if curves:
            rounds = curves[0][0]
            curves_of[name] = rounds, np.array([np.interp(rounds, *curve) for curve in curves])
    return curves_of


def _curve(cell: Cell, folder: Path) -> tuple[FloatArray, FloatArray] | None:
    """Rounds and validation scores of a run, if it is still there."""
    path = folder / "runs" / cell.stem / CURVE
    if not path.is_file():
        return None
    headline = Measure(cell.contest.env, cell.contest.settings).headline.key
    rounds, scores = np.array(points(path, headline), float)
    return rounds, scores


def _panel(
    axes: Any, contest: Contest, curves: Mapping[str, tuple[FloatArray, FloatArray]], colours: Mapping[str, str]
) -> None:
    for name, (rounds, scores) in curves.items():
        axes.plot(rounds, scores.mean(0), color=colours[name], linewidth=1, label=name)
        axes.fill_between(rounds, scores.min(0), scores.max(0), color=colours[name], alpha=0.2, linewidth=0.0)
    best = max(float(scores.max()) for _, scores in curves.values())
    axes.set_ylim(best - LOWEST * abs(best), best + 0.02 * abs(best))
    axes.set_xscale("log")
    axes.set_title(f"{contest.env.split('/')[-1]}\n{contest.preset}, K = {contest.num_users}", fontsize="small")
    axes.tick_params(labelsize="x-small")
    axes.tick_params(axis="x", which="minor", labelbottom=False)
    axes.set_xlabel("rounds or states", fontsize="x-small")


def _lines(axes: Any, league: League, contest: Contest) -> None:
    """The best plug-in and the bound, where curves are shares of what runs are validated by."""
    about = league.references[contest]
    if not METRICS[about["metric"]].has_share:
        return
    one = league.others(contest, about["validated_by"]).mean()
    axes.axhline(league.others(contest, about["plug_in"]).mean() / one, color="0.4", linewidth=0.8, linestyle="--")
    if about["reference"] == BOUND:
        bound = league.others(contest, BOUND).mean() / one
        axes.axhline(bound, color="0.4", linewidth=0.8, linestyle=":")
        axes.set_ylim(top=max(axes.get_ylim()[1], 1.01 * bound))
