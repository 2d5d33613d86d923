"""``multispin reproduce``: the paper's figures and claims, as tables, pictures and one page."""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from multispin_env.apps.executors import Executor
from multispin_env.apps.reproduce.drawing import PageFigure, check_matplotlib, markdown_table, render_page, save
from multispin_env.apps.reproduce.figure import QUICK_STATES, STATES, FigureSpec, Scale
from multispin_env.apps.terminal.arguments import Command, add_executor_options, executor_of
from multispin_env.apps.terminal.output import Progress
from multispin_env.checks import check_integer, check_name
from multispin_env.evaluation.statistics import HELD_OUT_SEED, Cells, aligned, to_csv
from multispin_env.files import make_folder, read_json, write_text
from multispin_env.registry import FIGURES


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these figures (default: all; --list names them)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for the files (default results)")
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED, help=f"of the states (default {HELD_OUT_SEED})")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_STATES} states instead of {STATES}, and coarse grids"
    )
    parser.add_argument("--list", action="store_true", help="name the figures and stop")
    add_executor_options(parser, "settings of figures", parts=False)


def _command(name: str, options: argparse.Namespace) -> str:
    parts = [f"{options.program} --only {name}"]
    parts += ["--quick"] if options.quick else []
    parts += [] if options.seed == HELD_OUT_SEED else ["--seed", str(options.seed)]
    return " ".join(parts)


_Table = tuple[Cells, list[Cells]]

_UNFINISHED = "unfinished.json"  # file with the figures of a run that was stopped, and their tables

_DRAWN, _QUICK_PART = 0.7, 0.02
"""CPU seconds that it takes to draw a figure, and the part of a full run's rows that those of a quick one take."""


def _rows_of(scale: Scale, task: tuple[Callable[[Scale, Any], list[Any]], Any]) -> list[Any]:
    rows, setting = task
    return rows(scale, setting)


def _computed(
    specs: Mapping[str, FigureSpec], scale: Scale, executor: Executor, progress: Progress
) -> Iterator[tuple[str, list[Any]]]:
    positions = [(name, setting) for name, spec in specs.items() for setting in spec.settings(scale)]
    left = Counter(name for name, _ in positions)
    costs = {name: scale.pick(1.0, _QUICK_PART) * spec.seconds / left[name] for name, spec in specs.items()}
    report, done = progress.begin(f"{len(specs)} figures"), 0.0
    total = sum(costs[name] for name, _ in positions) + _DRAWN * len(specs)
    found: dict[str, dict[int, list[Any]]] = {name: {} for name in specs}
    for result in executor.results(
        partial(_rows_of, scale), [(specs[name].rows, setting) for name, setting in positions]
    ):
        name, _ = positions[result.index]
        if result.error:
            raise ValueError(f"{name}: {result.error.strip().splitlines()[-1]}")
        found[name][result.index] = result.value
        done += costs[name]
        if len(found[name]) == left[name]:
            yield name, [row for _, rows in sorted(found.pop(name).items()) for row in rows]
            done += _DRAWN
        report(done, total)


def _written(name: str, spec: FigureSpec, rows: Sequence[Any], folder: Path) -> _Table | None:
    write_text(folder / f"{name}.csv", to_csv(rows))
    save(partial(spec.draw, rows), spec.size, folder / name)
    if spec.cells is None:
        return None
    cells = spec.cells(rows)
    write_text(folder / f"{name}.md", f"{markdown_table(*cells)}\n")
    return cells


def _finished(folder: Path, about: str) -> dict[str, _Table | None]:
    file = folder / _UNFINISHED
    kept = read_json(file) if file.exists() else {}
    return kept["figures"] if kept.get("about") == about else {}


def _printed(spec: FigureSpec, table: _Table | None) -> str:
    if table is None:
        return ""
    header, lines = table
    return f"\n{aligned(header[: spec.printed], [line[: spec.printed] for line in lines])}\n"


def _run(options: argparse.Namespace) -> None:
    if options.list:
        print("\n".join(f"{name:14s} {FIGURES.load(name).title}" for name in FIGURES.names()))
        return
    names = list(dict.fromkeys(options.only or FIGURES.names()))
    for name in names:
        check_name(FIGURES.kind, name, FIGURES.names())
    check_integer("seed", options.seed, 0)
    executor = executor_of(options)
    check_matplotlib()
    make_folder(options.out)
    scale = Scale(options.quick, QUICK_STATES if options.quick else STATES, options.seed)
    about = f"multispin_env {version('multispin_env')}, {scale.states} states, seed {scale.seed}; intervals are 95 %."
    tables = _finished(options.out, about)
    specs: dict[str, FigureSpec] = {name: FIGURES.load(name) for name in names}
    try:
        with Progress(1) as progress:
            missing = {name: spec for name, spec in specs.items() if name not in tables}
            for name, rows in _computed(missing, scale, executor, progress):
                tables[name] = _written(name, specs[name], rows, options.out)
                write_text(options.out / _UNFINISHED, json.dumps({"about": about, "figures": tables}))
                progress.say(f"{options.out / name}.png{_printed(specs[name], tables[name])}")
    finally:
        shown = [
            PageFigure(name, specs[name], _command(name, options), tables[name]) for name in names if name in tables
        ]
        page = render_page("Multi-SPIN (arXiv 2606.04581) on multispin_env", about, shown)
        write_text(options.out / "index.html", page)
    (options.out / _UNFINISHED).unlink(missing_ok=True)
    print(options.out / "index.html")


COMMAND = Command(
    "Compute and draw the paper's figures and check its claims on this model.",
    ("--quick", "--only users claims --out figures", "--list"),
    _add_options,
    _run,
)
