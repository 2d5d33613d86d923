"""Evidence about the optimum, the bound and the rules: ``python -m benchmarks.evidence``."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(run_tool, "evidence")

if __name__ == "__main__":
    sys.exit(main())
