"""``multispin``: one entry to every command of the project, which it imports only when it is called."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

from multispin_env.apps.terminal.arguments import Command
from multispin_env.apps.terminal.output import USAGE_ERROR, exit_status
from multispin_env.checks import check_name
from multispin_env.registry import import_own

_PROGRAM = "multispin"


class _Entry(NamedTuple):
    module: str  # its ``COMMAND`` is the `Command`
    summary: str
    extra: str = ""  # extra of the package that it needs; empty for none
    alias: str = ""  # another way to call it, by a file that calls `run_alias`


_HERE, _AGENTS = "multispin_env.apps.commands.", "agents."

COMMANDS = {
    "train": _Entry(
        _AGENTS + "train", "train an agent, then compare it with every controller", "train", "python train.py"
    ),
    "evaluate": _Entry(
        _AGENTS + "evaluate", "the table of a saved agent, at home or elsewhere", "train", "python -m agents.evaluate"
    ),
    "compare": _Entry(_HERE + "compare", "controllers and plug-ins on the same episodes"),
    "suite": _Entry(_HERE + "suite", "frozen tasks with known optima, entries and their leaderboard", "suite"),
    "reproduce": _Entry(_HERE + "reproduce", "the paper's figures and claims", "render"),
    "watch": _Entry(_HERE + "watch", "look on while something decides", "render"),
    "explore": _Entry(_HERE + "explore", "a page with sliders, in the browser", "app"),
    "solve": _Entry(_HERE + "solve", "decide for your own devices, from CSV or JSON"),
    "capacity": _Entry(_HERE + "capacity", "the largest load within limits of TTFT, TPOT and E2EL"),
    "schedule": _Entry(_HERE + "schedule", "draft length by batch size, for vLLM, TensorRT-LLM or SGLang"),
    "profile": _Entry(_HERE + "profile", "how long your models take, as a server for scenarios", "models"),
    "record": _Entry(_HERE + "record", "how often your target model accepts your draft model, by task", "models"),
    "live": _Entry(
        _HERE + "live", "real models draft and verify for emulated devices, beside what was predicted", "models"
    ),
    "export": _Entry(
        _AGENTS + "export", "write a saved agent as ONNX or for PyTorch", "export", "python -m agents.export"
    ),
}


def _add_options(parser: ArgumentParser) -> None:
    parser.usage = f"{_PROGRAM} [-h] [--version] COMMAND ..."
    parser.add_argument("--version", action="version", version=f"multispin_env {version('multispin_env')}")


def _print_help(options: Namespace) -> int:
    COMMAND.parser(_PROGRAM).print_help(sys.stderr)
    return USAGE_ERROR


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
