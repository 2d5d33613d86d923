"""Tables of docs/evidence/speed.md: ``python -m benchmarks.speed``."""

import sys

from benchmarks.tools import run_tool

if __name__ == "__main__":
    sys.exit(run_tool("speed"))
