"""The comparison at the end of a run: on the terminal, as files, and as pictures."""

from pathlib import Path
from typing import Any

from rich.console import Console

from agents.curve import CURVE, points
from agents.measures import Report
from agents.runs import RunConfig, write_atomically
from multispin_env.evaluation.comparison import OTHER_SYSTEMS
from multispin_env.evaluation.table import to_csv, to_json
from multispin_env.files import replacing

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
AGENT, OTHERS, OF_SYSTEMS = "#D55E00", "#0072B2", "#BBBBBB"
"""Colours of bars: the agent, what decides otherwise, and other systems."""


def agent_label(config: RunConfig) -> str:
    """Name of the agent's row."""
    return f"{config.agent} ({config.action})"


def show(report: Report, console: Console) -> None:
    """Print the table; on a terminal the best row, the first, is highlighted."""
    console.print(f"\n{report.title}\n", highlight=False, markup=False, soft_wrap=True)
    above_is_rule = False
    for line in report.text.split("\n"):
        style = "bold green" if above_is_rule else None
        console.print(line, highlight=False, markup=False, soft_wrap=True, style=style)
        above_is_rule = line.startswith("---")
    console.print()


def write_report(report: Report, folder: Path) -> None:
    """Write ``table.json`` and ``table.csv``."""
    write_atomically(folder / "table.json", to_json(report.rows, report.about).encode())
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
    places = [index - (not bar.decides) for index, bar in enumerate(shown)]
    values = [bar.mean for bar in shown]
    errors = [[bar.mean - bar.low for bar in shown], [bar.high - bar.mean for bar in shown]]
    colours = [(AGENT if bar.name == label else OTHERS) if bar.decides else OF_SYSTEMS for bar in shown]
    axes.barh(places, values, xerr=errors, color=colours, capsize=3)
    axes.set_yticks(places, [bar.name for bar in shown])
    if systems:
        axes.text(0.0, systems - 1, f" {OTHER_SYSTEMS}", va="center", color="#666666")
    for place, bar in zip(places, shown, strict=True):
        axes.text(max(bar.high, 0.0), place, f"  {bar.headline:.4f}", va="center", fontsize="small")
    axes.set_xlim(1.12 * min(0.0, *(bar.low for bar in shown)), 1.12 * max(0.0, *(bar.high for bar in shown)))
    beside = "" if report.headline.axis == report.axis else f"; beside it the {report.headline.axis}"
    axes.set_xlabel(f"{report.axis}, mean and 95 % interval{beside}")


def _curve(axes: Any, report: Report, label: str, folder: Path) -> None:
    steps, scores = points(folder / CURVE, report.headline.key)
    axes.plot(steps, scores, color=AGENT, marker="o", markersize=3, label=f"{label}, validation")
    rows = [bar for bar in report.rows if bar.decides]
    lowest = min(scores) - 0.1 * abs(max(bar.headline for bar in rows))
    references = [bar for bar in rows if bar.name != label and bar.headline > lowest]
    for colour, bar in zip(COLOURS, references, strict=False):
        axes.axhline(bar.headline, color=colour, linestyle="--", linewidth=1, label=f"{bar.name}, {bar.headline:.4f}")
    axes.set_xlabel("rounds trained")
    axes.set_ylabel(report.headline.axis)
    axes.legend(loc="center right", fontsize="small")
