"""What the price of a second is measured with."""

from functools import lru_cache

import numpy as np

from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.types import ContinuousState, Join, Order, Phase
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.scenario import Scenario

COPIES = 16
"""Copies that are played."""

WARM_UP, MEASURED = 2.0, 10.0
"""Seconds of each that do not count, and that do."""

SEED = 1_500_000_000
"""Of the first of them: no episode that is trained, tuned or measured on has it."""

LENGTH = 8
"""Tokens that all devices draft in the stand-in for the scheduler `groups`."""


def reference_order(scenario: Scenario, state: ContinuousState) -> Order:
    """Stand-in for the scheduler `groups`: a common length, the shortest upload first, batches of what is there."""
    length = min(max(LENGTH, scenario.min_draft_length), scenario.max_draft_length)
    free_air = length * full_share_token_time(scenario, state.spectral_efficiency)
    return Order(
        np.full(state.phase.shape, length),
        np.full(state.phase.shape, Join.TAKE),
        priority=np.where(state.phase == Phase.FREE, free_air, state.air_left),
    )


@lru_cache(maxsize=256)
def reference_rate(system: ContinuousSystem) -> float:
    """Tokens a second of `reference_order` in a system, with random numbers of its own: always the same number."""
    core = ContinuousCore(system, COPIES, drawn=False)
    for copy in range(COPIES):
        core.seed(copy, np.random.default_rng(SEED + copy))
    core.reset()
    tokens, time = np.zeros(COPIES), np.zeros(COPIES)
    while (core.state.time < WARM_UP + MEASURED).any():
        counted = (core.state.time >= WARM_UP) & (core.state.time < WARM_UP + MEASURED)
        passage = core.step(reference_order(system.scenario, core.state))
        tokens += counted * passage.tokens.sum(-1)
        time += counted * passage.duration
    return float(tokens.sum() / time.sum())
