"""Frozen values of the tasks of the suite: ``python -m benchmarks.suite``."""

import sys

from benchmarks.tools import run_tool

if __name__ == "__main__":
    sys.exit(run_tool("suite"))
