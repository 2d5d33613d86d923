"""Tables of docs/evidence/serving.md and docs/evidence/learned-schedulers.md: ``python -m benchmarks.continuous``."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(
    run_tool,
    "continuous",
    {
        "serving": "tokens in time with and without the barrier and deadlines, by load",
        "load": "rules compared with greedy with deadlines, by load and bursts, in pairs",
        "levels": "users of a server at a service level",
        "queueing": "one device as an M/G/1 queue, and latency by load",
        "learned": "pretrained agents and rules: habits, and systems that were not trained on",
        "ahead": "rates and tokens in time with and without drafting ahead",
        "live": "time of a decision, and overhead of multispin live over its models",
        "robustness": "extreme numbers and a long batch, with and without a certificate",
    },
)

if __name__ == "__main__":
    sys.exit(main())
