"""Bound of the goodput of one round (ours)."""

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.types import SystemState, checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import certified_lengths
from multispin_env.solver.problem import checked_problem

_BOUND_TOLERANCE = 1e-6  # Relative distance to the optimum at which `upper_bound` stops refining


def upper_bound(
    scenario: Scenario,
    state: SystemState,
    weights: FloatArray | None = None,
    fixed_length: IntArray | None = None,
    tpot: float | None = None,
) -> FloatArray:
    """Goodput that no decision exceeds, refined to within 1e-6 of the optimum.

    It bounds the best value of this problem from above, by branch and bound:

        maximise    G = Σ_k ω_k E[N_k | L_k] / (T_ma + T_ver(L) + T_rtt)
        over        integers L_k in L_min..L_max and bandwidths B_k ≥ 0 with Σ_k B_k ≤ B,
        where       T_ma = max_k L_k (T_k + Q / (B_k r_k)) and E[N | L] = (1 − α^{L+1}) / (1 − α)

    With ``fixed_length`` the given L_k are not chosen. With ``tpot`` also T_e2e ≤ TPOT E[N_k | L_k] for each k.

    Parameters
    ----------
    scenario
        The system.
    state
        Arrays (..., K).
    weights
        ω (..., K) ≥ 0; ``None`` means 1.
    fixed_length
        Given lengths, integers (..., K); −1 leaves a length free. ``None``: all are free.
    tpot
        Most seconds that a device may wait for each of its tokens; ``None``: any.

    Returns
    -------
    FloatArray
        Bound (...) in tokens/s. It is valid at every precision. 0 where no decision gives every device its tokens at
        the TPOT.

    Raises
    ------
    ValueError
        For a bad state, weights or lengths, or a bad TPOT.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0))
    >>> decision = ms.make_controller("optimal", scenario)(state)
    >>> goodput = ms.expected_outcome(scenario, state, decision).goodput
    >>> bool(goodput <= ms.upper_bound(scenario, state) <= 1.00001 * goodput)
    True
    """
    state = checked_state(scenario, state)
    problem = checked_problem(scenario, state, weights, fixed_length, tpot)
    return certified_lengths(problem, _BOUND_TOLERANCE).bound.reshape(state.draft_time.shape[:-1])
