"""Common parts of benchmarks: subcommands, tables, CPU time."""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from time import process_time
from typing import Any

from multispin_env.apps.terminal.output import exit_status
from multispin_env.evaluation.statistics import aligned

Row = Mapping[str, Any]
"""Cells of a row, by column title."""


def run_tool(tool: str, commands: Mapping[str, str], arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m benchmarks.TOOL SUBCOMMAND``; return the exit status.

    Parameters
    ----------
    tool
        Package in ``benchmarks``.
    commands
        Help of each subcommand; the module of its name has ``add_options(parser)`` and ``run(options)``.
    arguments
        Arguments; by default those of the process.
    """
    options = sys.argv[1:] if arguments is None else list(arguments)
    program = f"python -m benchmarks.{tool}"
    lines = "".join(f"\n  {name:18} {text}" for name, text in commands.items())
    chooser = ArgumentParser(program, epilog=f"subcommands:{lines}", formatter_class=RawDescriptionHelpFormatter)
    chooser.add_argument("subcommand", choices=commands, metavar="SUBCOMMAND", help="see below; each has a --help")
    name = chooser.parse_args(options[:1]).subcommand

    def run() -> None:
        module = import_module(f"benchmarks.{tool}.{name.replace('-', '_')}")
        parser = ArgumentParser(
            f"{program} {name}", description=module.__doc__, formatter_class=RawDescriptionHelpFormatter
        )
        module.add_options(parser)
        module.run(parser.parse_args(options[1:]))

    return exit_status(f"{program} {name}", run)


def add_counts(parser: ArgumentParser, counts: Mapping[str, tuple[int, str]]) -> None:
    """Add options for numbers, by name, default and help."""
    for name, (default, text) in counts.items():
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default {default})")


def show(title: str, rows: Iterable[Row]) -> list[Row]:
    """Print a table of rows with the same titles, if there are any, and the progress to stderr."""
    done: list[Row] = []
    for row in rows:
        done.append(row)
        if sys.stderr.isatty():
            print(f"{title[:60]}: {len(done)}", end="\r", file=sys.stderr, flush=True)
    if done:
        print(f"\n{title}\n")
        print(aligned(tuple(done[0]), [tuple(map(_text, row.values())) for row in done]))
    return done


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return str(value)


def cpu_seconds(call: Callable[[], object]) -> float:
    """Return the CPU time of a call, which depends less than real time on other work of the machine."""
    start = process_time()
    call()
    return process_time() - start
