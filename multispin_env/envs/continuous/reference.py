"""The rules that actions and prices are measured by."""

from functools import lru_cache

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.controllers.continuous.factory import make_scheduler
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.types import Passage

REFERENCE = "groups"
"""Scheduler that `ResidualOrders` plays at zero, and whose rate is the price of a second unless it is chosen."""

WITH_REQUESTS = "greedy+deadlines"
"""The same where requests end."""

COPIES = 8
"""Copies that are played to measure it."""

WARM_UP, MEASURED = 1.0, 5.0
"""Seconds of each that do not count, and that do."""

SERVED_WARM_UP, SERVED = 5.0, 20.0
"""The same where requests end: they are long and few."""

SEED = 1_500_000_000
"""Of the first copy: no episode that is trained, tuned or measured on has it."""


@lru_cache(maxsize=256)
def reference_rate(system: ContinuousSystem) -> float:
    """Tokens a second of the reference rule in a system, with random numbers of its own: always the same number."""
    return _rate(system, REFERENCE, WARM_UP, MEASURED)


@lru_cache(maxsize=256)
def reference_tokens_in_time(system: ContinuousSystem) -> float:
    """Tokens a second, of requests in time, of the reference rule where requests end: always the same number."""
    return _rate(system, WITH_REQUESTS, SERVED_WARM_UP, SERVED)


def _rate(system: ContinuousSystem, name: str, warm_up: float, measured: float) -> float:
    core = ContinuousCore(system, COPIES, drawn=system.workload is not None)
    for copy in range(COPIES):
        core.seed(copy, np.random.default_rng(SEED + copy))
    core.reset()
    rule = make_scheduler(name, system.scenario)
    tokens, time = np.zeros(COPIES), np.zeros(COPIES)
    while (core.state.time < warm_up + measured).any():
        counted = (core.state.time >= warm_up) & (core.state.time < warm_up + measured)
        passage = core.step(rule(core.state))
        tokens += counted * _counting(passage).sum(-1)
        time += counted * passage.duration
    return float(tokens.sum() / time.sum())


def _counting(passage: Passage) -> FloatArray:
    """Tokens (n, K): all, and where requests end, those of requests in time."""
    served = passage.served
    return passage.tokens if served is None else np.asarray(served.output * served.in_time, dtype=np.float64)
