"""Bound without the barrier, its prices and its speed.

For the sixteen systems of `benchmarks.continuous_systems`, on held-out instances with static channels: the mean bound
on tokens/s, also over the goodput of the best rounds with the barrier; values of a second of the server, the uplink and
the devices as shares of the bound; and seconds an instance. ``--fading 2`` and ``--tight 2`` add the bound with fading
and the tight bound of two instances each, which takes minutes for 20 devices.
"""

from argparse import Namespace
from time import perf_counter
from typing import Any

import numpy as np

import multispin_env as ms
from benchmarks.continuous_systems import System, chosen
from benchmarks.tools import Options, Row, show
from multispin_env.evaluation.statistics import HELD_OUT_SEED

INSTANCES = 12


def bounds(system: System, faded: int) -> Row:
    """Return bounds of a system and prices of its time."""
    scenario, state = system.scenario, system.states(HELD_OUT_SEED, INSTANCES)
    start = perf_counter()
    prices = ms.rate_bound(scenario, state)
    seconds = (perf_counter() - start) / INSTANCES
    rounds = ms.expected_outcome(scenario, state, ms.make_controller("optimal", scenario)(state)).goodput
    total = float(prices.value.sum())
    row: dict[str, Any] = {
        "system": system.name,
        "bound": float(prices.value.mean()),
        "± s.e.": float(prices.value.std(ddof=1) / np.sqrt(INSTANCES)),
        "over barrier": float((prices.value / rounds).mean()),
        "server": float(prices.server.sum()) / total,
        "uplink": float(prices.uplink.sum()) / total,
        "devices": float(prices.device.sum()) / total,
        "seconds": seconds,
    }
    if faded:
        start = perf_counter()
        gain = system.mean_gains(HELD_OUT_SEED, INSTANCES)[:faded]
        fading = ms.rate_bound(scenario, state[:faded], channel="independent", mean_gain=gain).value
        row["fading over static"] = float((fading / prices.value[:faded]).mean())
        row["seconds, fading"] = (perf_counter() - start) / faded
    return row


def tight(system: System, instances: int) -> Row:
    """Return by how much the tight bound is lower, and its time."""
    scenario, state = system.scenario, system.states(HELD_OUT_SEED, INSTANCES)[:instances]
    plain = ms.rate_bound(scenario, state).value
    start = perf_counter()
    tightened = ms.rate_bound(scenario, state, tight=True).value
    seconds = (perf_counter() - start) / instances
    return {"system": system.name, "tight over plain": float((tightened / plain).mean()), "seconds": seconds}


OPTIONS: Options = {
    "fading": (0, "instances of each system with fading"),
    "tight": (0, "instances of each system with the tight bound"),
    "systems": "",
}


def run(options: Namespace) -> None:
    systems = chosen(options.systems)
    show("bounds", (bounds(system, options.fading) for system in systems))
    if options.tight:
        show("tight bounds", (tight(system, options.tight) for system in systems))
