"""``python -m benchmarks.speed``: the tables of docs/evidence/speed.md."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(
    run_tool,
    "speed",
    {
        "environments": "env-steps per CPU-second of every environment, and the targets",
        "profile": "parts of one step",
        "streams": "a row of fading, by how random numbers are divided among the copies",
        "controllers": "the rule and the certificate beside the grid of the paper",
        "decisions": "time of a decision beside the goodput that it loses",
        "without-barrier": "the core beside a SimPy model, and decisions of groups",
        "training": "PPO on the native vector and on Stable-Baselines3's loop",
        "startup": "CPU time of starts",
        "rendering": "pictures a second",
        "page": "the page of multispin explore, in Chromium",
    },
)

if __name__ == "__main__":
    sys.exit(main())
