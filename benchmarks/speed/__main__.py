"""Tables of docs/evidence/speed.md: ``python -m benchmarks.speed``."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(
    run_tool,
    "speed",
    {
        "environments": "env-steps per CPU-second of every environment, and the targets",
        "checkouts": "steps per CPU-second of two checkouts, in alternating pairs",
        "profile": "parts of one step",
        "streams": "a row of fading, by how random numbers are assigned to environments",
        "controllers": "the rule, the certificate and the grid of the paper",
        "decisions": "time of a decision, and its loss of goodput",
        "without-barrier": "the core, a SimPy model, and decisions of groups",
        "training": "PPO on the native vector and on Stable-Baselines3's loop",
        "startup": "CPU time of starts",
        "rendering": "pictures a second",
        "page": "the page of multispin explore, in Chromium",
    },
)

if __name__ == "__main__":
    sys.exit(main())
