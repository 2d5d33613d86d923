"""``python -m multispin_env.reproduce``: the paper's figures and claims, as tables, pictures and one page."""

import argparse
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from multispin_env.checks import check_integer, check_name
from multispin_env.evaluation.printing import exit_status
from multispin_env.evaluation.seeds import HELD_OUT_SEED
from multispin_env.evaluation.table import to_csv
from multispin_env.reproduce.drawing import check_matplotlib, save
from multispin_env.reproduce.figure import FIGURES
from multispin_env.reproduce.page import Shown, markdown_table, page
from multispin_env.reproduce.progress import Bar
from multispin_env.reproduce.scale import QUICK_STATES, STATES, Scale

PROGRAM = "python -m multispin_env.reproduce"

TITLE = "Multi-SPIN (arXiv 2606.04581) on multispin_env"


def _examples(program: str) -> str:
    return f"""examples:
  {program} --quick
  {program} --only users claims --out figures
  {program} --list
"""


def parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Compute and draw the paper's figures and check its claims on this model.",
        epilog=_examples(program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these figures (default: all; --list names them)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the files (default results)")
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED, help=f"of the states (default {HELD_OUT_SEED})")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_STATES} states instead of {STATES}, and coarse grids"
    )
    parser.add_argument("--list", action="store_true", help="name the figures and stop")
    return parser


def command(name: str, options: argparse.Namespace) -> str:
    """Return the command that repeats one figure."""
    parts = [PROGRAM, "--only", name]
    parts += ["--quick"] if options.quick else []
    parts += [] if options.seed == HELD_OUT_SEED else ["--seed", str(options.seed)]
    return " ".join(parts)


def make(name: str, scale: Scale, folder: Path, repeat: str) -> Shown:
    """Compute one figure and write its CSV file, its pictures and, if it has one, its table in Markdown."""
    spec = FIGURES.load(name)
    rows = spec.compute(scale)
    (folder / f"{name}.csv").write_text(to_csv(rows), encoding="utf-8")
    save(spec, rows, folder / name)
    cells = None if spec.cells is None else spec.cells(rows)
    if cells is not None:
        (folder / f"{name}.md").write_text(f"{markdown_table(*cells)}\n", encoding="utf-8")
    return Shown(name, spec, repeat, cells)


def _run(options: argparse.Namespace) -> None:
    names = list(dict.fromkeys(options.only or FIGURES.names()))
    for name in names:
        check_name(FIGURES.kind, name, FIGURES.names())
    check_integer("seed", options.seed, 0)
    check_matplotlib()
    options.out.mkdir(parents=True, exist_ok=True)
    states = QUICK_STATES if options.quick else STATES
    bar, shown = Bar(len(names)), []
    for index, name in enumerate(names):
        scale = Scale(options.quick, states, options.seed, bar.begin(index, name))
        shown.append(make(name, scale, options.out, command(name, options)))
    bar.end()
    about = f"multispin_env {version('multispin_env')}, {states} states, seed {options.seed}; intervals are 95 %."
    (options.out / "index.html").write_text(page(TITLE, about, shown), encoding="utf-8")
    print(options.out / "index.html")


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the command; returns the exit status: 2, with one sentence on stderr, for what cannot be done."""
    options = parser(program).parse_args(arguments)
    if options.list:
        print("\n".join(f"{name:14s} {FIGURES.load(name).title}" for name in FIGURES.names()))
        return 0
    return exit_status(program, lambda: _run(options))
