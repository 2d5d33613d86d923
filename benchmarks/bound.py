"""The bound without the barrier, its prices and its speed: ``python -m benchmarks.bound --tight 2``.

For the sixteen systems of `benchmarks.continuous_systems`, on held-out instances with static channels: the mean bound
on tokens/s, also over the goodput of the best rounds with the barrier; what a second of the server, the uplink and the
devices is worth, as shares of the bound; and seconds an instance. ``--fading 2`` and ``--tight 2`` add the bound with
fading and the tight bound of two instances each, which takes minutes for 20 devices. Writes all as JSON.
"""

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.continuous_systems import System, chosen
from benchmarks.evidence import parser_of, report, write
from multispin_env.evaluation.seeds import HELD_OUT_SEED

INSTANCES = 12


def bounds(system: System, instances: int, faded: int) -> dict[str, Any]:
    """Bounds of a system, and what its time is worth."""
    scenario, state = system.scenario, system.states(HELD_OUT_SEED, instances)
    start = perf_counter()
    prices = ms.rate_prices(scenario, state)
    seconds = (perf_counter() - start) / instances
    rounds = ms.expected_outcome(scenario, state, ms.make_controller("optimal", scenario)(state)).goodput
    total = float(prices.bound.sum())
    row = {
        "system": system.name,
        "bound": float(prices.bound.mean()),
        "± s.e.": float(prices.bound.std(ddof=1) / np.sqrt(instances)),
        "over barrier": float((prices.bound / rounds).mean()),
        "server": float(prices.server.sum()) / total,
        "uplink": float(prices.uplink.sum()) / total,
        "devices": float(prices.device.sum()) / total,
        "seconds": seconds,
    }
    if faded:
        start = perf_counter()
        gain = system.mean_gains(HELD_OUT_SEED, instances)[:faded]
        fading = ms.rate_bound(scenario, state[:faded], channel="independent", mean_gain=gain)
        row["fading over static"] = float((fading / prices.bound[:faded]).mean())
        row["seconds, fading"] = (perf_counter() - start) / faded
    return row


def tight(system: System, instances: int) -> dict[str, Any]:
    """How much the tight bound takes off, and how long it takes."""
    scenario, state = system.scenario, system.states(HELD_OUT_SEED, INSTANCES)[:instances]
    plain = ms.rate_bound(scenario, state)
    start = perf_counter()
    tightened = ms.rate_bound(scenario, state, tight=True)
    seconds = (perf_counter() - start) / instances
    return {"system": system.name, "tight over plain": float((tightened / plain).mean()), "seconds": seconds}


def rows(systems: list[System], faded: int, tightened: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table, line by line."""
    for system in systems:
        yield "bound", report(bounds(system, INSTANCES, faded))
    for system in systems if tightened else ():
        yield "tight", report(tight(system, tightened))


def main() -> None:
    """Print the tables and write them."""
    counts = {
        "fading": (0, "instances of each system with fading (default none)"),
        "tight": (0, "instances of each system with the tight bound (default none)"),
    }
    parser = parser_of(__doc__, counts)
    parser.add_argument("--systems", default="", metavar="WORDS", help='as "llama2 K8" (default: all)')
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name, row in rows(chosen(options.systems), options.fading, options.tight):
        results.setdefault(name, []).append(row)
    write(results, options.out, "bound")


if __name__ == "__main__":
    main()
