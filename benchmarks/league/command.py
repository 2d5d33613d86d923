"""``multispin league``: agents, environments, presets and numbers of users, with seeds.

Each cell, one training run measured on the held-out cases, is a JSON file in ``results/league/``: a second call does
what is missing. The tables are written anew after each call, but for one of a ``--part``.
"""

import argparse
import itertools
import shlex
import signal
import sys
from collections.abc import Sequence
from operator import methodcaller
from pathlib import Path

from agents.registry import AGENTS, OPTION, admit
from agents.runs import ENCODING_NAMES, OWN_OPTIONS, SETTINGS
from benchmarks.league.cells import Cell, Contest, Others, Task, obstacle, save, saved, shipped
from benchmarks.league.pictures import draw_curves, draw_profile
from benchmarks.league.pretrained import generalisation
from benchmarks.league.report import League, to_text, write
from multispin_env.checks import check_integer, check_name, check_real
from multispin_env.executors import Executor, Stopped
from multispin_env.files import make_folder, write_atomically
from multispin_env.registry import ENVIRONMENTS, SCENARIOS, SERVERS
from multispin_env.reproduce.figure import PRESETS
from multispin_env.terminal.arguments import (
    Command,
    add_executor_options,
    add_set_option,
    check_settings,
    chosen_arguments,
    executor_of,
    part_of,
)
from multispin_env.terminal.output import Tally

OUT = Path("results/league")

PACKAGES = ("multispin_env", "agents", "benchmarks")
"""Whose code a node of a cluster needs."""

QUICK = {
    "envs": ["MultiSpin/Heterogeneous-v0", "MultiSpin/DelayedChannel-v0"],
    "agents": ["ppo", "apg"],
    "scenarios": ["llama2"],
    "users": [3],
    "seeds": 2,
    "timesteps": 40_000,
    "size": 10,
    "out": Path("results/league-quick"),
}
"""A league that says nothing but that everything works."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    names = f"of {', '.join(AGENTS.names())}, or {OPTION} (default: all)"
    parser.add_argument("--agents", nargs="*", metavar="NAME", help=names)
    parser.add_argument("--envs", nargs="+", metavar="ID", help="environment ids (default: all)")
    parser.add_argument("--scenarios", nargs="+", metavar="NAME", help=f"presets (default: {', '.join(PRESETS)})")
    parser.add_argument("--users", nargs="+", type=int, metavar="K", help="numbers of devices (default 8 20)")
    parser.add_argument("--server", metavar="NAME", help=f"of {', '.join(SERVERS.names())} (default: the presets' own)")
    add_set_option(parser, SETTINGS)
    encodings = ", ".join(ENCODING_NAMES)
    parser.add_argument("--action", default="", help=f"action encoding: {encodings} (default: the environment's)")
    parser.add_argument("--seeds", type=int, help="training seeds of each, from 0 on (default 5)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--timesteps", type=int, help="rounds of each run (default: the agent's own)")
    budget.add_argument("--fraction", type=float, help="part of the agents' own budgets, as 0.25")
    parser.add_argument("--size", type=int, help="held-out states or episodes (default 500 or 200)")
    parser.add_argument("--pretrained", action="store_true", help="let the agents that ship with the package play too")
    parser.add_argument(
        "--generalisation", action="store_true", help="first play pretrained agents with other numbers of devices"
    )
    parser.add_argument("--quick", action="store_true", help="a tiny league, as a smoke test")
    add_executor_options(parser, "cells")
    parser.add_argument("--out", type=Path, help=f"folder of the results (default {OUT})")


def _complete(options: argparse.Namespace) -> None:
    """Fill in what was not given, and refuse what is unknown."""
    usual = {
        "agents": list(AGENTS.names()), "envs": list(ENVIRONMENTS.names()), "scenarios": list(PRESETS),
        "users": [8, 20], "seeds": 5, "out": OUT,
    }  # fmt: skip
    quick = {name: value for name, value in QUICK.items() if name != "timesteps" or options.fraction is None}
    for name, value in (usual | (quick if options.quick else {})).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    for name in options.agents:
        admit(name)
    for kind, known in (("envs", ENVIRONMENTS), ("scenarios", SCENARIOS)):
        for name in getattr(options, kind):
            check_name(kind, name, known.names())
    for number in options.users:
        check_integer("users", number, 1)
    check_integer("seeds", options.seeds, 1)
    if options.fraction is not None:
        check_real("fraction", options.fraction, 0.0, 1.0, open_low=True)
    for name, low in (("timesteps", 1), ("size", 2)):
        if getattr(options, name) is not None:
            check_integer(name, getattr(options, name), low)
    part_of((), options.part)


def cells_of(options: argparse.Namespace) -> tuple[list[Cell], list[str]]:
    """What is to be run, and what can't be, with the reason; ``ValueError`` with the first if nothing can be."""
    given = chosen_arguments(options, (*OWN_OPTIONS, "num_users"))  # refuses what has an option of its own
    check_settings(options, given, options.envs)
    chosen = shlex.join([*([] if options.server is None else [f"server={options.server}"]), *options.set])
    rounds = dict.fromkeys(options.agents, options.timesteps)
    if options.fraction is not None:
        rounds = {name: max(1, round(options.fraction * AGENTS.load(name).timesteps)) for name in rounds}
    contests = [
        Contest(*one, chosen, options.action)
        for one in itertools.product(options.envs, options.scenarios, options.users)
    ]
    wanted = [
        Cell(contest, agent, seed, rounds[agent], options.size)
        for seed, contest, agent in itertools.product(range(options.seeds), contests, options.agents)
    ]
    reasons = {cell: obstacle(cell) for cell in wanted}
    cells = [cell for cell in wanted if not reasons[cell]]
    if wanted and not cells:
        raise ValueError(reasons[wanted[0]])
    if options.pretrained:
        cells = [*(cell for cell in shipped(options.size) if cell.contest.env in options.envs), *cells]
    skipped = dict.fromkeys(f"{cell.agent}, {cell.contest.title}: {why}" for cell, why in reasons.items() if why)
    return cells, list(skipped)


