"""Price of a second: a quick estimate of the rate that a rule can reach (ours)."""

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.continuous.launch import ordered_sum
from multispin_env.controllers.options import per_copy
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import TokenLaw
from multispin_env.scenario import Scenario


def fluid_rate(scenario: Scenario, state: ContinuousState, groups: IntArray | int) -> FloatArray:
    """Tokens/s (n,) that groups of equal size, one number of them or (n, 1), would get without rounding or waiting.

    Lengths are real numbers, and no device waits long.

    Every device with a request drafts and sends for a time φ, the server serves the groups in turn, and the uplink is
    shared: Σ_k E[N_k] / max(φ + V, G V, Σ_k w_k), at the best φ of a grid.
    """
    busy = state.busy[:, None]
    size = np.maximum(busy.sum(-1) / groups, 1.0)
    token_air = full_share_token_time(scenario, state.spectral_efficiency)
    window = 1.3 ** np.arange(-8, 9) * np.asarray(scenario.pass_time(size, size)) + scenario.round_trip_time
    pace = (state.draft_time + token_air)[:, None]
    length = np.minimum((window - scenario.round_trip_time)[..., None] / pace, scenario.max_draft_length)
    tokens = ordered_sum(TokenLaw.of(state.acceptance_rate[:, None]).expected(length) * busy)
    air = ordered_sum(length * token_air[:, None] * busy)
    total = ordered_sum(length * busy)
    server = np.asarray(scenario.pass_time(size, size + total / groups))
    rates: FloatArray = tokens / np.maximum(np.maximum(window + server, groups * server), air)
    best: FloatArray = rates.max(-1)
    return best


def price_of_delay(
    scenario: Scenario, state: ContinuousState, rho: FloatArray | float | None, groups: IntArray | int
) -> FloatArray:
    """ρ (n,) tokens/s of states (n, K): what was given, or `fluid_rate`."""
    if rho is None:
        return fluid_rate(scenario, state, groups)
    return per_copy("rho", rho, len(state.batch))
