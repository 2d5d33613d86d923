"""Rounds with drafting ahead: prices of time and of the head starts left by a round (not in the paper)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.checks import check_real, checked_field
from multispin_env.controllers.base import Option, WeightedController, check_option, per_state
from multispin_env.physics.continuous.averages import long_run_averages
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.rounds import sample_state
from multispin_env.physics.types import Decision, SystemState, checked_weights
from multispin_env.scenario import Scenario
from multispin_env.solver.ahead import AheadRound, best_lengths
from multispin_env.solver.problem import make_problem

PRICE_FACTORS = (1.0, 1.25, 1.5, 2.0, 3.0)
"""Candidates for ρ, in units of the goodput of the best common length without head starts."""

_NUM_SYSTEMS, _ROUNDS, _WARM_UP = 6, 60, 15  # systems, measured rounds and warm-up rounds in the simulation of a factor


def max_rounds(users: int) -> int:
    """Return the maximum number of simulated rounds, lower for more devices, whose rounds take longer to compute."""
    return min(max(1000 // users, 32), 100)


@dataclass(frozen=True, eq=False)
class AheadPrice(WeightedController):
    """Draft lengths that maximise the tokens of a round, minus the cost of its time, plus the value of head starts.

    The controller maximises

        F(L) = Σ_k ω_k E[N_k | L_k] − ρ τ + β ρ / K Σ_k T_k h_k(L_k) A'_k,    τ = φ(L) + T_ver(L) + T_rtt

    over integers L_k in L_min..L_max, with the bandwidth of equal latency. φ is the time until all drafts have arrived,
    h_k the probability that device k keeps its chain, and A'_k the number of tokens that are then left of it
    (`multispin_env.physics.chains`). Without drafting ahead, the lengths maximise goodput.

    A long draft is rarely a hit, so a low ρ leads to a low rate. The best ρ exceeds the resulting rate, and with it
    β = 0 is as good as any other value (docs/evidence/drafting-ahead.md).

    Parameters
    ----------
    weights
        ω (..., K) ≥ 0, broadcast to the state; ``None`` means 1.
    rho
        Price ρ > 0 of a second, in tokens, one number or one for each state. ``None``: the goodput of the best common
        length in the state without head starts, times the best of `PRICE_FACTORS`, which a short simulation of random
        devices selects once for each scenario.
    chain_weight
        Value β ≥ 0 of a token of a head start, relative to its drafting time. From about 0.5 on, devices may save up
        chains instead of sending them.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3, draft_ahead=True, min_draft_length=0)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0)).changed(head_start=np.array([0.0, 2.5, 7.0]))
    >>> decision = ms.make_controller("ahead-price", scenario, rho=80.0)(state)
    >>> bool(np.isclose(decision.bandwidth.sum(), scenario.total_bandwidth))
    True
    """

    requires: ClassVar[Mapping[str, Any]] = {"draft_ahead": True}

    rho: Option | None = checked_field(None, check_option, 0.0, open_low=True)
    chain_weight: float = checked_field(0.0, check_real, 0.0)

    @override
    def decide(self, state: SystemState) -> Decision:
        shape = state.draft_time.shape
        scenario, problem = self.scenario, make_problem(self.scenario, state, checked_weights(self.weights, shape))
        chain, without = state.head_start.reshape(problem.low.shape), np.zeros(problem.low.shape)
        if not scenario.draft_ahead:
            rounds = AheadRound.by_goodput(problem, scenario, chain)
        else:
            if self.rho is None:
                best = best_price_factor(scenario, self.chain_weight)
                rho = best * AheadRound.by_goodput(problem, scenario, without).rho
            else:
                rho = per_state("rho", self.rho, len(problem))
            rounds = AheadRound(scenario, problem, chain, rho, self.chain_weight)
        return self.with_equal_latency(best_lengths(rounds).reshape(shape), state)


@lru_cache(maxsize=64)
def best_price_factor(scenario: Scenario, chain_weight: float) -> float:
    """Return the element of `PRICE_FACTORS` with the highest rate in a short simulation of random devices."""
    state = sample_state(scenario, np.random.default_rng(0), _NUM_SYSTEMS)
    problem = make_problem(scenario, state)
    without = AheadRound.by_goodput(problem, scenario, np.zeros(problem.low.shape)).rho
    cycle = scenario.num_users / float(without.mean())  # s, duration of a round with one token for each device
    system = ContinuousSystem.of(scenario.replace(channel="static"), AheadPrice.discipline)
    rounds = max_rounds(scenario.num_users)

    def mean_rate(factor: float) -> float:
        decide = AheadPrice(scenario, rho=factor * without, chain_weight=chain_weight).decide_continuous
        rate = long_run_averages(decide, system, state, _WARM_UP * cycle, _ROUNDS * cycle, rounds).rate
        return float((rate / without).mean())

    return max(PRICE_FACTORS, key=mean_rate)
