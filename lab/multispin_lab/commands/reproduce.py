"""Compute and draw the paper's figures and check its claims on this model."""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from multispin_env.apps.executors import Executor
from multispin_env.apps.terminal.arguments import Command, add_executor_options, executor_of
from multispin_env.apps.terminal.output import Progress
from multispin_env.checks import check_name
from multispin_env.evaluation.drawing import check_matplotlib, save
from multispin_env.evaluation.statistics import HELD_OUT_SEED, Cells, aligned, to_csv
from multispin_env.files import make_folder, read_json, write_text
from multispin_lab.reproduce import FIGURES
from multispin_lab.reproduce.figure import QUICK_STATES, STATES, FigureSpec, Scale
from multispin_lab.reproduce.page import PageFigure, markdown_table, render_page


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", nargs="+", metavar="NAME", help="figures to compute (default: all; see --list)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="output folder (default results)")
    seed = f"random seed of the states (default {HELD_OUT_SEED})"
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED, help=seed)
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_STATES} states instead of {STATES}, and coarse grids"
    )
    parser.add_argument("--list", action="store_true", help="list the figures and exit")
    add_executor_options(parser, "settings of figures")


def _command(name: str, options: argparse.Namespace) -> str:
    seed = "" if options.seed == HELD_OUT_SEED else f" --seed {options.seed}"
    return f"{options.program} --only {name}{' --quick' if options.quick else ''}{seed}"


_Table = tuple[Cells, list[Cells]]

_UNFINISHED = "unfinished.json"  # tables of the finished figures of a stopped run

_DRAWING_TIME = 0.7  # CPU seconds to draw a figure
_QUICK_FRACTION = 0.02  # computation of a quick run, relative to a full one


def _rows_of(scale: Scale, task: tuple[Callable[[Scale, Any], list[Any]], Any]) -> list[Any]:
    rows, setting = task
    return rows(scale, setting)


def _compute(
    specs: Mapping[str, FigureSpec], scale: Scale, executor: Executor, progress: Progress
) -> Iterator[tuple[str, list[Any]]]:
    settings = [(name, setting) for name, spec in specs.items() for setting in spec.settings(scale)]
    counts = Counter(name for name, _ in settings)
    costs = {name: scale.pick(1.0, _QUICK_FRACTION) * spec.seconds / counts[name] for name, spec in specs.items()}
    report, done = progress.begin(f"{len(specs)} figures"), 0.0
    total = sum(costs[name] for name, _ in settings) + _DRAWING_TIME * len(specs)
    results: dict[str, dict[int, list[Any]]] = {name: {} for name in specs}
    tasks = [(specs[name].rows, setting) for name, setting in settings]
    for result in executor.results(partial(_rows_of, scale), tasks):
        name, _ = settings[result.index]
        if result.error:
            raise ValueError(f"{name}: {result.failure}")
        results[name][result.index] = result.value
        done += costs[name]
        if len(results[name]) == counts[name]:
            yield name, [row for _, rows in sorted(results.pop(name).items()) for row in rows]
            done += _DRAWING_TIME
        report(done, total)


def _write(name: str, spec: FigureSpec, rows: Sequence[Any], folder: Path) -> _Table | None:
    write_text(folder / f"{name}.csv", to_csv(rows))
    save(partial(spec.draw, rows), spec.size, folder / name)
    if spec.cells is None:
        return None
    cells = spec.cells(rows)
    write_text(folder / f"{name}.md", f"{markdown_table(*cells)}\n")
    return cells


def _load_finished(folder: Path, about: str) -> dict[str, _Table | None]:
    file = folder / _UNFINISHED
    content = read_json(file) if file.exists() else {}
    return content["figures"] if content.get("about") == about else {}


def _format_table(spec: FigureSpec, table: _Table | None) -> str:
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
    executor = executor_of(options)
    check_matplotlib()
    make_folder(options.out)
    scale = Scale(options.quick, QUICK_STATES if options.quick else STATES, options.seed)
    about = f"multispin_env {version('multispin_env')}, {scale.states} states, seed {scale.seed}; intervals are 95 %."
    tables = _load_finished(options.out, about)
    specs: dict[str, FigureSpec] = {name: FIGURES.load(name) for name in names}
    try:
        with Progress(1) as progress:
            missing = {name: spec for name, spec in specs.items() if name not in tables}
            for name, rows in _compute(missing, scale, executor, progress):
                tables[name] = _write(name, specs[name], rows, options.out)
                write_text(options.out / _UNFINISHED, json.dumps({"about": about, "figures": tables}))
                progress.say(f"{options.out / name}.png{_format_table(specs[name], tables[name])}")
    finally:
        shown = [
            PageFigure(name, specs[name], _command(name, options), tables[name]) for name in names if name in tables
        ]
        page = render_page("Multi-SPIN (arXiv 2606.04581) on multispin_env", about, shown)
        write_text(options.out / "index.html", page)
    (options.out / _UNFINISHED).unlink(missing_ok=True)
    print(options.out / "index.html")


COMMAND = Command(
    __doc__,
    ("--quick", "--only users claims --out figures", "--list"),
    _add_options,
    _run,
)
