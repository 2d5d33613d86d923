"""Users of a server at a service level: rules without the barrier and rounds.

Each user sends a request every two minutes on average. 90 % of the requests must meet the limits of TTFT and TPOT.
Poisson requests have answers of 60 tokens in the mean; ``trace`` is an hour of recorded chat with its own lengths,
thinned to the users and stretched in time to their rate. Capacities in devices at 10 MHz, with 95 % intervals; a search
ends at 512 devices.
"""

import argparse
from itertools import product

import multispin_env as ms
import multispin_lab
from benchmarks.tools import PAIRS, Options, show
from multispin_lab.planning.capacity import MAX_USERS

LEVELS = ((0.5, 0.06), (1.0, 0.1), (2.0, 0.15))
"""Limits of TTFT in seconds and of TPOT in seconds a token."""

RULES = ("optimal", "groups+deadlines", "prices+deadlines", "greedy+deadlines", "load-aware")
EVERY, START = 120.0, 16


def users(rule: str, preset: str, arrivals: str, level: ms.requests.ServiceLevel) -> str:
    """Return the largest number of users of a rule, with its interval."""
    workload = ms.requests.Workload(
        arrivals=ms.requests.make_arrivals(arrivals),
        lengths=None if arrivals == "trace" else ms.requests.make_lengths("geometric", mean_output=60.0),
        rate=START / EVERY,
        level=level,
    )
    scenario = ms.Scenario.preset(preset, num_users=START)
    result = multispin_lab.capacity(scenario, workload=workload, controller=rule, by="users", percent=90.0, copies=8)
    return f"{result.value:.0f}" + (
        " or more" if result.value >= MAX_USERS else f" ({result.low:.0f} to {result.high:.0f})"
    )


OPTIONS: Options = {"presets": PAIRS, "arrivals": ["poisson", "trace"], "rules": list(RULES)}


def run(options: argparse.Namespace) -> None:
    show(
        "users of a server",
        (
            {"pair, requests, TTFT, TPOT": f"{preset}, {arrivals}, {ttft:g} s, {1e3 * tpot:g} ms"}
            | {
                rule: users(rule, preset, arrivals, ms.requests.ServiceLevel(ttft=ttft, tpot=tpot))
                for rule in options.rules
            }
            for preset, arrivals, (ttft, tpot) in product(options.presets, options.arrivals, LEVELS)
        ),
    )
