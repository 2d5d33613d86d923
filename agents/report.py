"""The comparison at the end of a run: table on the terminal, as files, and as pictures."""

import csv
from pathlib import Path
from typing import Any

from rich.console import Console

from agents.decider import ModelDecider
from agents.runs import CURVE, RunConfig, write_atomically
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.scores import HELD_OUT_SEED, held_out_states, reference_scores, score
from multispin_env.evaluation.table import Row, make_table, to_csv, to_json, to_text

HELD_OUT = 500
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")


def agent_label(config: RunConfig) -> str:
    """Name of the agent's row."""
    return f"{config.agent} ({config.action})"


def compare(decide: ModelDecider, settings: Settings, label: str, states: int = HELD_OUT) -> list[Row]:
    """Score every reference controller and the agent on the same held-out states."""
    state = held_out_states(settings.scenario, states)
    scores = reference_scores(settings.scenario, state) | score(settings.scenario, state, {label: decide})
    return make_table(scores)


def about(settings: Settings, env: str, states: int) -> dict[str, Any]:
    """What a table is about."""
    return {"env": env, "held_out_states": states, "held_out_seed": HELD_OUT_SEED, **settings.scenario.to_dict()}


def show(rows: list[Row], settings: Settings, env: str, states: int, console: Console) -> None:
    """Print the table."""
    scenario = settings.scenario
    head = (
        f"{env}, {scenario.name}, K = {scenario.num_users}, B = {scenario.total_bandwidth / 1e6:g} MHz, "
        f"{states} held-out states"
    )
    console.print(f"\n{head}\n\n{to_text(rows)}\n", highlight=False, markup=False, soft_wrap=True)


def write(rows: list[Row], settings: Settings, env: str, states: int, folder: Path) -> None:
    """Write ``table.json`` and ``table.csv``."""
    write_atomically(folder / "table.json", to_json(rows, about(settings, env, states)).encode())
    write_atomically(folder / "table.csv", to_csv(rows).encode())


def draw(rows: list[Row], label: str, folder: Path) -> None:
    """Draw ``comparison.png`` and ``learning_curve.png`` from the table and the curve's file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    for name, plot in (("comparison", _bars), ("learning_curve", _curve)):
        figure = Figure(figsize=(8.0, 4.5), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        plot(figure.subplots(), rows, label, folder)
        figure.savefig(folder / f"{name}.png")


def _bars(axes: Any, rows: list[Row], label: str, folder: Path) -> None:
    shown = rows[::-1]
    values = [row.goodput for row in shown]
    errors = [
        [row.goodput - row.goodput_low for row in shown],
        [row.goodput_high - row.goodput for row in shown],
    ]
    colours = ["#D55E00" if row.name == label else "#0072B2" for row in shown]
    axes.barh([row.name for row in shown], values, xerr=errors, color=colours, capsize=3)
    for index, row in enumerate(shown):
        axes.text(row.goodput_high, index, f"  {row.share:.4f}", va="center", fontsize="small")
    axes.set_xlim(0.0, max(row.goodput_high for row in shown) * 1.12)
    axes.set_xlabel("goodput (tokens/s), mean and 95 % interval; beside it the share of the optimum")


def _curve(axes: Any, rows: list[Row], label: str, folder: Path) -> None:
    with (folder / CURVE).open(encoding="utf-8") as file:
        points = list(csv.DictReader(file))
    steps = [int(point["timesteps"]) for point in points]
    shares = [float(point["share_of_optimum"]) for point in points]
    axes.plot(steps, shares, color="#D55E00", marker="o", markersize=3, label=f"{label}, validation states")
    lowest = min(shares)
    references = [row for row in rows if row.name != label and row.share > lowest - 0.1]
    for colour, row in zip(COLOURS, references, strict=False):
        axes.axhline(row.share, color=colour, linestyle="--", linewidth=1, label=f"{row.name}, {row.share:.4f}")
    axes.set_xlabel("rounds trained")
    axes.set_ylabel("share of the optimum")
    axes.legend(loc="center right", fontsize="small")
