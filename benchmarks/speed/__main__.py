"""Tables of docs/evidence/speed.md: ``python -m benchmarks.speed``."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(run_tool, "speed")

if __name__ == "__main__":
    sys.exit(main())