def tasks_of(cells: Sequence[Cell]) -> list[Task]:
    """Each cell, and before the first of a contest what it is compared with."""
    return list(dict.fromkeys(task for cell in cells for task in (Others(cell.contest, cell.size), cell)))


def do(tasks: Sequence[Task], folder: Path, executor: Executor) -> list[str]:
    """Do what is missing and write it; returns what failed, of which ``failed/`` has the errors.

    Raises
    ------
    Stopped
        After a signal.
    """
    missing = [task for task in tasks if saved(task, folder) is None]
    failed = []
    if missing:
        with Tally(len(missing), executor.width) as tally:
            for result in executor.results(methodcaller("play"), missing):
                task = missing[result.index]
                name = task.path.stem
                errors = folder / "failed" / f"{name}.txt"
                if result.error:
                    make_folder(errors.parent)
                    write_atomically(errors, result.error.encode())
                    failed.append(name)
                else:
                    save(task, result.value, folder)
                    errors.unlink(missing_ok=True)
                tally.add(name, failed=bool(result.error))
    return failed


def found(cells: Sequence[Cell], folder: Path) -> League:
    """What is written of these cells."""
    league = League({}, {})
    for cell in cells:
        result, others = saved(cell, folder), saved(Others(cell.contest, cell.size), folder)
        if result is not None and others is not None:
            league.results[cell] = result
            league.references[cell.contest] = others
    return league


def run(options: argparse.Namespace) -> int | None:
    """Play what is asked for and missing, and write the tables; returns a status if a signal stops it."""
    _complete(options)
    executor = executor_of(options, PACKAGES)
    make_folder(options.out)
    cells, skipped = cells_of(options)
    own = part_of(cells, options.part)
    if options.generalisation:
        generalisation(options.out, options.size)
    stopped_by, failed = None, []
    try:
        failed = do(tasks_of(own), options.out, executor)
    except Stopped as stopped:
        stopped_by = stopped.number
    league = found(cells, options.out)
    if league.results and options.part is None:
        write(league, options.out, options.command, skipped)
        draw_profile(league, options.out)
        draw_curves(league, options.out)
        print(to_text(league))
    if failed:
        print(f"failed, see {options.out}/failed: {', '.join(failed)}", file=sys.stderr)
    if stopped_by is None:
        return 1 if failed else None
    name = signal.Signals(stopped_by).name
    print(f"stopped by {name}; tables hold what is done, and the same command goes on", file=sys.stderr)
    return 128 + stopped_by


COMMAND = Command(
    str(__doc__).partition(": ")[2],
    (
        "--quick",
        "--workers 2",
        "--part 3/8",
        "--pretrained --agents",
        "--agents apg ppo --fraction 0.25",
        "--agents --generalisation",
    ),
    add_options,
    run,
)
