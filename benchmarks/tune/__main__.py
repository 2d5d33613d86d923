"""``python -m benchmarks.tune``: searches for defaults."""

import sys
from collections.abc import Sequence

from benchmarks.tools import run_tool


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand."""
    commands = {
        "estimators": "options of estimators, on a grid",
        "controllers": "options of controllers without the barrier, by random search",
    }
    return run_tool("tune", commands, arguments)


if __name__ == "__main__":
    sys.exit(main())
