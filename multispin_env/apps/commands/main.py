"""The console command ``multispin``, which imports a subcommand only when it is called."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

from multispin_env.apps.terminal.arguments import Command
from multispin_env.apps.terminal.output import USAGE_ERROR, exit_status
from multispin_env.checks import check_name
from multispin_env.registry import import_project_module

_PROGRAM = "multispin"


class _Entry(NamedTuple):
    module: str  # its ``COMMAND`` is the `Command`
    summary: str
    extra: str = ""  # required extra of the package, empty for none
    alias: str = ""  # equivalent command line; its file calls `run_alias`


_HERE, _AGENTS, _LAB = "multispin_env.apps.commands.", "multispin_agents.", "multispin_lab.commands."

COMMANDS = {
    "train": _Entry(
        _AGENTS + "train", "train an agent and compare it with every controller", "train", "python train.py"
    ),
    "evaluate": _Entry(
        _AGENTS + "evaluate", "compare a saved agent with controllers", "train", "python -m multispin_agents.evaluate"
    ),
    "compare": _Entry(_HERE + "compare", "compare controllers and plug-ins on the same episodes"),
    "suite": _Entry(_LAB + "suite", "list the benchmark tasks; train, evaluate and rank entries", "suite"),
    "reproduce": _Entry(_LAB + "reproduce", "compute the paper's figures and check its claims", "render"),
    "watch": _Entry(_HERE + "watch", "show controllers while they decide", "render"),
    "explore": _Entry(_LAB + "explore", "open a page with sliders in the browser", "app"),
    "solve": _Entry(_HERE + "solve", "compute the decision for your own devices, from CSV or JSON"),
    "check": _Entry(_LAB + "check", "check a proof of the optimum of solve, without the solver"),
    "capacity": _Entry(_LAB + "capacity", "find the largest load within limits on TTFT, TPOT and E2EL"),
    "schedule": _Entry(_LAB + "schedule", "compute draft lengths by batch size, for vLLM, TensorRT-LLM or SGLang"),
    "drafts": _Entry(_LAB + "drafts", "compare draft models and methods by the goodput of the optimum"),
    "profile": _Entry(_LAB + "profile", "measure how long your models take, as a server for scenarios", "models"),
    "record": _Entry(
        _LAB + "record", "measure how often your target model accepts your draft model, by task", "models"
    ),
    "live": _Entry(_LAB + "live", "run real models for emulated devices and compare with the prediction", "models"),
    "testbed": _Entry(_LAB + "testbed", "verify the drafts of real devices that join over the network", "testbed"),
    "join": _Entry(_LAB + "join", "draft on this machine for a server of testbed", "testbed"),
    "export": _Entry(_AGENTS + "export", "write a saved agent as ONNX", "export", "python -m multispin_agents.export"),
}


def _add_options(parser: ArgumentParser) -> None:
    parser.usage = f"{_PROGRAM} [-h] [--version] COMMAND ..."
    parser.add_argument("--version", action="version", version=f"multispin_env {version('multispin_env')}")


def _print_help(options: Namespace) -> int:
    COMMAND.parser(_PROGRAM).print_help(sys.stderr)
    return USAGE_ERROR


COMMAND = Command(
    "Draft lengths and uplink bandwidth for multi-user speculative decoding.\n\ncommands [required extra]:\n"
    + "\n".join(
        f"  {name:10s} {entry.summary}{f' [{entry.extra}]' if entry.extra else ''}" for name, entry in COMMANDS.items()
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
    """Import a command; ``ValueError`` for an unknown name, ``ImportError`` as in `import_project_module`."""
    check_name("command", name, COMMANDS)
    return import_project_module(COMMANDS[name].module).COMMAND


def _run(program: str, name: str, arguments: Sequence[str]) -> int:
    return exit_status(program, lambda: load_command(name)(program, arguments), COMMANDS[name].extra)


def run_alias(name: str) -> int:
    """Run a command with the arguments of this process under its alias; return the exit status."""
    return _run(COMMANDS[name].alias, name, sys.argv[1:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (2, with one sentence on stderr, for wrong input)."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words or words[0].startswith("-"):
        return exit_status(_PROGRAM, lambda: COMMAND(_PROGRAM, words))
    if words[0] not in COMMANDS:
        return exit_status(_PROGRAM, lambda: load_command(words[0])(_PROGRAM, []))
    return _run(f"{_PROGRAM} {words[0]}", words[0], words[1:])
