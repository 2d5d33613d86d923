"""Commands, and the options that several of them share: the system, ``--set``, and who does the tasks."""

import ast
import shlex
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, TypeVar

from multispin_env.apps.executors import Cluster, Executor, Processes, Serial
from multispin_env.checks import check_name, check_plausible, shown, suggestion
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.evaluation.contenders import ContenderError
from multispin_env.registry import (
    ACCEPTANCES,
    ARRIVALS,
    CHANNELS,
    ENVIRONMENTS,
    LENGTHS,
    SCENARIOS,
    SERVERS,
    option_names,
)
from multispin_env.scenario import Scenario

DEFAULT_ENV, DEFAULT_SCENARIO = "MultiSpin/Heterogeneous-v0", "llama2"

DEFAULTS = {"env": DEFAULT_ENV, "scenario": DEFAULT_SCENARIO, "num_users": "20", "total_bandwidth": "10e6"}
"""Of the system, as the help says them; the last two are those of the presets."""

_SET = "--set"

RESERVED = ("id", "scenario", "num_envs", "vectorization_mode", "vector_kwargs", "wrappers", "autoreset_mode")
"""Arguments of ``gymnasium.make_vec`` that commands set themselves."""

COMMON_ARGUMENTS = tuple(signature(MultiSpinVectorEnv).parameters)[:-1]  # all but the last, ``**overrides``
"""Arguments that all environments take."""


def add_system_options(parser: ArgumentParser, settings: str, defaults: Mapping[str, str] = DEFAULTS) -> None:
    """``--env --scenario --server --num-users --total-bandwidth --set``; ``settings`` is the help of ``--set``."""
    names = ", ".join(ENVIRONMENTS.names())
    parser.add_argument("--env", metavar="ID", help=f"environment id: {names} (default {defaults['env']})")
    add_scenario_options(parser, defaults)
    users = f"K, number of devices (default {defaults['num_users']})"
    parser.add_argument("--num-users", type=int, metavar="K", help=users)
    add_set_option(parser, settings)


def add_scenario_options(parser: ArgumentParser, defaults: Mapping[str, str] = DEFAULTS) -> None:
    """``--scenario --server --total-bandwidth``; ``None`` where not given."""
    names = ", ".join(SCENARIOS.names())
    scenario = f"preset: {names}, or a .toml or .json file (default {defaults['scenario']})"
    parser.add_argument("--scenario", metavar="NAME", help=scenario)
    server = f"law of verification: {', '.join(SERVERS.names())}, or a .toml or .json file (default: the scenario's)"
    parser.add_argument("--server", metavar="NAME", help=server)
    budget = f"B, uplink budget in Hz (default {defaults['total_bandwidth']})"
    parser.add_argument("--total-bandwidth", type=float, metavar="HZ", help=budget)


def add_set_option(parser: ArgumentParser, settings: str = "fields of the scenario, as max_draft_length=12") -> None:
    """``--set``, with its help."""
    parser.add_argument(
        _SET, action="append", default=[], metavar="NAME=VALUE", help=f"{settings}; several may follow one another"
    )


def separate_settings(arguments: Iterable[str]) -> list[str]:
    """Arguments with ``--set`` before each NAME=VALUE of several, so that what follows them, as a file, is none."""
    found: list[str] = []
    for text in arguments:
        name, equals, _ = text.partition("=")
        if found[-2:-1] == [_SET] and equals and name.isidentifier():
            found.append(_SET)
        if found[-1:] == [_SET]:
            parse_settings([text], ())
        found.append(text)
    return found


def parse_settings(settings: Iterable[str], taken: Sequence[str] = RESERVED, option: str = "set") -> dict[str, Any]:
    """``name=value`` texts of an option to arguments: Python literals, and words, which need no quotes.

    Where a word may be ``module:ATTRIBUTE``, as ``channel=module:ATTRIBUTE``, that part is imported.

    ``ValueError`` for a text without ``=`` or name, a name given twice, one of those ``taken``, which the command sets
    itself, a text longer than the longest path, a value that is nested too deeply for Python, a number that must have
    been meant in another unit, or a part that can't be imported.
    """
    parsed: dict[str, Any] = {}
    for text in settings:
        if len(text) > 4096:
            raise ValueError(f"{option}: expected at most 4096 letters, got {shown(text)} of {len(text)}")
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"{option}: expected NAME=VALUE, got {text!r}")
        if name in taken:
            raise ValueError(f"{option}: expected an argument other than {list(taken)}, got {name!r}")
        if name in parsed:
            raise ValueError(f"{option}: expected {name!r} once, got it twice")
        parsed[name] = _literal(name, value, option)
    check_plausible(parsed)
    for table in (CHANNELS, ACCEPTANCES, ARRIVALS, LENGTHS):
        if table.kind in parsed:
            table.admit(parsed[table.kind])
    return parsed


