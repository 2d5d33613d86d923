"""Upper bound on the goodput of one round (not in the paper)."""

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.types import SystemState, checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.certify import certified_lengths
from multispin_env.solver.problem import checked_problem

_BOUND_TOLERANCE = 1e-6  # Relative gap at which `upper_bound` stops


def upper_bound(
    scenario: Scenario,
    state: SystemState,
    weights: FloatArray | None = None,
    fixed_length: IntArray | None = None,
    tpot: float | None = None,
) -> FloatArray:
    """Return an upper bound on the goodput of every decision, within a relative 1e-6 of the optimum.

    Branch and bound gives an upper bound (...) in tokens/s on the optimal value of the problem in
    `multispin_env.controllers.rounds.optimal.Optimal`; it is valid at any gap, and 0 where no decision meets the TPOT
    of every device. ``ValueError`` for a bad argument.

    Parameters
    ----------
    weights
        ω (..., K) ≥ 0; ``None`` means 1.
    fixed_length
        Fixed lengths, integers (..., K); −1 leaves a length free. ``None``: all are free.
    tpot
        Maximum time per output token of each device in seconds, > 0; ``None``: no limit.

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
