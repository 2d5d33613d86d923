"""The rules that actions and prices are measured by."""

from functools import lru_cache

import numpy as np

from multispin_env.controllers.continuous.rates import serve_in
from multispin_env.controllers.factory import make_controller
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem

REFERENCE = "groups"
"""Controller that ``"residual"`` plays at zero, and whose rate is the price of a second unless it is chosen."""

WITH_REQUESTS = "greedy+deadlines"
"""The same where requests end."""

COPIES, SERVED_COPIES = 8, 32
"""Copies that are played to measure it; the second where requests end, which are long and few."""

WARM_UP, MEASURED = 1.0, 5.0
"""Seconds of each that do not count, and that do."""

SERVED_WARM_UP, SERVED = 5.0, 20.0
"""The same where requests end."""

SEED = 1_500_000_000
"""Of the first copy: no episode that is trained, tuned or measured on has it."""


@lru_cache(maxsize=256)
def reference_rate(system: ContinuousSystem) -> float:
    """Tokens a second of the reference rule in a system, with random numbers of its own: always the same number."""
    core = ContinuousCore(system, COPIES, drawn=False)
    for copy in range(COPIES):
        core.seed(copy, np.random.default_rng(SEED + copy))
    core.reset()
    rule = make_controller(REFERENCE, system.scenario)
    tokens, time = np.zeros(COPIES), np.zeros(COPIES)
    while (open_ := (core.state.time < WARM_UP + MEASURED) | (time == 0.0)).any():  # one step may take longer
        counted = (core.state.time >= WARM_UP) & open_
        outcome = core.step(rule(core.state))
        tokens += counted * outcome.tokens.sum(-1)
        time += counted * outcome.duration
    return float(tokens.sum() / time.sum())


@lru_cache(maxsize=256)
def reference_tokens_in_time(system: ContinuousSystem) -> float:
    """Tokens a second, of requests in time, of the reference rule where requests end: always the same number."""
    rule = make_controller(WITH_REQUESTS, system.scenario)
    run = serve_in(system, rule, SERVED_COPIES, SERVED_WARM_UP, SERVED, SEED)
    return float(run.timely_tokens.sum() / run.time.sum())
