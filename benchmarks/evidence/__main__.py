"""Evidence about the optimum, the bound and the rules: ``python -m benchmarks.evidence``."""

import sys
from functools import partial

from benchmarks.tools import run_tool

main = partial(
    run_tool,
    "evidence",
    {
        "optimum": "brute force, presets at all budgets, systems far from any network, other controllers",
        "servers": "the optimum where verification costs tokens: brute force, measured servers, extreme numbers",
        "fit": "laws of verification fitted to measured passes",
        "tables": "laws of verification fitted to tables of measured kernels, as they ship",
        "bound": "the bound without the barrier, and its prices",
        "ahead": "rounds in which devices draft ahead: best goodput of a round, prices, fixed points",
        "bound-ahead": "the bound where devices draft ahead, the optimum of one device, and rules",
        "rules": "tokens/s of rules without the barrier in sixteen systems",
        "ahead-optimum": "the optimum of rounds in which one to three devices draft ahead, and shares of rules",
        "ahead-agents": "agents where one or two devices draft ahead, and their shares of the optimum",
        "energy": "batteries: shares of the bound, goodput against joules per token, random systems",
        "energy-optimum": "the optimum of one device with a battery, and shares of rules",
        "generalisation": "agents that ship with the package, with other numbers of devices and in other presets",
        "hits": "hits along the record, over those of independent tokens",
        "stock": "algorithms of Stable-Baselines3 with their defaults, compared with action 0",
        "partial-knowledge": "plug-ins where something is hidden, and their expected order",
    },
)

if __name__ == "__main__":
    sys.exit(main())
