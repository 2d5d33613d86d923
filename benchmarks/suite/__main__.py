"""Frozen values of the tasks of the suite: ``python -m benchmarks.suite``."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(run_tool, "suite")

if __name__ == "__main__":
    sys.exit(main())
