"""Commands, and the options that several of them share: the system, ``--set`` and the executor."""

import ast
import re
import shlex
import sys
from argparse import Action, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from typing_extensions import override

from multispin_env.apps.executors import Cluster, Executor, Processes, Serial
from multispin_env.checks import check_integer, check_name, check_plausible, cut, listed, shown, suggestion
from multispin_env.device import DeviceProfile
from multispin_env.evaluation.contenders import ContenderError
from multispin_env.field_files import is_file_name
from multispin_env.registry import (
    ACCEPTANCES,
    ARRIVALS,
    CHANNELS,
    ENVIRONMENTS,
    FLEETS,
    LENGTHS,
    LINKS,
    SCENARIOS,
    SERVERS,
    import_environment,
)
from multispin_env.scenario import Scenario
from multispin_env.server import DRAFTING, LAW, Server

DEFAULT_ENV, DEFAULT_SCENARIO = "MultiSpin/Heterogeneous-v0", "llama2"

DEFAULTS = {"env": DEFAULT_ENV, "scenario": DEFAULT_SCENARIO, "num_users": "20", "total_bandwidth": "10e6"}
"""Defaults of the system as text for the help; the last two come from the presets."""

_SET = "--set"

RESERVED = ("id", "scenario", "num_envs", "vectorization_mode", "vector_kwargs", "wrappers", "autoreset_mode")
"""Arguments of ``gymnasium.make_vec`` that the commands set themselves."""

COMMON_ARGUMENTS = ("action", "reward", "optimum")
"""Arguments that all environments take, besides the scenario and those of `RESERVED`."""


def add_system_options(parser: ArgumentParser, settings: str, defaults: Mapping[str, str] = DEFAULTS) -> None:
    """Add ``--env --num-users --set`` and the options of the scenario; ``settings`` is the help of ``--set``."""
    names = ", ".join(ENVIRONMENTS.names())
    parser.add_argument("--env", metavar="ID", help=f"id: {names}, or module:ID, your own (default {defaults['env']})")
    add_scenario_options(parser, defaults)
    users = f"number of devices (default {defaults['num_users']})"
    parser.add_argument("--num-users", type=int, metavar="K", help=users)
    add_set_option(parser, settings)


def add_scenario_options(parser: ArgumentParser, defaults: Mapping[str, str] = DEFAULTS, draft: bool = True) -> None:
    """Add ``--scenario --server --draft --fleet --total-bandwidth``; their values are ``None`` by default.

    Without ``draft``, ``--draft`` is left to the command, and there is no ``--fleet``.
    """
    names = ", ".join(SCENARIOS.names())
    scenario = f"scenario: {names}, or a .toml or .json file (default {defaults['scenario']})"
    parser.add_argument("--scenario", metavar="NAME", help=scenario)
    server = f"verification server: {', '.join(SERVERS.names())}, or a .toml or .json file (default: the scenario's)"
    parser.add_argument("--server", metavar="NAME", help=server)
    if draft:
        text = "draft profile, listed by `multispin drafts`, or a .toml or .json file (default: the scenario's)"
        parser.add_argument("--draft", dest="draft_profile", metavar="NAME", help=text)
        fleet = f"devices: {', '.join(FLEETS.names())}, a file, or DEVICE=SHARE,... (default: the scenario's)"
        parser.add_argument("--fleet", metavar="NAME", help=fleet)
    budget = f"total uplink bandwidth in Hz (default {defaults['total_bandwidth']})"
    parser.add_argument("--total-bandwidth", type=float, metavar="HZ", help=budget)


def add_anchor_options(parser: ArgumentParser) -> None:
    """Add ``--measured-tpot --at``, which scale the server's times as `Server.anchored`."""
    tpot = "measured time per output token in seconds without drafts, after the same context, to which times of the "
    tpot += "server are scaled; several, at different --at, also determine a constant of each pass"
    parser.add_argument("--measured-tpot", type=float, nargs="+", metavar="S", help=tpot)
    at = "requests in the batch of each --measured-tpot (default 1)"
    parser.add_argument("--at", type=int, nargs="+", default=[1], metavar="N", help=at)


def add_set_option(parser: ArgumentParser, settings: str = "fields of the scenario, e.g. max_draft_length=12") -> None:
    """Add ``--set``; ``settings`` begins its help."""
    text = f"{settings}; several are separated by spaces"
    parser.add_argument(_SET, action="append", default=[], metavar="NAME=VALUE", help=text)


def separate_settings(arguments: Iterable[str]) -> list[str]:
    """Insert ``--set`` before each further NAME=VALUE, so that a positional argument may follow them."""
    words: list[str] = []
    for text in arguments:
        name, equals, _ = text.partition("=")
        if words[-2:-1] == [_SET] and equals and name.isidentifier():
            words.append(_SET)
        if words[-1:] == [_SET]:
            parse_settings([text], ())
        words.append(text)
    return words


