"""Common parts of benchmarks: subcommands, tables, CPU time."""

import ast
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from time import process_time
from typing import Any

from multispin_env.apps.terminal.output import exit_status
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.statistics import Interval, aligned

Row = Mapping[str, Any]
"""Cells of a row, by column title."""


Options = Mapping[str, Any]
"""Options of a subcommand: a default, or a tuple of it, a help text and other arguments of ``add_argument``."""

PAIRS = ["llama2", "qwen3.5"]

HELP = {
    "copies": "environments, or copies of a system",
    "episodes": "held-out episodes of each contender",
    "instances": "drawn instances of each system",
    "size": "cases of each",
    "systems": 'words of their names, as "llama2 K8" (default: all)',
    "tries": "choices of options, the defaults first",
    "turns": "the best one counts",
    "users": "numbers of devices K",
}
"""Texts of options that several subcommands have."""


def run_tool(tool: str, arguments: Sequence[str] | None = None) -> int:
    """Run ``python -m benchmarks.TOOL SUBCOMMAND``, by default with the arguments of the process; return the status.

    Each module of the package ``benchmarks.TOOL`` with a function ``run(options)`` is a subcommand, with the `Options`
    of its ``OPTIONS``.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    program, modules = f"python -m benchmarks.{tool}", {}
    for path in sorted((Path(__file__).parent / tool).glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))  # importing all of them takes long
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            modules[path.stem.replace("_", "-")] = (ast.get_docstring(tree) or "").partition("\n")[0]
    lines = "".join(f"\n  {name:18} {text}" for name, text in modules.items())
    chooser = ArgumentParser(program, epilog=f"subcommands:{lines}", formatter_class=RawDescriptionHelpFormatter)
    chooser.add_argument("subcommand", choices=modules, metavar="SUBCOMMAND", help="see below; each has a --help")
    name = chooser.parse_args(given[:1]).subcommand

    def run() -> None:
        module = import_module(f"benchmarks.{tool}.{name.replace('-', '_')}")
        parser = parser_of(f"{program} {name}", module.__doc__, getattr(module, "OPTIONS", {}))
        module.run(parser.parse_args(given[1:]))

    return exit_status(f"{program} {name}", run)


def parser_of(program: str, text: str | None, options: Options) -> ArgumentParser:
    """Make a parser; options without a default that are required, such as a list of ``tasks``, are positional."""
    parser = ArgumentParser(program, description=text, formatter_class=RawDescriptionHelpFormatter)
    for name, option in options.items():
        default, about, *others = option if isinstance(option, tuple) else (option, HELP.get(name, ""))
        values = default if isinstance(default, list) else [default]
        more: dict[str, Any] = {"metavar": name.upper(), **(others[0] if others else {})}
        if default is False:
            more = {"action": "store_true"}
        elif default is not None:
            shown = " ".join(map(str, values)) if len(values) < 8 else "all"
            about = f"{about} (default {shown})" if shown else about
            more = {"type": type(values[0]), "default": default, **more}
            more |= {"nargs": "*"} if isinstance(default, list) else {}
        parser.add_argument(name if name in POSITIONAL else f"--{name}", help=about, **more)
    return parser


POSITIONAL = ("checkouts", "controller", "tasks")


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


def plus_minus(values: FloatArray, digits: str = ".1f") -> str:
    """Return the mean of values (n,) and its standard error."""
    return f"{values.mean():{digits}} ± {values.std(ddof=1) / len(values) ** 0.5:{digits.lstrip('+')}}"


def interval_text(interval: Interval, digits: str = "+.2f") -> str:
    """Return the mean and the ends of an interval."""
    return f"{interval.mean:{digits}} ({interval.low:{digits}} to {interval.high:{digits}})"


def gain(ahead: FloatArray, without: FloatArray) -> str:
    """Return the mean of paired gains in percent, with its standard error."""
    return plus_minus(100.0 * (ahead / without - 1.0), "+.1f")
