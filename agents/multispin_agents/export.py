"""Command ``multispin export``, also ``python -m multispin_agents.export``; it imports torch when it runs."""

import argparse
import sys
from pathlib import Path

from multispin_env.apps.commands.main import run_alias
from multispin_env.apps.terminal.arguments import Command
from multispin_env.evaluation.policy import ONNX
from multispin_env.registry import import_project_module


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("run", help="folder or name of the run")
    parser.add_argument("--agent", metavar="MODULE:ATTRIBUTE", help="agent of the run, if it is your own")
    parser.add_argument("--out", type=Path, help="folder for the files (default: that of the run)")


def run(options: argparse.Namespace) -> None:
    """Write the files and print the difference of their actions from the original."""
    import_project_module("multispin_agents.tracing").run(options)


COMMAND = Command(
    f"Write the best policy of a run as {ONNX}, for any number of users and any batch size, and check that it returns "
    "the same actions as the original.",
    ("mine", "mine --out exported"),
    add_options,
    run,
)

if __name__ == "__main__":
    sys.exit(run_alias("export"))
