"""``python -m multispin_env.evaluation``: contenders compared on whole episodes of an environment."""

import argparse
import ast
import shlex
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any

from multispin_env.checks import check_integer, check_name, shown
from multispin_env.controllers.names import ContenderName
from multispin_env.evaluation.cases.base import heading
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.comparison import METRICS, Row, compare_ledgers, comparison_cells, user_cells
from multispin_env.evaluation.contenders import SLOW, make_contender, native
from multispin_env.evaluation.episodes import Progress
from multispin_env.evaluation.printing import STDOUT, check_outputs, exit_status, show_table, write_output
from multispin_env.evaluation.seeds import EPISODE_SEED
from multispin_env.evaluation.table import to_csv, to_json

PROGRAM = "python -m multispin_env.evaluation"

DEFAULT_ENV = "MultiSpin/Heterogeneous-v0"

TAKEN = ("id", "scenario", "num_envs", "vectorization_mode", "vector_kwargs", "wrappers", "autoreset_mode")
"""Arguments of ``gymnasium.make_vec`` that this command sets itself."""

LONGEST_SETTING = 4096
"""Letters of a ``NAME=VALUE``: those of the longest path."""

PATIENCE = 5.0
"""Seconds between two lines of progress."""


def _examples(program: str) -> str:
    return f"""examples:
  {program}
  {program} --scenario qwen3.5 --num-users 8 --total-bandwidth 5e6
  {program} --env MultiSpin/Homogeneous-v0 --controllers homogeneous fixed --json table.json
  {program} --env MultiSpin/HiddenAcceptance-v0 --controllers optimal optimal+filter optimal+task-mean
  {program} --env MultiSpin/DelayedChannel-v0 --set delay=2 correlation=0.95
"""


def parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Compare controllers, and plug-ins of controllers and estimators, on the same whole episodes.",
        epilog=_examples(program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--env", default=DEFAULT_ENV, help=f"environment id (default {DEFAULT_ENV})")
    parser.add_argument(
        "--controllers",
        nargs="+",
        metavar="NAME",
        help="a controller, which sees the true state, or one with estimators, which does not, as optimal+filter "
        f"(default: those that fit the environment; never {', '.join(SLOW)}, which takes minutes)",
    )
    parser.add_argument("--scenario", default="llama2", help="preset name (default llama2)")
    parser.add_argument("--num-users", type=int, help="K, number of devices (default 20)")
    parser.add_argument("--total-bandwidth", type=float, help="B, uplink budget in Hz (default 10e6)")
    parser.add_argument("--episodes", type=int, default=200, help="episodes of each (default 200)")
    parser.add_argument("--seed", type=int, default=EPISODE_SEED, help=f"of the first episode (default {EPISODE_SEED})")
    add_set_option(parser, "arguments of the environment, values as in Python")
    parser.add_argument(
        "--reference", metavar="NAME", help="what the others are compared with (default: the best known)"
    )
    parser.add_argument("--metric", help=f"one of {', '.join(METRICS)} (default: what fits the environment)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the table there too, with how it was made; - prints it instead"
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there too; - prints it instead")
    return parser


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """``name=value`` texts to arguments of an environment: Python literals, and words, which need no quotes.

    Raises
    ------
    ValueError
        For a text without ``=`` or name, a name given twice, one that the command sets itself, a text of more than
        `LONGEST_SETTING` letters, or a value that is nested too deeply for Python.
    """
    found: dict[str, Any] = {}
    for text in settings:
        if len(text) > LONGEST_SETTING:
            raise ValueError(f"set: got {shown(text)} of {len(text)} letters, allowed are at most {LONGEST_SETTING}")
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"set: got {text!r}, allowed is NAME=VALUE")
        if name in TAKEN:
            raise ValueError(f"set: got {name!r}, allowed is an argument of the environment other than {list(TAKEN)}")
        if name in found:
            raise ValueError(f"set: got {name!r} twice, allowed is once")
        found[name] = _literal(name, value)
    return found


def _literal(name: str, text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return text
    except (RecursionError, MemoryError):  # of the parser, for thousands of signs or brackets
        raise ValueError(f"set: got {name}={shown(text)}, allowed is a value as in Python, or a word") from None


def add_set_option(parser: argparse.ArgumentParser, explanation: str) -> None:
    """``--set NAME=VALUE ...``, which `parse_settings` reads."""
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=explanation)


def chosen_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Arguments of the environment, by ``--set`` or an option of their own."""
    found = parse_settings(options.set)
    for name in ("num_users", "total_bandwidth"):
        value = getattr(options, name)
        if value is not None and name in found:
            raise ValueError(f"set: got {name!r}, allowed is once: there is --{name.replace('_', '-')} too")
        if value is not None:
            found[name] = value
    return found


def chosen_names(cases: Episodes, controllers: Sequence[str] | None, reference: str | None) -> tuple[list[str], str]:
    """Names to play, each once and the reference among them, and which of them is the reference.

    Raises
    ------
    ValueError, TypeError
        For an unknown name; the nearest is suggested.
    """
    names = list(dict.fromkeys(cases.contenders if controllers is None else controllers))
    wanted = cases.reference if reference is None else reference
    same = next((name for name in names if ContenderName.parse(name) == ContenderName.parse(wanted)), None)
    if same is None:
        names.append(wanted)
    for name in names:
        make_contender(name, cases.env())
    return names, wanted if same is None else same


class Reporter:
    """Lines on stderr about what is being played."""

    def __init__(self, contenders: int) -> None:
        self.contenders = contenders
        self.started = 0
        self.shown = monotonic()

    def __call__(self, name: str) -> Progress:
        """Begin with a contender."""
        self.started += 1
        head = f"{self.started} of {self.contenders}, {name}"
        self._show(head)

        def progress(played: int, rounds: int) -> None:
            if monotonic() - self.shown > PATIENCE:
                self._show(f"{head}: round {played} of {rounds}")

        return progress

    def _show(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        self.shown = monotonic()


def about(cases: Episodes, reference: str, metric: str, command: str) -> dict[str, Any]:
    """What a table is about, for its JSON file."""
    versions = {name: version(name) for name in ("multispin_env", "gymnasium", "numpy", "scipy")}
    return {**cases.about, "metric": metric, "reference": reference, "command": command, "versions": versions}


def _show(rows: list[Row], metric: str, title: str, with_users: bool) -> None:
    print(f"{title}\n")
    show_table(*comparison_cells(rows, metric), best=0)
    if with_users:
        print()
        show_table(*user_cells(rows), best=0)


def _run(options: argparse.Namespace, command: str) -> None:
    check_outputs(options.json, options.csv)
    check_integer("seed", options.seed, 0)
    cases = Episodes(options.env, options.episodes, options.scenario, chosen_arguments(options), options.seed)
    metric = cases.metric if options.metric is None else options.metric
    check_name("metric", metric, METRICS)
    names, reference = chosen_names(cases, options.controllers, options.reference)
    report = Reporter(len(names))
    rows = compare_ledgers({name: cases.play(name, report(name)) for name in names}, reference, metric)
    if options.json is not None:
        write_output(f"{to_json(rows, about(cases, reference, metric, command))}\n", options.json)
    if options.csv is not None:
        write_output(to_csv(rows), options.csv)
    if STDOUT not in (options.json, options.csv):
        scenario = native(cases.env()).scenario
        title = heading(options.env, parse_settings(options.set), scenario, f"{cases.title}; reference: {reference}")
        _show(rows, metric, title, with_users=cases.metric == "return")


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the command; returns the exit status: 2, with one sentence on stderr, for what cannot be done."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = parser(program).parse_args(given)
    return exit_status(program, lambda: _run(options, f"{program} {shlex.join(given)}".strip()))
