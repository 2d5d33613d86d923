"""Users of a server at a service level: rules without the barrier and rounds.

Each user sends a request every two minutes on average. 90 % of the requests must meet the limits of TTFT and TPOT.
Poisson requests have answers of 60 tokens in the mean; ``trace`` is an hour of recorded chat with its own lengths,
thinned to the users and stretched in time to their rate. Capacities in devices at 10 MHz, with 95 % intervals; a search
ends at 512 devices. The last column is the ratio of the last rule to the first, with its range from both intervals.
With a rate at which devices read prompts, they may send no draft, so that the server serves them meanwhile.
"""

import argparse
from collections.abc import Sequence
from itertools import product
from math import inf

import numpy as np

import multispin_env as ms
import multispin_lab
from benchmarks.tools import PAIRS, Options, Row, show
from multispin_env.evaluation.statistics import Interval
from multispin_lab.planning.capacity import MAX_USERS

LEVELS = ((0.5, 0.06), (1.0, 0.1), (2.0, 0.15))
"""Limits of TTFT in seconds and of TPOT in seconds a token."""

RULES = ("optimal", "groups+deadlines", "prices+deadlines", "greedy+deadlines", "load-aware")
EVERY, START = 120.0, 16


def users(rule: str, scenario: ms.Scenario, arrivals: str, level: ms.requests.ServiceLevel) -> Interval:
    """Return the largest number of users of a rule; its interval has no end if the search ended at its limit."""
    workload = ms.requests.Workload(
        arrivals=ms.requests.make_arrivals(arrivals),
        lengths=None if arrivals == "trace" else ms.requests.make_lengths("geometric", mean_output=60.0),
        rate=START / EVERY,
        level=level,
    )
    result = multispin_lab.capacity(scenario, workload=workload, controller=rule, by="users", percent=90.0, copies=8)
    return Interval(result.value, result.low, inf if result.value >= MAX_USERS else result.high)


def ratio(above: Interval, below: Interval) -> Interval:
    """Return a ratio, and its range from the ends of both intervals; NaN where neither serves anybody."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return Interval(*np.divide([above.mean, above.low, above.high], [below.mean, below.high, below.low]).tolist())


def text(interval: Interval, digits: int) -> str:
    if np.isnan(interval.mean):
        return "-"
    low, high = f"{interval.low:.{digits}f}", f"{interval.high:.{digits}f}"
    return f"{interval.mean:.{digits}f} ({low} {'or more' if interval.high == inf else f'to {high}'})"


def row(scenario: ms.Scenario, arrivals: str, ttft: float, tpot: float, rules: Sequence[str]) -> Row:
    served = {rule: users(rule, scenario, arrivals, ms.requests.ServiceLevel(ttft=ttft, tpot=tpot)) for rule in rules}
    return {
        "pair, requests, TTFT, TPOT": f"{scenario.name}, {arrivals}, {ttft:g} s, {1e3 * tpot:g} ms",
        **{rule: text(interval, 0) for rule, interval in served.items()},
        f"{rules[-1]} over {rules[0]}": text(ratio(served[rules[-1]], served[rules[0]]), 1),
    }


OPTIONS: Options = {
    "presets": PAIRS,
    "arrivals": ["poisson", "trace"],
    "rules": list(RULES),
    "reading": (0.0, "tokens/s that a device reads of a prompt, 0: reading takes no time"),
}


def run(options: argparse.Namespace) -> None:
    reading = {"prompt_rate": options.reading, "min_draft_length": 0} if options.reading else {}
    scenarios = [ms.Scenario.preset(preset, num_users=START, **reading) for preset in options.presets]
    show(
        "users of a server",
        (
            row(scenario, arrivals, *level, options.rules)
            for scenario, arrivals, level in product(scenarios, options.arrivals, LEVELS)
        ),
    )
