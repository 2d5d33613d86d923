"""Decisions with a proof of optimality (not in the paper)."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import ClassVar

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray
from multispin_env.physics.types import Decision
from multispin_env.solver.problem import Problem, in_chunks
from multispin_env.solver.relaxed import Relaxed
from multispin_env.solver.rule import first_lengths
from multispin_env.solver.search import Search, branch_and_bound


@dataclass(frozen=True, slots=True, eq=False)
class CertifiedDecision(Decision):
    """`Decision` with its value and a bound on the value of every decision.

    Parameters
    ----------
    draft_length
        Tokens L_k to draft, (..., K).
    bandwidth
        Uplink bandwidth B_k, Σ B_k ≤ B, (..., K) Hz.
    value
        Goodput Σ ω_k E[N_k] / T_e2e of this decision, less the price of its energy, if any, (...) tokens/s; 0 if it
        misses the TPOT of a device.
    bound
        Goodput that no decision exceeds, (...) tokens/s.
    tolerance
        Requested relative gap.
    feasible
        Whether every device gets its tokens at the requested TPOT, (...); if not, no decision does. None: no TPOT.
    """

    unbatched: ClassVar[tuple[str, ...]] = ("tolerance",)

    value: FloatArray
    bound: FloatArray
    tolerance: float
    feasible: BoolArray | None = None

    @property
    def gap(self) -> FloatArray:
        """Proven relative gap (bound − value) / value, (...); 0 where value and bound are 0."""
        positive = self.value > 0.0
        surplus = np.where(positive, self.bound - self.value, self.bound)
        return np.where(positive, surplus / np.where(positive, self.value, 1.0), np.where(surplus > 0.0, np.inf, 0.0))

    @property
    def certified(self) -> BoolArray:
        """Whether the proven gap is within the tolerance, (...)."""
        return self.gap <= self.tolerance


_Rule = Callable[[Problem], tuple[FloatArray, Relaxed]]  # returns integer lengths (n, K), and where to search


def certified_lengths(
    problem: Problem, tolerance: float, time_limit: float | None = None, rule: _Rule = first_lengths
) -> Search:
    """Run a rule, then branch and bound, in chunks; ``time_limit``: seconds for the whole batch."""
    deadline = np.inf if time_limit is None else monotonic() + time_limit

    def solve(part: Problem) -> Search:
        lengths, relaxed = rule(part)
        # a tolerance slightly below the requested one, so that rounding cannot lift the gap above it; presets need
        # about 15 rounds, extreme parameters up to about 60
        return branch_and_bound(part, lengths, relaxed, 0.999 * tolerance, 400, deadline)

    return Search(*in_chunks(solve, problem))
