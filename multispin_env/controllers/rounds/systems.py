"""P2P-SPIN and Cen-SPIN: other systems, not decisions; each gives a goodput ([MS] §VI)."""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.physics.rounds import goodput
from multispin_env.physics.types import SystemState
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.physics.validation import checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.gains import token_gains


def p2p_goodput(scenario: Scenario, state: SystemState) -> FloatArray:
    """P2P-SPIN: one device alone with all of B, a batch of one, its best length ([MS] §VI).

    Parameters
    ----------
    scenario
        The system.
    state
        Arrays (..., K).

    Returns
    -------
    FloatArray
        Goodput in tokens/s (...), the mean over which device it is.
    """
    state = checked_state(scenario, state)
    token_latency = state.draft_time + full_share_token_time(scenario, state.spectral_efficiency)
    return _best_alone(scenario, state, token_latency)


def centralized_goodput(scenario: Scenario, state: SystemState) -> FloatArray:
    """Cen-SPIN: the server drafts and verifies one prompt at a time, E[N] / (L T_srv + T_fix + T_lin) ([MS] §VI).

    Parameters and result as for `p2p_goodput`; only the acceptance rates matter.
    """
    state = checked_state(scenario, state)
    return _best_alone(scenario, state, np.full_like(state.draft_time, scenario.server_draft_time))


def _best_alone(scenario: Scenario, state: SystemState, token_latency: FloatArray) -> FloatArray:
    counts = np.arange(scenario.max_draft_length + 1)
    tokens = token_gains(state.acceptance_rate, counts).cumsum(-1)  # (..., K, L_max + 1)
    value = goodput(tokens, token_latency[..., None] * counts, scenario.single_verification_time)
    best: FloatArray = value[..., scenario.min_draft_length :].max(-1).mean(-1)
    return best
