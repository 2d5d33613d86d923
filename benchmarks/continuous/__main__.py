"""Tables of docs/evidence/serving.md and docs/evidence/learned-schedulers.md: ``python -m benchmarks.continuous``."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(run_tool, "continuous")

if __name__ == "__main__":
    sys.exit(main())