def _literal(name: str, text: str, option: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return text
    except (RecursionError, MemoryError):  # of the parser, for thousands of signs or brackets
        raise ValueError(f"{option}: expected a value as in Python, or a word, got {name}={shown(text)}") from None


def collect_arguments(options: Namespace, taken: Sequence[str] = ()) -> dict[str, Any]:
    """Collect the arguments of the environment from ``--set`` and from their own options.

    ``ValueError`` for names in `RESERVED` and ``taken``, which the command sets itself.
    """
    chosen = parse_settings(options.set, (*RESERVED, *taken))
    for name in ("num_users", "total_bandwidth", "server"):
        value = vars(options).get(name)
        if value is not None and name in chosen:
            raise ValueError(f"set: expected {name!r} once, got --{name.replace('_', '-')} too")
        if value is not None:
            chosen[name] = value
    return chosen


def resolve_scenario(options: Namespace, **fixed: Any) -> Scenario:
    """The scenario of a command without an environment, with the fields that it fixes itself."""
    chosen = collect_arguments(options)
    check_settings(options, chosen)
    return Scenario.resolve(options.scenario).replace(**fixed, **chosen)


def check_settings(
    options: Namespace, chosen: Iterable[str], env_ids: Sequence[str] = (), besides: Sequence[str] = ()
) -> None:
    """``ValueError`` for a setting that belongs to something else, which it names; else it says the nearest, or all.

    The names that were ``chosen`` may be fields of the scenario, arguments of one of these environments, and those
    ``besides``, as `COMMON_ARGUMENTS`.
    """
    for env_id in env_ids:
        check_name("env", env_id, ENVIRONMENTS.names())
    own = [name for env_id in env_ids for name in option_names(ENVIRONMENTS.load(env_id))]
    expected = tuple(dict.fromkeys((*own, *Scenario.field_names(), *besides)))
    environment = f"an argument of {env_ids[0] if len(env_ids) == 1 else 'an environment'} or " if env_ids else ""
    for name in chosen:
        if name not in expected:
            belongs = _belongs(name, options, expected)
            raise ValueError(f"set: expected {environment}a field of the scenario, got {shown(name)}{belongs}")


def _belongs(name: str, options: Namespace, expected: tuple[str, ...]) -> str:
    if name in vars(options):
        return f", which is an option: --{name.replace('_', '-')}"
    owners = [each for each in ENVIRONMENTS.names() if name in option_names(ENVIRONMENTS.load(each))]
    if owners:
        return f", which is an argument of {', '.join(owners)}"
    # among so many names a less similar one is another thing
    return suggestion(name, expected, 0.7) or f"; there are {', '.join(expected)}"


@dataclass(frozen=True)
class Command:
    """What a user can run: called with its name in messages and its arguments, it returns a status or ``None``."""

    description: str  # the beginning of its help
    examples: Sequence[str]  # the end of its help: arguments, a line each
    add_options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int | None]
    """Returns an exit status, or ``None`` for success; raises `ValueError`, `TypeError`, `OSError` or `ImportError`, in
    one sentence, for what cannot be done. The options have two entries that the user does not give: ``program``, the
    name in messages, and ``command``, the line that repeats all this.
    """

    def parser(self, program: str) -> ArgumentParser:
        """Build the parser of the command line."""
        lines = "".join(f"  {program} {line}".rstrip() + "\n" for line in self.examples)
        parser = ArgumentParser(
            prog=program,
            description=self.description,
            epilog=f"examples:\n{lines}",
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,  # the beginning of a name may mean another option one day
        )
        self.add_options(parser)
        return parser

    def __call__(self, program: str, arguments: Sequence[str]) -> int | None:
        """Read the arguments and run."""
        options = self.parser(program).parse_args(separate_settings(arguments))
        check_plausible(vars(options))
        options.program = program
        options.command = f"{program} {shlex.join(arguments)}".strip()
        try:
            return self.run(options)
        except SystemExit as error:
            if error.code:
                raise
            raise ContenderError("a part of your own ended the process (SystemExit), with the work undone") from error


T = TypeVar("T")


def add_executor_options(parser: ArgumentParser, tasks: str, parts: bool = True) -> None:
    """``--workers --ray``, and ``--part`` where a call can do a part of the ``tasks``, as the help calls them."""
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--workers", type=int, metavar="N", help=f"{tasks} at a time, in processes of this machine")
    who.add_argument(
        "--ray", nargs="?", const="local", metavar="ADDRESS", help=f"{tasks} on a Ray cluster (default: this machine)"
    )
    if parts:
        parser.add_argument(
            "--part", metavar="I/N", help=f"every N-th of the {tasks}, from the I-th on: for the jobs of an array"
        )


def executor_of(options: Namespace, packages: tuple[str, ...] = ("multispin_env",)) -> Executor:
    """Who does the tasks; ``packages`` are those of the tasks' code, for nodes that have it not installed."""
    if options.ray is not None:
        return Cluster(options.ray, packages)
    return Serial() if options.workers is None else Processes(options.workers)


def part_of(tasks: Sequence[T], part: str | None) -> list[T]:
    """The tasks of part ``I/N``, as b and e of a to e for 2/3; all without one; ``ValueError`` for another text."""
    if part is None:
        return list(tasks)
    first, slash, count = part.partition("/")
    if not (slash and first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise ValueError(f"part: expected I/N with 1 ≤ I ≤ N, as 2/8, got {part!r}")
    return list(tasks[int(first) - 1 :: int(count)])
