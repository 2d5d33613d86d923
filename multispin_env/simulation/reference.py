"""Rates of reference controllers from short simulations, used as prices of time and as full loads."""

from functools import lru_cache

import numpy as np

from multispin_env.controllers.names import make_controller
from multispin_env.physics.continuous.averages import PASSES, measurement_size, play
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.simulation.long_run import simulate_service

REFERENCE = "groups"  # Controller that action zero of ``"residual"`` follows; its rate is the default price of a second
WITH_REQUESTS = "greedy+deadlines"  # Reference controller if requests end

COPIES, WARM_UP, MEASURED = 8, 1.0, 5.0  # Copies of the system, seconds of warm-up and of measurement
SERVED_COPIES, SERVED_WARM_UP, SERVED = 32, 5.0, 20.0  # The same if requests end; a request takes long
SEED = 1_500_000_000  # Seed of the first copy; training, tuning and evaluation do not use it


@lru_cache(maxsize=256)
def reference_rate(system: ContinuousSystem, name: str = REFERENCE, max_passes: int = PASSES) -> float:
    """Return the tokens/s of a controller in a system, from a simulation with fixed seeds."""
    copies, passes = measurement_size(system.scenario, COPIES)
    passes = min(passes, max_passes)
    core = ContinuousCore(system, copies, drawn=False)
    for copy in range(copies):
        core.seed(copy, np.random.default_rng(SEED + copy))
    core.reset()
    rule = make_controller(name, system.scenario)
    tokens, time, running = np.zeros(copies), np.zeros(copies), np.ones(copies, dtype=np.bool_)
    for begun, outcome in play(core, rule.decide_continuous, passes):
        counted = (begun >= WARM_UP) & running
        tokens += counted * outcome.tokens.sum(-1)
        time += counted * outcome.duration
        running = (core.state.time < WARM_UP + MEASURED) | (time == 0.0)  # at least one step, however long
        if not running.any():
            break
    return float(tokens.sum() / time.sum())


@lru_cache(maxsize=256)
def reference_tokens_in_time(system: ContinuousSystem) -> float:
    """Return the tokens/s of requests in time under `WITH_REQUESTS` in a system, from a simulation with fixed seeds."""
    rule = make_controller(WITH_REQUESTS, system.scenario)
    copies, passes = measurement_size(system.scenario, SERVED_COPIES)
    run = simulate_service(system, rule, copies, SERVED_WARM_UP, SERVED, SEED, passes=passes)
    if run.time.max() < 0.5 * SERVED:  # few long requests end within so few passes
        in_time, missed = int(run.in_time.sum()), int(run.missed.sum())
        return float(run.tokens.sum() / run.time.sum()) * (1.0 - missed / max(missed + in_time, 1))
    return float(run.timely_tokens.sum() / run.time.sum())
