"""Picture of the rooms, for docs/reference/architecture.md: ``python docs/tools/architecture.py``."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

OUT = Path(__file__).resolve().parents[1] / "images" / "architecture.png"

ROOMS = (
    ("agents/", "registry, methods, policies, training, runs, evaluation, export (torch)"),
    ("commands/", "what a user runs, one file each"),
    ("models/  explore/", "real language models (torch); the page in the browser"),
    ("reproduce/  watch  terminal/  executors", "figures, films; options, tables and progress; many tasks"),
    ("evaluation/  wrappers  parallel", "cases, contenders, statistics, comparison; doors to other libraries"),
    ("envs/", "shells single and vector, engine, observations, objectives, settings; rendering/"),
    ("envs/rounds/  envs/continuous/", "engines, encodings, variants"),
    ("controllers/", "base, names, plug-in, estimators, capacity; rounds/ and continuous/"),
    ("solver/", "problem, equalization, relaxed, rule, search, certify"),
    (
        "physics/  physics/continuous/",
        "radio, tokens, rounds, acceptance, arrivals, lengths, streams; core, passes, queues",
    ),
    ("registry, scenario, server, field_files", "what there is, by name; its files are in data/"),
    ("arrays, units, checks, files, npz", "types, conversions, what users hand in"),
)
"""Folders (with a stroke) and files from the top to the bottom, each with what it holds; imports go down."""

WALKS = (
    ("an action", "#0072B2", (5, 6, 9), "step → decode → price → reward"),
    ("a state", "#009E73", (7, 8, 9), "checked → rule or certified → decision"),
    ("a run", "#D55E00", (0, 4, 5), "configuration → train → held-out → table"),
)
"""Name, colour, rooms passed and what happens, of each walk of the page."""


def draw() -> Figure:
    """Boxes for rooms, and a line for each walk."""
    figure = Figure(figsize=(9.0, 7.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xlim(0.0, 10.0)
    axes.set_ylim(-len(ROOMS) - 0.6, 0.6)
    axes.axis("off")
    for index, (name, holds) in enumerate(ROOMS):
        axes.add_patch(
            FancyBboxPatch(
                (0.1, -index - 0.36), 7.2, 0.72, boxstyle="round,pad=0.02", facecolor="#f4f4f4", edgecolor="#777777"
            )
        )
        axes.text(0.3, -index + 0.12, name, va="center", weight="bold", fontsize=10)
        axes.text(0.3, -index - 0.17, holds, va="center", fontsize=8.5, color="#333333")
    for column, (name, colour, rooms, happens) in enumerate(WALKS):
        x = 7.75 + 0.75 * column
        axes.plot([x, x], [-rooms[0], -rooms[-1]], color=colour, linewidth=2.5)
        for room in rooms:
            axes.plot([7.3, x], [-room, -room], color=colour, linewidth=1, linestyle=":")
            axes.plot(x, -room, "o", color=colour, markersize=8)
        text = f"{name}: {happens}"
        axes.text(0.3, -len(ROOMS) + 0.15 - 0.3 * column, text, color=colour, fontsize=9, weight="bold")
    axes.annotate("", (9.85, -len(ROOMS) + 1.0), (9.85, 0.0), arrowprops={"arrowstyle": "->", "color": "#777777"})
    axes.text(9.95, -5.5, "imports", rotation=270, va="center", fontsize=9, color="#777777")
    return figure


if __name__ == "__main__":
    draw().savefig(OUT)
