"""Rounds in which devices draft ahead, with a price of the head start that a round leaves (ours)."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from multispin_env.controllers.base import Option, WeightedController, check_option, per_copy
from multispin_env.checks import check_real
from multispin_env.physics.types import Decision, SystemState
from multispin_env.solver.ahead import AheadRound, best_lengths
from multispin_env.solver.problem import checked_problem


@dataclass(frozen=True, eq=False)
class AheadPrice(WeightedController):
    """x"""

    rho: Option | None = None
    chain_weight: float = 0.5

    @override
    def decide(self, state: SystemState) -> Decision:
        shape = state.draft_time.shape
        problem = checked_problem(self.scenario, state.changed(head_start=None), self.weights)
        chain = np.zeros(problem.low.shape) if state.head_start is None else state.head_start.reshape(problem.low.shape)
        rho = per_copy("rho", self.rho, len(problem))
        lengths = best_lengths(AheadRound.priced(problem, self.scenario, chain, rho, self.chain_weight))
        return self.with_equal_latency(lengths.reshape(shape), state)
