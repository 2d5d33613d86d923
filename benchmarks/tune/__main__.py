"""Searches for defaults: ``python -m benchmarks.tune``."""

import sys

from benchmarks.tools import run_tool

if __name__ == "__main__":
    sys.exit(run_tool("tune"))
