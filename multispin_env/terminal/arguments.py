"""Options that several commands share: the system, and ``--set`` for all else that an environment takes."""

import ast
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from multispin_env.checks import shown
from multispin_env.registry import ENVIRONMENTS, SCENARIOS, SERVERS

DEFAULT_ENV, DEFAULT_SCENARIO = "MultiSpin/Heterogeneous-v0", "llama2"

DEFAULTS = {"env": DEFAULT_ENV, "scenario": DEFAULT_SCENARIO, "num_users": "20", "total_bandwidth": "10e6"}
"""Of the system, as the help says them; the last two are those of the presets."""

TAKEN = ("id", "scenario", "num_envs", "vectorization_mode", "vector_kwargs", "wrappers", "autoreset_mode")
"""Arguments of ``gymnasium.make_vec`` that commands set themselves."""

LONGEST_SETTING = 4096
"""Letters of a ``NAME=VALUE``: those of the longest path."""


def add_system_options(parser: ArgumentParser, settings: str, defaults: Mapping[str, str] = DEFAULTS) -> None:
    """``--env --scenario --server --num-users --total-bandwidth --set``; ``None`` where not given.

    Parameters
    ----------
    parser
        Of the command.
    settings
        Help of ``--set``.
    defaults
        What the command takes where an option is not given.
    """
    names = ", ".join(ENVIRONMENTS.names())
    parser.add_argument("--env", metavar="ID", help=f"environment id: {names} (default {defaults['env']})")
    add_scenario_options(parser, defaults)
    users = f"K, number of devices (default {defaults['num_users']})"
    parser.add_argument("--num-users", type=int, metavar="K", help=users)
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help=settings)


def add_scenario_options(parser: ArgumentParser, defaults: Mapping[str, str] = DEFAULTS) -> None:
    """``--scenario --server --total-bandwidth``; ``None`` where not given."""
    names = ", ".join(SCENARIOS.names())
    scenario = f"preset: {names}, or a .toml or .json file (default {defaults['scenario']})"
    parser.add_argument("--scenario", metavar="NAME", help=scenario)
    server = f"law of verification: {', '.join(SERVERS.names())}, or a .toml or .json file (default: the scenario's)"
    parser.add_argument("--server", metavar="NAME", help=server)
    budget = f"B, uplink budget in Hz (default {defaults['total_bandwidth']})"
    parser.add_argument("--total-bandwidth", type=float, metavar="HZ", help=budget)


def parse_settings(settings: Iterable[str], taken: Sequence[str] = TAKEN) -> dict[str, Any]:
    """``name=value`` texts to arguments of an environment: Python literals, and words, which need no quotes.

    Raises
    ------
    ValueError
        For a text without ``=`` or name, a name given twice, one of those ``taken``, which the command sets itself, a
        text of more than `LONGEST_SETTING` letters, or a value that is nested too deeply for Python.
    """
    parsed: dict[str, Any] = {}
    for text in settings:
        if len(text) > LONGEST_SETTING:
            raise ValueError(f"set: expected at most {LONGEST_SETTING} letters, got {shown(text)} of {len(text)}")
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"set: expected NAME=VALUE, got {text!r}")
        if name in taken:
            raise ValueError(f"set: expected an argument other than {list(taken)}, got {name!r}")
        if name in parsed:
            raise ValueError(f"set: expected {name!r} once, got it twice")
        parsed[name] = _literal(name, value)
    return parsed


def _literal(name: str, text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        return text
    except (RecursionError, MemoryError):  # of the parser, for thousands of signs or brackets
        raise ValueError(f"set: expected a value as in Python, or a word, got {name}={shown(text)}") from None


def chosen_arguments(options: Namespace, taken: Sequence[str] = ()) -> dict[str, Any]:
    """Arguments of the environment, by ``--set`` or an option of their own; `TAKEN` and those ``taken`` are refused."""
    chosen = parse_settings(options.set, (*TAKEN, *taken))
    for name in ("num_users", "total_bandwidth", "server"):
        value = vars(options).get(name)
        if value is not None and name in chosen:
            raise ValueError(f"set: expected {name!r} once, got --{name.replace('_', '-')} too")
        if value is not None:
            chosen[name] = value
    return chosen
