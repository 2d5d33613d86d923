"""Rates of reference rules, measured by short simulations: prices of a second, and full loads."""

from functools import lru_cache

import numpy as np

from multispin_env.controllers.names import make_controller
from multispin_env.physics.continuous.averages import PASSES, measurement_size
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.simulation.long_run import simulate_service

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
def reference_rate(system: ContinuousSystem, name: str = REFERENCE, most: int = PASSES) -> float:
    """Tokens a second of a rule in a system, with random numbers of its own and ``most`` passes: always the same."""
    copies, passes = measurement_size(system.scenario, COPIES)
    passes = min(passes, most)
    core = ContinuousCore(system, copies, drawn=False)
    for copy in range(copies):
        core.seed(copy, np.random.default_rng(SEED + copy))
    core.reset()
    rule = make_controller(name, system.scenario)
    tokens, time = np.zeros(copies), np.zeros(copies)
    for step in range(passes):
        open_ = (core.state.time < WARM_UP + MEASURED) | (time == 0.0)  # one step may take longer
        if not open_.any():
            break
        counted = ((core.state.time >= WARM_UP) | (step >= passes / 4)) & open_
        outcome = core.step(rule(core.state))
        tokens += counted * outcome.tokens.sum(-1)
        time += counted * outcome.duration
    return float(tokens.sum() / time.sum())


@lru_cache(maxsize=256)
def reference_tokens_in_time(system: ContinuousSystem) -> float:
    """Tokens a second, of requests in time, of the reference rule where requests end: always the same number."""
    rule = make_controller(WITH_REQUESTS, system.scenario)
    copies, passes = measurement_size(system.scenario, SERVED_COPIES)
    run = simulate_service(system, rule, copies, SERVED_WARM_UP, SERVED, SEED, passes=passes)
    if run.time.max() < 0.5 * SERVED:  # too short for long requests to end
        in_time, missed = int(run.in_time.sum()), int(run.missed.sum())
        return float(run.tokens.sum() / run.time.sum()) * (1.0 - missed / max(missed + in_time, 1))
    return float(run.timely_tokens.sum() / run.time.sum())
