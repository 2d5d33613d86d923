"""Picture of the rooms, for docs/reference/architecture.md: ``python -m tools.architecture``."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "architecture.png"

ROOMS = (
    ("commands/", "commands of the lab, which the table of commands of the core names as text"),
    ("testbed/", "real devices that draft for a server"),
    (
        "models/  planning/  suite/  explore/  reproduce/",
        "own models; answers for a server; the frozen benchmark; the page; the paper's figures",
    ),
    ("access  drawing", "address and key of a testbed; lines, panels and legends of pictures"),
    ("multispin_agents", "registry, methods, policies, training, runs, evaluation, export (torch)"),
    ("apps/", "commands, films; options, tables, progress; many tasks"),
    ("evaluation/  wrappers  parallel", "cases, contenders, statistics, comparison, policies; wrappers for libraries"),
    ("envs/", "ids, single and vector, configuration, knowledge, observations, objectives; rendering/"),
    ("envs/rounds/  envs/continuous/", "one class for each id, simulators, encodings"),
    ("simulation/", "long runs and requests under a controller"),
    ("bounds/  baselines/", "upper bounds; systems and rules of others"),
    ("controllers/  requests", "base, names, plug-in, estimators; rounds/ and continuous/; requests that end"),
    ("certificates/", "proofs of the optimum and of the bound, and the programs that check them alone"),
    ("solver/", "problem, equalization, exact, search, certify"),
    ("physics/  physics/continuous/", "radio, tokens, rounds, acceptance, arrivals, streams; core, passes, queues"),
    (
        "scenario  server  draft  device  uplink  pairs  registry  field_files",
        "the system and its parts; tables of parts by name; data files in data/",
    ),
    ("compiling  arrays  units  checks  files  npz", "types, conversions, user input"),
)
"""Folders (with a slash) and files from the top to the bottom, with their content; imports go down."""

RINGS = (
    ("lab: multispin_lab", 0, 3, "#fdf0e0"),
    ("agents", 4, 4, "#e8f1fa"),
    ("core: multispin_env", 5, 16, "#f4f4f4"),
)
"""Name, first and last room and colour of each ring; the rings below the lab import nothing of it."""

WALKS = (
    ("an action", "#0072B2", (7, 8, 14), "step → decode → price → reward"),
    ("a state", "#009E73", (11, 13, 14), "checked → search → decision"),
    ("a run", "#D55E00", (4, 6, 7), "configuration → train → held-out → table"),
)
"""Name, colour, rooms and steps of each walk of the page."""


def draw() -> Figure:
    """Draw boxes for rooms, a line below the lab, and a line for each walk."""
    figure = Figure(figsize=(9.0, 8.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xlim(-0.5, 10.0)
    axes.set_ylim(-len(ROOMS) - 0.6, 0.6)
    axes.axis("off")
    for name, first, last, colour in RINGS:
        axes.plot([-0.12, -0.12], [-first + 0.36, -last - 0.36], color="#333333", linewidth=2)
        axes.text(-0.28, -(first + last) / 2, name, rotation=90, va="center", ha="center", fontsize=8.5)
        for room in range(first, last + 1):
            box = FancyBboxPatch((0.1, -room - 0.36), 7.2, 0.72, boxstyle="round,pad=0.02", edgecolor="#777777")
            box.set_facecolor(colour)
            axes.add_patch(box)
    for index, (name, holds) in enumerate(ROOMS):
        axes.text(0.3, -index + 0.12, name, va="center", weight="bold", fontsize=10)
        axes.text(0.3, -index - 0.17, holds, va="center", fontsize=8.5, color="#333333")
    wall = -RINGS[0][2] - 0.5
    axes.plot([-0.4, 9.6], [wall, wall], color="#AA0000", linewidth=1.5, linestyle="--")
    axes.text(9.6, wall + 0.1, "nothing below imports the lab", ha="right", va="bottom", fontsize=8.5, color="#AA0000")
    for column, (name, colour, rooms, happens) in enumerate(WALKS):
        x = 7.75 + 0.75 * column
        axes.plot([x, x], [-rooms[0], -rooms[-1]], color=colour, linewidth=2.5)
        for room in rooms:
            axes.plot([7.3, x], [-room, -room], color=colour, linewidth=1, linestyle=":")
            axes.plot(x, -room, "o", color=colour, markersize=8)
        text = f"{name}: {happens}"
        axes.text(0.3, -len(ROOMS) + 0.15 - 0.3 * column, text, color=colour, fontsize=9, weight="bold")
    axes.annotate("", (9.85, -len(ROOMS) + 1.0), (9.85, 0.0), arrowprops={"arrowstyle": "->", "color": "#777777"})
    axes.text(9.95, -len(ROOMS) / 2, "imports", rotation=270, va="center", fontsize=9, color="#777777")
    return figure


if __name__ == "__main__":
    draw().savefig(OUT)
