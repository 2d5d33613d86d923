"""``multispin``: one entry to every command of the project, which it imports only when it is called."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

from multispin_env.apps.terminal.arguments import Command
from multispin_env.apps.terminal.output import REFUSED, exit_status
from multispin_env.checks import check_name
from multispin_env.registry import import_own

_PROGRAM = "multispin"


class CommandEntry(NamedTuple):
    """What is known of a command before it is imported."""

    module: str  # its ``COMMAND`` is the `Command`
    summary: str
    extra: str = ""  # extra of the package that it needs; empty for none
    alias: str = ""  # another way to call it, by a file that calls `run_alias`


_HERE, _AGENTS = "multispin_env.apps.commands.", "agents."

COMMANDS = {
    "train": CommandEntry(
        _AGENTS + "train", "train an agent, then compare it with every controller", "train", "python train.py"
    ),
    "evaluate": CommandEntry(
        _AGENTS + "evaluate", "the table of a saved agent, at home or elsewhere", "train", "python -m agents.evaluate"
    ),
    "compare": CommandEntry(_HERE + "compare", "controllers and plug-ins on the same episodes"),
    "suite": CommandEntry(_HERE + "suite", "frozen tasks with known optima, entries and their leaderboard", "suite"),
    "reproduce": CommandEntry(_HERE + "reproduce", "the paper's figures and claims", "render"),
    "watch": CommandEntry(_HERE + "watch", "look on while something decides", "render"),
    "explore": CommandEntry(_HERE + "explore", "a page with sliders, in the browser", "app"),
    "solve": CommandEntry(_HERE + "solve", "decide for your own devices, from CSV or JSON"),
    "capacity": CommandEntry(_HERE + "capacity", "the largest load within limits of TTFT, TPOT and E2EL"),
    "schedule": CommandEntry(_HERE + "schedule", "draft length by batch size, for vLLM, TensorRT-LLM or SGLang"),
    "profile": CommandEntry(_HERE + "profile", "how long your models take, as a server for scenarios", "models"),
    "record": CommandEntry(_HERE + "record", "how often your target model accepts your draft model, by task", "models"),
    "live": CommandEntry(
        _HERE + "live", "real models draft and verify for emulated devices, beside what was predicted", "models"
    ),
    "export": CommandEntry(
        _AGENTS + "export", "write a saved agent as ONNX or for PyTorch", "export", "python -m agents.export"
    ),
}


def _add_options(parser: ArgumentParser) -> None:
    parser.usage = f"{_PROGRAM} [-h] [--version] COMMAND ..."
    parser.add_argument("--version", action="version", version=f"multispin_env {version('multispin_env')}")


def _print_help(options: Namespace) -> int:
    COMMAND.parser(_PROGRAM).print_help(sys.stderr)
    return REFUSED


COMMAND = Command(
    "Who drafts how much, and who gets how much of the uplink?\n\ncommands:\n"
    + "\n".join(
        f"  {name:10s} {one.summary}{f' [{one.extra}]' if one.extra else ''}" for name, one in COMMANDS.items()
    ),
    (
        "solve --scenario llama2 examples/devices.csv",
        "compare --num-users 8 --controllers optimal fixed",
        "reproduce --quick --only draft-length",
        "train --name mine --minutes 2",
        "evaluate mine --scenario qwen3.5",
        "solve --help",
    ),
    _add_options,
    _print_help,
)


def load_command(name: str) -> Command:
    """Import a command; ``ValueError`` for an unknown name, ``ImportError`` as of `import_own`."""
    check_name("command", name, COMMANDS)
    command: Command = import_own(COMMANDS[name].module).COMMAND
    return command


def _run(program: str, name: str, arguments: Sequence[str]) -> int:
    return exit_status(program, lambda: load_command(name)(program, arguments), COMMANDS[name].extra)


def run_alias(name: str) -> int:
    """Run a command with the arguments of this process, for the file that is its alias; returns the exit status."""
    return _run(COMMANDS[name].alias, name, sys.argv[1:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 2, with one sentence on stderr, for wrong use."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given or given[0].startswith("-"):
        return exit_status(_PROGRAM, lambda: COMMAND(_PROGRAM, given))
    if given[0] not in COMMANDS:
        return exit_status(_PROGRAM, lambda: load_command(given[0])(_PROGRAM, []))
    return _run(f"{_PROGRAM} {given[0]}", given[0], given[1:])
