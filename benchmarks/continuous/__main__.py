"""Tables of docs/evidence/serving.md and docs/evidence/learned-schedulers.md: ``python -m benchmarks.continuous``."""

import sys

from benchmarks.tools import run_tool

if __name__ == "__main__":
    sys.exit(run_tool("continuous"))
