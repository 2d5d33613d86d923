"""P2P-SPIN and Cen-SPIN: other systems, not decisions; each gives a goodput ([MS] §VI)."""

from collections.abc import Callable

import numpy as np

import multispin_env.registry as tables
from multispin_env.arrays import FloatArray
from multispin_env.physics.rounds import goodput
from multispin_env.physics.types import SystemState
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.physics.validation import checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.gains import token_gains

System = Callable[[Scenario, SystemState], FloatArray]
"""Goodput (...) in tokens/s of another system, in states (..., K)."""

SYSTEMS: tables.Registry[System] = tables.SYSTEMS
"""What tables show beside the controllers."""


def p2p_goodput(scenario: Scenario, state: SystemState) -> FloatArray:
    """Goodput of P2P-SPIN: one device alone uses all of B, in a batch of one, with its best length ([MS] §VI).

    Parameters
    ----------
    scenario
        The system.
    state
        Arrays (..., K).

    Returns
    -------
    FloatArray
        Goodput in tokens/s (...), the mean over the devices.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0), size=5)
    >>> ms.p2p_goodput(scenario, state).shape
    (5,)
    """
    state = checked_state(scenario, state)
    token_latency = state.draft_time + full_share_token_time(scenario, state.spectral_efficiency)
    return _best_alone(scenario, state, token_latency)


def centralized_goodput(scenario: Scenario, state: SystemState) -> FloatArray:
    """Goodput of Cen-SPIN: the server drafts and verifies one prompt at a time ([MS] §VI).

    Its goodput is E[N] / (L T_srv + T_fix + T_lin) with the best L. Parameters and result are as for `p2p_goodput`;
    only the acceptance rates matter.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0), size=5)
    >>> ms.centralized_goodput(scenario, state).shape
    (5,)
    """
    state = checked_state(scenario, state)
    return _best_alone(scenario, state, np.full_like(state.draft_time, scenario.server_draft_time))


def _best_alone(scenario: Scenario, state: SystemState, token_latency: FloatArray) -> FloatArray:
    counts = np.arange(scenario.max_draft_length + 1)
    tokens = token_gains(state.acceptance_rate, counts).cumsum(-1)  # (..., K, L_max + 1)
    rest = scenario.pass_time(1, counts + 1) + scenario.round_trip_time
    value = goodput(tokens, token_latency[..., None] * counts, rest)
    best: FloatArray = value[..., scenario.min_draft_length :].max(-1).mean(-1)
    return best
