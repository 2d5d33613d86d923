"""``multispin``: one entry to every command of the project, which it imports only when it is called."""

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

from multispin_env.checks import check_name
from multispin_env.evaluation.printing import closed_pipe

PROGRAM = "multispin"

INTERRUPTED = 128 + 2
"""Exit status after Ctrl-C, as shells have it."""


@dataclass(frozen=True)
class Command:
    """One sub-command.

    Parameters
    ----------
    target
        ``"module:function"``. The function takes the arguments, and ``program``, the name in its messages, if it has
        such a parameter; it returns the exit status.
    summary
        What it does, in a line.
    extra
        Extra of the package that it needs; empty for none.
    """

    target: str
    summary: str
    extra: str = ""


COMMANDS = {
    "train": Command("agents.cli:main", "train an agent, then compare it with every controller", "train"),
    "evaluate": Command("agents.evaluate:main", "the table of a saved agent, at home or elsewhere", "train"),
    "compare": Command("multispin_env.evaluation.cli:main", "controllers and plug-ins on the same episodes"),
    "reproduce": Command("multispin_env.reproduce.cli:main", "the paper's figures and claims", "render"),
    "watch": Command("multispin_env.watch.cli:main", "look on while something decides", "render"),
    "solve": Command("multispin_env.commands.solve:main", "decide for your own devices, from CSV or JSON"),
}

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
    lines = [f"  {name:{width}s}  {command.summary}" for name, command in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [-h] [--version] COMMAND ...",
        description="Who drafts how much, and who gets how much of the uplink?\n\ncommands:\n" + "\n".join(lines),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"multispin_env {version('multispin_env')}")
    return parser


def load(name: str) -> Callable[..., int]:
    """Import the function of a command.

    Raises
    ------
    ValueError
        For an unknown name; the nearest is suggested.
    ModuleNotFoundError
        In one sentence, where the command, or a package that it needs, is not installed.
    """
    check_name("command", name, COMMANDS)
    command = COMMANDS[name]
    module, _, attribute = command.target.partition(":")
    try:
        function: Callable[..., int] = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{name}: {_missing(command, module, error.name or '')}", name=error.name) from error
    return function


def _missing(command: Command, module: str, package: str) -> str:
    """What to say where a module is missing."""
    if module == package or module.startswith(f"{package}."):
        return f"the module {package!r} is missing, allowed with an installation of multispin_env that has it"
    extra = f"multispin_env[{command.extra}]" if command.extra else package
    return f"the package {package!r} is missing, allowed after installing {extra}"


def _call(name: str, arguments: Sequence[str]) -> int:
    function = load(name)
    if "program" in inspect.signature(function).parameters:
        return function(arguments, program=f"{PROGRAM} {name}")
    return function(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 2, with one sentence on stderr, for wrong use."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if not given or given[0].startswith("-"):
        parser().parse_args(given)
        parser().print_help(sys.stderr)  # nothing was asked for
        return 2
    try:
        status = _call(given[0], given[1:])
        sys.stdout.flush()
    except (ValueError, ModuleNotFoundError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return closed_pipe()
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return status
