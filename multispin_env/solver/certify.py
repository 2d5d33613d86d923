"""Decisions with a proof, and the bound alone (ours)."""

from dataclasses import dataclass
from time import monotonic
from typing import ClassVar

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.types import Decision, SystemState, checked_state
from multispin_env.scenario import Scenario
from multispin_env.solver.problem import Problem, checked_problem, in_chunks
from multispin_env.solver.rule import fast_lengths
from multispin_env.solver.search import Search, branch_and_bound

BOUND_TOLERANCE = 1e-6  # Relative distance to the optimum at which `upper_bound` stops refining


@dataclass(frozen=True, slots=True, eq=False)
class CertifiedDecision(Decision):
    """A decision, what it is worth, and what no decision exceeds.

    Parameters
    ----------
    draft_length
        Tokens L_k to draft, (..., K).
    bandwidth
        Uplink bandwidth B_k, Σ B_k ≤ B, (..., K) Hz.
    value
        Goodput Σ ω_k E[N_k] / T_e2e of this decision, (...) tokens/s; 0 if it is late for a device.
    bound
        Goodput that no decision exceeds, (...) tokens/s.
    tolerance
        Relative gap that was asked for.
    feasible
        Whether every device gets its tokens at the TPOT that was asked for, (...); where not, no decision gives them.
        None: no TPOT.
    """

    unbatched: ClassVar[tuple[str, ...]] = ("tolerance",)

    value: FloatArray
    bound: FloatArray
    tolerance: float
    feasible: BoolArray | None = None

    @property
    def gap(self) -> FloatArray:
        """Relative gap (bound − value) / value that was proven, (...); 0 where nothing can be won at all."""
        positive = self.value > 0.0
        surplus = np.where(positive, self.bound - self.value, self.bound)
        return np.where(positive, surplus / np.where(positive, self.value, 1.0), np.where(surplus > 0.0, np.inf, 0.0))

    @property
    def certified(self) -> BoolArray:
        """Whether the proof reached the tolerance, (...)."""
        return self.gap <= self.tolerance


def certified_lengths(problem: Problem, tolerance: float, time_limit: float | None = None) -> Search:
    """The fast rule, then branch and bound, in pieces; ``time_limit``: seconds for the whole batch."""
    deadline = np.inf if time_limit is None else monotonic() + time_limit

    def solve(part: Problem) -> Search:
        part = part.tabulated()
        lengths, relaxed = fast_lengths(part)
        # a little below the tolerance, so that rounding can't lift the gap above it; presets need about 15 rounds, very
        # wide parameters up to about 60
        return branch_and_bound(part, lengths, relaxed, 0.999 * tolerance, 400, deadline)

    return Search(*in_chunks(solve, problem))


def upper_bound(
    scenario: Scenario,
    state: SystemState,
    weights: FloatArray | None = None,
    fixed_length: IntArray | None = None,
    tpot: float | None = None,
) -> FloatArray:
    """Goodput that no decision exceeds, refined to within `BOUND_TOLERANCE` of the optimum.

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
    return certified_lengths(problem, BOUND_TOLERANCE).bound.reshape(state.draft_time.shape[:-1])