def parse_settings(settings: Iterable[str], taken: Sequence[str] = RESERVED, option: str = "set") -> dict[str, Any]:
    """Parse ``name=value`` texts of an option; values are Python literals, or words without quotes.

    The part of a setting such as ``channel=module:ATTRIBUTE`` is imported.

    ``ValueError`` for a text without ``=`` or name, a repeated name, a name in ``taken``, which the command sets
    itself, a text of more than 4096 characters, a value nested too deeply for Python, a number that is implausible in
    its unit, or a part that cannot be imported.
    """
    parsed: dict[str, Any] = {}
    for text in settings:
        if len(text) > 4096:
            raise ValueError(f"{option}: expected at most 4096 characters, got {len(text)} in {shown(text)}")
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"{option}: expected NAME=VALUE, got {text!r}")
        if name in taken:
            raise ValueError(f"{option}: expected a name other than {list(taken)}, got {name!r}")
        if name in parsed:
            raise ValueError(f"{option}: expected {name!r} once, got it twice")
        parsed[name] = _literal(name, value, option)
    check_plausible(parsed)
    for table in (CHANNELS, ACCEPTANCES, LINKS, ARRIVALS, LENGTHS):
        if table.kind in parsed:
            table.admit(parsed[table.kind])
    return parsed


def _literal(name: str, text: str, option: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return text
    except (RecursionError, MemoryError):  # of the parser, for thousands of signs or brackets
        raise ValueError(f"{option}: expected a Python literal or a word, got {name}={shown(text)}") from None


def collect_arguments(options: Namespace, taken: Sequence[str] = ()) -> dict[str, Any]:
    """Collect the arguments of the environment from ``--set`` and from their own options.

    ``ValueError`` for names in `RESERVED` and ``taken``, which the command sets itself.
    """
    arguments = parse_settings(options.set, (*RESERVED, *taken))
    for name in ("num_users", "total_bandwidth", "server", "draft", "fleet"):
        value = vars(options).get("draft_profile" if name == "draft" else name)
        if value is not None and name in arguments:
            raise ValueError(f"set: expected {name!r} once, got --{name.replace('_', '-')} too")
        if value is not None:
            arguments[name] = _fleet(value) if name == "fleet" else value
    return arguments


def _fleet(text: str) -> str | list[tuple[str | float, ...]]:
    """Return a name, or the rows of DEVICE=SHARE,..., where a device is a name or the file of a profile."""
    if "=" not in text:
        return text
    pairs = [part.rpartition("=") for part in text.split(",")]
    try:
        shares = [float(share) for _, _, share in pairs]
    except ValueError:
        raise ValueError(f"fleet: expected DEVICE=SHARE,..., got {shown(text)}") from None
    rows: list[tuple[str | float, ...]] = []
    for (device, *_), share in zip(pairs, shares, strict=True):
        own = DeviceProfile.load(device) if is_file_name(device) else None
        rows.append((own.name, share, *own.numbers) if own else (device, share))
    return rows


def resolve_scenario(options: Namespace, **fixed: Any) -> Scenario:
    """Return the scenario of a command without an environment; the command sets the ``fixed`` fields."""
    fields = collect_arguments(options)
    check_settings(options, fields)
    scenario = Scenario.resolve(options.scenario or DEFAULT_SCENARIO).replace(**(fields | fixed))
    if vars(options).get("measured_tpot") is None:
        return scenario
    server = Server.of(scenario).anchored(options.measured_tpot, options.at, scenario.context)
    print(server.source, file=sys.stderr)
    scaled = {name: server.fields[name] for name in (*LAW, *DRAFTING) if name not in fields}  # others are measured
    return scenario.replace(**scaled, server="")


def check_settings(
    options: Namespace, names: Iterable[str], env_ids: Sequence[str] = (), others: Sequence[str] = ()
) -> None:
    """Check the names of settings.

    A name may be a field of the scenario, an argument of one of the environments, or in ``others``, for example
    `COMMON_ARGUMENTS`. The ``ValueError`` names the option or environment that has this argument, else similar names.
    """
    arguments = [name for env_id in env_ids for name in ENVIRONMENTS.load(env_id).own_fields()]
    expected = tuple(dict.fromkeys((*arguments, *Scenario.field_names(), *others)))
    environment = f"an argument of {env_ids[0] if len(env_ids) == 1 else 'an environment'} or " if env_ids else ""
    for name in names:
        if name not in expected:
            remedy = _remedy(name, options, expected)
            raise ValueError(f"set: expected {environment}a field of the scenario, got {shown(name)}{remedy}")


def _remedy(name: str, options: Namespace, expected: tuple[str, ...]) -> str:
    if name in vars(options):
        return f"; use the option --{name.replace('_', '-')}"
    lengths = [length for length in ("rounds", "horizon") if length in expected]
    if name == "max_episode_steps" and lengths:  # an argument of Gymnasium
        return f"; use {lengths[0]} for the length of an episode"
    owners = [env_id for env_id in ENVIRONMENTS.names() if name in ENVIRONMENTS.load(env_id).own_fields()]
    if owners:
        return f", which is an argument of {', '.join(owners)}"
    # among so many names, only a very similar one is likely to be meant
    return suggestion(name, expected, 0.7) or f"; the names are {listed(expected)}"


_PROBLEMS = {
    r"invalid int value: (.*)": "expected an integer, got {}",
    r"invalid float value: (.*)": "expected a number, got {}",
    r"not allowed with argument (.*)": "expected none with {}, got one",
    r"(expected .*)": "{}, got none",
}
"""Errors of `argparse`, as patterns, and in the words of this package."""


class _Parser(ArgumentParser):
    """Parser whose errors are a ``ValueError`` with one sentence, in place of the usage and an exit."""

    @override
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # of parts too, for their own options
        options, others = super().parse_known_args(args, namespace)
        for word in others:
            if word.startswith("-"):
                names = (name[2:] for name in self._option_string_actions if name.startswith("--"))
                check_name("option", word.partition("=")[0].lstrip("-"), names)
            raise ValueError(f"arguments: expected no more, got {shown(word)}")
        return options, others

    @override
    def error(self, message: str) -> NoReturn:
        subject, _, problem = message.partition(": ")
        if subject.endswith("required"):
            named = {_usage(option).split()[0]: option for option in self._actions}
            missing = [named[name] for name in problem.split(", ")]
            expected = " and ".join(f"{_usage(option)} ({option.help})" for option in missing)
            raise ValueError(f"{', '.join(option.dest for option in missing)}: expected {expected}, got none")
        field = subject.removeprefix("argument ").strip("-").replace("-", "_")
        if match := re.fullmatch(r"invalid choice: '(.*)' \(choose from (.*)\)", problem):
            check_name(field, match[1], re.findall(r"[\w-]+", match[2]))
        for pattern, words in _PROBLEMS.items():
            if match := re.fullmatch(pattern, problem):
                raise ValueError(f"{field}: {words.format(cut(match[1]))}")
        raise ValueError(f"{field}: {problem}")


def _usage(option: Action) -> str:
    name = option.metavar or option.dest.upper()
    return f"{option.option_strings[-1]} {name}" if option.option_strings else str(option.metavar or option.dest)


@dataclass(frozen=True)
class Command:
    """Console command; call it with the program name for messages and with its arguments."""

    description: str | None  # first part of the help, the docstring of the command's module
    examples: Sequence[str]  # last part of the help: the arguments of each example
    add_options: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int | None]
    """Function that returns an exit status, or ``None`` for success. It raises `ValueError`, `TypeError`, `OSError` or
    `ImportError`, with one sentence, for wrong input. Two entries of its options are not set by the user: ``program``,
    the name for messages, and ``command``, the command line that repeats the run.
    """

    def parser(self, program: str) -> ArgumentParser:
        """Build the parser of the command line."""
        lines = "".join(f"  {program} {line}".rstrip() + "\n" for line in self.examples)
        parser = _Parser(
            prog=program,
            description=self.description,
            epilog=f"examples:\n{lines}",
            formatter_class=RawDescriptionHelpFormatter,
            allow_abbrev=False,  # a new option could make an abbreviation ambiguous
        )
        self.add_options(parser)
        return parser

    def __call__(self, program: str, arguments: Sequence[str]) -> int | None:
        """Parse the arguments and run."""
        options = self.parser(program).parse_args(separate_settings(arguments))
        check_plausible(vars(options))
        for name, value in vars(options).items():
            if value == "":  # of an unset variable of the shell
                raise ValueError(f"{name}: expected a text, got ''")
        if vars(options).get("seed") is not None:
            check_integer("seed", options.seed, 0)
        if vars(options).get("env") is not None:
            options.env = import_environment(options.env)
        options.program = program
        options.command = f"{program} {shlex.join(arguments)}".strip()
        try:
            return self.run(options)
        except SystemExit as error:
            if error.code:
                raise
            raise ContenderError("your own code ended the process (SystemExit) before the command was done") from error


def add_executor_options(parser: ArgumentParser, tasks: str) -> None:
    """Add ``--workers --ray``; ``tasks`` names the tasks in the help."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--workers", type=int, metavar="N", help=f"run the {tasks} in N processes on this machine")
    cluster = f"run the {tasks} on a Ray cluster (default ADDRESS: start Ray on this machine)"
    group.add_argument("--ray", nargs="?", const="local", metavar="ADDRESS", help=cluster)


def executor_of(options: Namespace, packages: tuple[str, ...] = ("multispin_env",)) -> Executor:
    """Return the executor of the options; the code of ``packages`` is sent to the nodes of a cluster."""
    if options.ray is not None:
        return Cluster(options.ray, packages)
    return Serial() if options.workers is None else Processes(options.workers)
