"""Searches for defaults: ``python -m benchmarks.tune``."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(run_tool, "tune")

if __name__ == "__main__":
    sys.exit(main())
