"""``multispin suite``: tasks with known optima, entries that are played again, and the leaderboard."""

import argparse
from collections.abc import Callable
from pathlib import Path

from multispin_env.commands.suite_pictures import draw_pictures
from multispin_env.evaluation.statistics import aligned, markdown, to_csv, to_json
from multispin_env.evaluation.suite.entries import (
    Played,
    check_scores,
    performances,
    play_entry,
    play_name,
    read_curves,
    read_entry,
    read_scores,
    save_scores,
)
from multispin_env.evaluation.suite.frozen import VERSION
from multispin_env.evaluation.suite.leaderboard import (
    LeaderRow,
    cells_by_task,
    curve_cells,
    ranked,
    score_cells,
    summary_cells,
)
from multispin_env.evaluation.suite.statistics import Score
from multispin_env.evaluation.suite.tasks import RANDOM_ACTIONS
from multispin_env.evaluation.suite.version import task, tasks
from multispin_env.files import make_folder, write_atomically
from multispin_env.registry import import_own
from multispin_env.terminal.arguments import Command, add_executor_options
from multispin_env.terminal.output import Progress, made_by

DESCRIPTION = f"""Tasks of the frozen suite, {VERSION}: what is hard, the best that is known, and what bounds it.

Scores are 0 for uniformly random actions and 1 for the reference, which was played once when the suite was frozen."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.set_defaults(do=_list)
    parts = parser.add_subparsers(metavar="PART", help="run, evaluate or table; without one, the tasks are listed")
    train = parts.add_parser("run", help="train a method in the tasks, and make an entry of it")
    train.add_argument(
        "--agent",
        required=True,
        metavar="NAME",
        help="of multispin train, or module:ATTRIBUTE, as stable_baselines3:PPO",
    )
    train.add_argument(
        "--seeds", type=int, required=True, metavar="N", help="trainings in each task, of seeds from 0 on"
    )
    train.add_argument("--tasks", nargs="+", metavar="NAME", help="some of the tasks; an entry needs all in the end")
    train.add_argument(
        "--steps", type=int, metavar="N", help="environment steps of each training (default: the budget)"
    )
    train.add_argument("--out", type=Path, required=True, metavar="ENTRY", help="folder of the entry")
    add_executor_options(train, "trainings")
    train.set_defaults(do=_run)
    evaluate = parts.add_parser("evaluate", help="play the held-out cases of every task")
    evaluate.add_argument(
        "entry", help=f"a folder with an entry.json, or the name of a controller, module:ATTRIBUTE or {RANDOM_ACTIONS}"
    )
    evaluate.add_argument("--check", action="store_true", help="refuse scores of the entry that are not what is played")
    evaluate.add_argument("--tasks", nargs="+", metavar="NAME", help="for a name alone: some of the tasks")
    evaluate.set_defaults(do=_evaluate)
    table = parts.add_parser("table", help="write the leaderboard of entries that have been evaluated")
    table.add_argument("entries", nargs="+", type=Path, metavar="ENTRY", help="folder")
    table.add_argument("--out", type=Path, metavar="FOLDER", help="for leaderboard.md, .csv and .json, and pictures")
    table.set_defaults(do=_table)


def _list(options: argparse.Namespace) -> None:
    lines = []
    for one in tasks():
        floor, best = one.frozen.floor.mean(), f"{one.reference} {one.frozen.reference.mean():.1f}"
        bound = "-"
        if one.frozen.bound is not None:
            bound = "proven" if one.bound == "reference" else f"{one.bound} {one.frozen.bound.mean():.1f}"
        lines.append((f"{one.name}: {one.hard}", one.metric, f"{floor:.1f}", best, bound))
    print(aligned(("task, and what is hard", "metric", "random actions", "best known", "bound"), lines))


def _run(options: argparse.Namespace) -> int | None:
    status: int | None = import_own("agents.suite").run(options)
    return status


def _evaluate(options: argparse.Namespace) -> None:
    folder = Path(options.entry)
    if not folder.is_dir():
        _evaluate_name(options)
        return
    if options.tasks:
        raise ValueError("tasks: expected none for an entry, which is played in all of them, got --tasks")
    entry = read_entry(folder)
    claimed = read_scores(folder, entry) if options.check else None
    with Progress(len(entry.seeds) * len(tasks())) as progress:
        played = play_entry(folder, entry, progress.begin)
    if claimed is None:
        save_scores(folder, played)
    else:
        check_scores(claimed, played)
    _print(played)


def _evaluate_name(options: argparse.Namespace) -> None:
    if options.check:
        raise ValueError(f"entry: expected a folder with scores to check, got {options.entry!r}")
    if options.entry != RANDOM_ACTIONS and any(letter in options.entry for letter in "/\\"):
        raise ValueError(f"entry: expected a folder that exists, or a name, got {options.entry!r}")
    wanted = tuple(task(name) for name in options.tasks) if options.tasks else tasks()
    with Progress(len(wanted)) as progress:
        played = play_name(options.entry, wanted, progress.begin)
    _print(played)


def _print(played: Played) -> None:
    print(aligned(*score_cells({name: Score.of(one) for name, one in performances(played).items()})))


def _table(options: argparse.Namespace) -> None:
    found = []
    for folder in options.entries:
        entry = read_entry(folder)
        found.append(LeaderRow.of(entry, read_scores(folder, entry), read_curves(folder, entry)))
    rows = ranked(found)
    cells = [table for table in (summary_cells(rows), cells_by_task(rows), curve_cells(rows)) if table[1]]
    print(*(aligned(*table) for table in cells), sep="\n\n")
    if options.out is not None:
        make_folder(options.out)
        tables = "\n\n".join((f"# Suite {VERSION}", *(markdown(*table) for table in cells)))
        about = {"version": VERSION, **made_by(options)}
        for name, text in (("md", tables), ("csv", to_csv(rows)), ("json", to_json(rows, about))):
            write_atomically(options.out / f"leaderboard.{name}", f"{text.rstrip()}\n".encode())
        draw_pictures(rows, options.out)


def run(options: argparse.Namespace) -> int | None:
    """Do what was asked for."""
    do: Callable[[argparse.Namespace], int | None] = options.do
    return do(options)


COMMAND = Command(
    DESCRIPTION,
    (
        "",
        "run --agent stable_baselines3:PPO --seeds 5 --workers 2 --out my-entry",
        "evaluate fixed --tasks round-8 late",
        "evaluate my-entry --check",
        "table my-entry --out leaderboard",
    ),
    add_options,
    run,
)
