"""``multispin reproduce``: the paper's figures and claims, as tables, pictures and one page."""

import argparse
from importlib.metadata import version
from pathlib import Path

from multispin_env.checks import check_integer, check_name
from multispin_env.evaluation.statistics import HELD_OUT_SEED, aligned, to_csv
from multispin_env.files import make_folder, write_text
from multispin_env.registry import FIGURES
from multispin_env.reproduce.drawing import Shown, check_matplotlib, markdown_table, render_page, save
from multispin_env.reproduce.figure import QUICK_STATES, STATES, FigureSpec, Scale
from multispin_env.terminal.arguments import Command
from multispin_env.terminal.output import Progress


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these figures (default: all; --list names them)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the files (default results)")
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED, help=f"of the states (default {HELD_OUT_SEED})")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_STATES} states instead of {STATES}, and coarse grids"
    )
    parser.add_argument("--list", action="store_true", help="name the figures and stop")


def command(name: str, options: argparse.Namespace) -> str:
    """Return the command that repeats one figure, however this one was called."""
    parts = ["multispin reproduce --only", name]
    parts += ["--quick"] if options.quick else []
    parts += [] if options.seed == HELD_OUT_SEED else ["--seed", str(options.seed)]
    return " ".join(parts)


def make(name: str, scale: Scale, folder: Path, repeat: str) -> Shown:
    """Compute one figure and write its CSV file, its pictures and, if it has one, its table in Markdown."""
    spec: FigureSpec = FIGURES.load(name)
    rows = spec.compute(scale)
    write_text(folder / f"{name}.csv", to_csv(rows))
    save(spec, rows, folder / name)
    cells = None if spec.cells is None else spec.cells(rows)
    if cells is not None:
        write_text(folder / f"{name}.md", f"{markdown_table(*cells)}\n")
    return Shown(name, spec, repeat, cells)


def run(options: argparse.Namespace) -> None:
    """Compute the figures, write them, and print the tables that some of them have."""
    if options.list:
        print("\n".join(f"{name:14s} {FIGURES.load(name).title}" for name in FIGURES.names()))
        return
    names = list(dict.fromkeys(options.only or FIGURES.names()))
    for name in names:
        check_name(FIGURES.kind, name, FIGURES.names())
    check_integer("seed", options.seed, 0)
    check_matplotlib()
    make_folder(options.out)
    states = QUICK_STATES if options.quick else STATES
    shown = []
    with Progress(len(names)) as progress:
        for name in names:
            scale = Scale(options.quick, states, options.seed, progress.begin(name))
            shown.append(make(name, scale, options.out, command(name, options)))
    about = f"multispin_env {version('multispin_env')}, {states} states, seed {options.seed}; intervals are 95 %."
    write_text(options.out / "index.html", render_page("Multi-SPIN (arXiv 2606.04581) on multispin_env", about, shown))
    for one in shown:
        if one.cells is not None:
            header, lines = one.cells
            print(aligned(header[: one.spec.printed], [line[: one.spec.printed] for line in lines]))
            print()
    print(options.out / "index.html")


COMMAND = Command(
    "Compute and draw the paper's figures and check its claims on this model.",
    ("--quick", "--only users claims --out figures", "--list"),
    add_options,
    run,
)
