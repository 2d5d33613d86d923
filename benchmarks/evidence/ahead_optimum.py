"""Best long-run rate of barrier rounds in which one, two or three devices draft ahead, and the share of a rule.

Greedy guesses, 10 MHz, gain 0.35, T̄ times the factors of the row; the paper's server with distributions, `a100-32b`
with ids. *None* is the best rate without drafting ahead, *gain* that of drafting ahead, and *ratio* the share of the
optimum of `optimal`, the rule with the largest E N / τ of each round. Head starts are on a grid of 0.125, 0.5 or 1
tokens for one, two or three devices, whose drafts have 8 tokens at most where there are three. *Least* is the smallest
draft length, 1 on the paper's server as in the prototype.
"""

from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import product
from time import process_time

import numpy as np

from benchmarks.continuous_systems import ahead_scenario
from benchmarks.tools import Options, Row, show
from multispin_env.bounds.ahead import rate_optimum
from multispin_env.physics.radio import spectral_efficiency
from multispin_env.physics.types import SystemState

ACCEPTANCE = {"llama2": (0.7126, 0.8582), "qwen3.5": (0.81, 0.965)}  # the lowest and the highest of the pair's tasks
STEPS = {1: 0.125, 2: 0.5, 3: 1.0}  # by the number of devices


def row(pair: str, server: str, alphas: Sequence[float], factors: Sequence[float], least: int) -> Row:
    users = len(alphas)
    shorter = {"max_draft_length": 8} if users > 2 else {}
    scenario = ahead_scenario(pair, server, num_users=users, min_draft_length=least, **shorter)
    efficiency = spectral_efficiency(scenario, np.full(users, 0.35))
    state = SystemState(scenario.mean_draft_time * np.array(factors), efficiency, np.array(alphas))
    start = process_time()
    best = rate_optimum(scenario, state, step=STEPS[users])
    seconds = process_time() - start
    return {
        "system": f"{pair} {server}",
        "α": " ".join(f"{alpha:g}" for alpha in alphas),
        "T ×": " ".join(f"{factor:g}" for factor in factors),
        "least": str(least),
        "none": f"{best.rate_without_ahead:.1f}",
        "optimum": f"{best.rate:.1f}",
        "gain": f"{best.rate / best.rate_without_ahead - 1.0:+.1%}",
        "ratio": f"{best.myopic_rate / best.rate:.3f}",
        "gap": f"{max(best.bound - best.rate, 0.0):.0e}",
        "seconds": f"{seconds:.2f}",
    }


def cells(users: int) -> Iterator[Row]:
    """Yield the systems with this number of devices."""
    for pair, (server, least) in product(ACCEPTANCE, (("paper", 1), ("paper", 0), ("a100-32b", 0))):
        low, high = ACCEPTANCE[pair]
        devices: Sequence[tuple[Sequence[float], Sequence[float]]] = {
            1: (((low,), (1.0,)), ((high,), (1.0,))),
            2: (((low, high), (1.0, 1.0)), ((low, high), (0.5, 2.0)), ((high, low), (0.5, 2.0))),
            3: (((low, high, high), (1.0, 0.5, 2.0)),),
        }[users]
        for alphas, factors in devices:
            yield row(pair, server, alphas, factors, least)


OPTIONS: Options = {"devices": (3, "most devices, of 1, 2 and 3")}


def run(options: Namespace) -> None:
    for users in range(1, min(options.devices, 3) + 1):
        show(f"{users} device{'s' if users > 1 else ''}", cells(users))
