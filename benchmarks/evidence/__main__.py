"""Evidence about the optimum, the bound and the rules: ``python -m benchmarks.evidence``."""

import sys

from benchmarks.tools import run_tool

if __name__ == "__main__":
    sys.exit(run_tool("evidence"))
