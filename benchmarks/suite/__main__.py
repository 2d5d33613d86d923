"""Frozen values of the tasks of the suite: ``python -m benchmarks.suite``."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(
    run_tool,
    "suite",
    {
        "spell": "write out every field of every task, with the values of the code where one is missing",
        "freeze": "play floor, reference and bound of tasks that have none yet, and store them with the package",
        "apart": "scores of actions that know nothing, of every rule and of the bound, for the choice of tasks",
    },
)

if __name__ == "__main__":
    sys.exit(main())
