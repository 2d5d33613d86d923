"""``python -m benchmarks.evidence``: how good the optimum, the bound and the rules are."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(
    run_tool,
    "evidence",
    {
        "optimum": "brute force, presets at all budgets, systems far from any network, other controllers",
        "servers": "the optimum where verification costs tokens: brute force, measured servers, absurd numbers",
        "fit": "laws of verification fitted to measured passes",
        "tables": "laws of verification fitted to tables of measured kernels, as they ship",
        "bound": "the bound without the barrier, and its prices",
        "rules": "tokens/s of rules without the barrier in sixteen systems",
        "partial-knowledge": "plug-ins where something is hidden, and who is expected to be ahead of whom",
    },
)

if __name__ == "__main__":
    sys.exit(main())
