"""``multispin``: one entry to every command of the project, which it imports only when it is called."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import NamedTuple

from multispin_env.checks import check_name
from multispin_env.terminal.command import Command
from multispin_env.terminal.status import REFUSED, exit_status

PROGRAM = "multispin"


OWN = ("multispin_env", "agents", "benchmarks")
"""Packages of the repository; the last is in no installation but that of a checkout."""


class Entry(NamedTuple):
    """What is known of a command before it is imported."""

    target: str
    """``"module:attribute"`` of a `Command`."""
    summary: str
    extra: str = ""
    """Extra of the package that it needs; empty for none."""
    alias: str = ""
    """Another way to call it, by a file that calls `run_alias`."""


COMMANDS = {
    "train": Entry(
        "agents.commands.train:COMMAND", "train an agent, then compare it with every controller", "train",
        "python train.py",
    ),
    "evaluate": Entry(
        "agents.commands.evaluate:COMMAND", "the table of a saved agent, at home or elsewhere", "train",
        "python -m agents.evaluate",
    ),
    "compare": Entry("multispin_env.commands.compare:COMMAND", "controllers and plug-ins on the same episodes"),
    "reproduce": Entry(
        "multispin_env.commands.reproduce:COMMAND", "the paper's figures and claims", "render",
        "python -m multispin_env.reproduce",
    ),
    "watch": Entry(
        "multispin_env.commands.watch:COMMAND", "look on while something decides", "render",
        "python -m multispin_env.watch",
    ),
    "solve": Entry("multispin_env.commands.solve:COMMAND", "decide for your own devices, from CSV or JSON"),
    "export": Entry(
        "agents.commands.export:COMMAND", "write a saved agent as ONNX or for PyTorch", "export",
        "python -m agents.export",
    ),
    "pack": Entry("agents.commands.pack:COMMAND", "make a pretrained agent of a saved one", "train"),
    "league": Entry(
        "benchmarks.league.command:COMMAND", "train and compare all agents everywhere (needs a checkout)", "train",
        "python -m benchmarks.league",
    ),
}  # fmt: skip

EXAMPLES = f"""examples:
  {PROGRAM} solve --scenario llama2 examples/devices.csv
  {PROGRAM} compare --num-users 8 --controllers optimal fixed
  {PROGRAM} reproduce --quick --only draft-length
  {PROGRAM} train --name mine --minutes 2
  {PROGRAM} evaluate mine --scenario qwen3.5
  {PROGRAM} solve --help
"""


def parser() -> argparse.ArgumentParser:
    """Build the parser of what stands before the name of a command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}s}  {entry.summary}{_needs(entry)}" for name, entry in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [-h] [--version] COMMAND ...",
        description="Who drafts how much, and who gets how much of the uplink?\n\ncommands:\n" + "\n".join(lines),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"multispin_env {version('multispin_env')}")
    return parser


def _needs(entry: Entry) -> str:
    return f" [{entry.extra}]" if entry.extra else ""


def load(name: str) -> Command:
    """Import a command.

    Raises
    ------
    ValueError
        For an unknown name; the nearest is suggested.
    ModuleNotFoundError
        Where a package that it needs is not installed.
    ImportError
        In one sentence, where the installation does not have the command.
    """
    check_name("command", name, COMMANDS)
    module, _, attribute = COMMANDS[name].target.partition(":")
    try:
        command: Command = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in OWN:
            where = "allowed is a checkout of the repository, installed by pip install -e ."
            raise ImportError(f"the module {error.name!r} is missing, {where}") from error
        raise
    return command


def _run(program: str, name: str, arguments: Sequence[str]) -> int:
    return exit_status(program, lambda: load(name)(program, arguments), COMMANDS[name].extra)


def run_alias(name: str) -> int:
    """Run a command with the arguments of this process, for the file that is its alias; returns the exit status."""
    return _run(COMMANDS[name].alias, name, sys.argv[1:])


def _ask(given: Sequence[str]) -> int:
    """What to do where no command is asked for."""
    parser().parse_args(given)
    parser().print_help(sys.stderr)
    return REFUSED


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 2, with one sentence on stderr, for wrong use."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given or given[0].startswith("-"):
        return exit_status(PROGRAM, lambda: _ask(given))
    if given[0] not in COMMANDS:
        return exit_status(PROGRAM, lambda: load(given[0])(PROGRAM, []))
    return _run(f"{PROGRAM} {given[0]}", given[0], given[1:])
