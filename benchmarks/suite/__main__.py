"""``python -m benchmarks.suite``: what is frozen with the tasks of the suite."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(
    run_tool,
    "suite",
    {
        "freeze": "play floor, reference and bound of tasks that have none yet, and store them with the package",
        "apart": "scores of random actions, of action 0, of every rule and of the bound, to see what a task says",
    },
)

if __name__ == "__main__":
    sys.exit(main())
