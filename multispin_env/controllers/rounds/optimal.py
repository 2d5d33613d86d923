"""Best decision of a round, with a proof, and two baselines: fixed and random decisions."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from typing_extensions import override

from multispin_env.arrays import IntArray
from multispin_env.checks import check_integer, check_real, check_rng, checked_field
from multispin_env.controllers.base import RoundsController, WeightedController, max_length, min_length
from multispin_env.controllers.names import make_controller
from multispin_env.pairs import check_pairs
from multispin_env.physics.energy import token_energy
from multispin_env.physics.links import RateCurves
from multispin_env.physics.posterior import Posterior
from multispin_env.physics.types import Decision, SystemState, checked_state, checked_weights
from multispin_env.scenario import Scenario
from multispin_env.solver.ahead import AheadRound, best_lengths
from multispin_env.solver.certify import CertifiedDecision, certified_lengths, usual_tolerance
from multispin_env.solver.equalization import MAX_TIME, MIN_TIME
from multispin_env.solver.pace import is_in_time, least_tpot
from multispin_env.solver.problem import Problem, checked_problem, make_problem
from multispin_env.solver.samples import sample_decisions


@dataclass(frozen=True, eq=False)
class Optimal(WeightedController):
    """Draft lengths and bandwidths with the highest weighted goodput.

    The controller solves

        maximise    G = Σ_k ω_k E[N_k | L_k] / (T_ma + T_ver(L) + T_rtt)
        over        integers L_k in L_min..L_max and bandwidths B_k ≥ 0 with Σ_k B_k ≤ B,
        where       T_ma = max_k L_k (T_k + Q / (B_k r_k)) and E[N | L] = (1 − α^{L+1}) / (1 − α)

    With drafting ahead it maximises the same G, with (L_k − A_k)^+ T_k instead of L_k T_k, by a search without a proof
    (`multispin_env.solver.ahead`). The decision is myopic: it ignores the head starts that the round leaves;
    docs/drafting-ahead.md shows the loss. ``certify``, ``tpot`` and ``fixed_length`` require zero head starts.

    Branch and bound (`multispin_env.solver.exact`) continues until no decision can be better by more than the relative
    gap ``certify``, and the result is a `CertifiedDecision` with the proven gap. With head starts, and for expectations
    over channels, it is a `Decision` without a proof. The first call compiles the search, once in an installation.

    ``tpot`` adds the constraints T_ma + T_ver(L) + T_rtt ≤ TPOT E[N_k | L_k] for each k. ``ValueError`` if they are
    infeasible; with ``certify`` the decision is then not ``feasible``, has value and bound 0, and minimises the largest
    time per token over devices.

    Parameters
    ----------
    weights
        ω (..., K) ≥ 0, broadcast to the state; ``None`` means 1.
    fixed_length
        Fixed lengths, integers (..., K); −1 leaves a length free. ``None``: all are free.
    certify
        Relative gap to prove, in [1e-10, 1); ``None`` for 1e-9 with up to 50 users, and 1e-4 above.
    time_limit
        Seconds after which a certified call stops; ``None``: only the number of iterations is limited, and the result
        does not depend on the speed of the machine.
    tpot
        Maximum time per output token of each device in s, in (0, 20]; ``None``: no limit.
    energy_price
        ν in tokens per joule, ≥ 0: the objective is then (Σ_k ω_k E[N_k] − ν Σ_k e_k L_k) / T_e2e, with the energy
        e_k of a drafted token. It is not combined with ``tpot`` and ``fixed_length``. Where no draft pays,
        ``ValueError`` with ``certify``, and otherwise an infinite gap.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0))
    >>> decision = ms.make_controller("optimal", scenario, certify=1e-6)(state)
    >>> bool(decision.certified), bool(np.isclose(decision.bandwidth.sum(), scenario.total_bandwidth))
    (True, True)
    >>> decision = ms.make_controller("optimal", scenario, tpot=0.15)(state)
    >>> outcome = ms.expected_outcome(scenario, state, decision)
    >>> bool((outcome.round_latency <= 0.15 * outcome.tokens * (1.0 + 1e-9)).all())
    True
    """

    fixed_length: IntArray | None = None
    certify: float | None = checked_field(None, check_real, 1e-10, 1.0, open_high=True)
    time_limit: float | None = checked_field(None, check_real, 0.0)
    tpot: float | None = checked_field(None, check_real, 0.0, open_low=True)
    energy_price: float = checked_field(0.0, check_real, 0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        options = {"tpot": self.tpot, "fixed_length": self.fixed_length is not None}
        check_pairs("energy_price", vars(self.scenario), energy_price=self.energy_price, **options)

    @override
    def decide(self, state: SystemState) -> Decision:
        shape = state.draft_time.shape
        free = all(option is None for option in (self.certify, self.tpot, self.fixed_length))
        if free and self.scenario.draft_ahead:
            problem = self._priced(make_problem(self.scenario, state, checked_weights(self.weights, shape)), state)
            rounds = AheadRound.by_goodput(problem, self.scenario, state.head_start.reshape(problem.low.shape))
            return self.with_equal_latency(best_lengths(rounds).reshape(shape), state)
        return self._solve(checked_problem(self.scenario, state, self.weights, self.fixed_length, self.tpot), state)

    def decide_expected(self, state: SystemState, posterior: Posterior) -> Decision:
        """Decide for the largest expected goodput of the next round, given what is hidden in a state (n, K).

        Only decisions for hidden acceptance rates can be certified; for channels lengths are searched without a proof.
        """
        options: dict[str, Any] = {"tpot": self.tpot, "energy_price": self.energy_price or None}
        if posterior.tokens is None:
            options |= {"certify": self.certify, "fixed_length": self.fixed_length}
        for name, value in options.items():
            if value is not None:
                raise ValueError(f"{name}: expected no value with the estimator 'expected', got {value}")
        if posterior.efficiency is None:
            state = checked_state(self.scenario, state)
            problem = checked_problem(self.scenario, state, self.weights, self.fixed_length)
            return self._solve(replace(problem, token_table=posterior.tokens), state)
        low = np.quantile(posterior.efficiency, 1.0 / (self.scenario.num_users + 1.0), axis=1)
        state = checked_state(self.scenario, state.changed(spectral_efficiency=low))
        token_time = np.clip(self.scenario.uplink.token_time(posterior.efficiency), MIN_TIME, MAX_TIME)
        curves = RateCurves.of(self.scenario, posterior.efficiency)
        lengths, share, _ = sample_decisions(checked_problem(self.scenario, state, self.weights), token_time, curves)
        return Decision(lengths.astype(np.int64), share * self.scenario.total_bandwidth)

    def _solve(self, problem: Problem, state: SystemState) -> CertifiedDecision:
        shape = state.draft_time.shape
        tolerance = self.certify or usual_tolerance(shape[-1])
        proven = certified_lengths(self._priced(problem, state), tolerance, self.time_limit)
        in_time = None if self.tpot is None else np.asarray(is_in_time(problem, proven.lengths))
        if self.certify is None and in_time is not None and not in_time.all():
            least = f"at least {least_tpot(problem).tpot.max():.6g} s, the minimum for these devices"
            raise ValueError(f"tpot: expected {least}, got {self.tpot:g}")
        if self.certify and self.energy_price and not (proven.value > 0.0).all():
            raise ValueError(f"energy_price: expected a price at which a draft can pay, got {self.energy_price}")
        unproven = (proven.value <= 0.0) & (self.energy_price > 0.0)
        decision = self.with_equal_latency(proven.lengths.astype(np.int64).reshape(shape), state)
        batch = shape[:-1]
        return CertifiedDecision(
            decision.draft_length,
            decision.bandwidth,
            proven.value.reshape(batch),
            np.where(unproven, np.inf, proven.bound).reshape(batch),
            tolerance,
            None if in_time is None else in_time.reshape(batch),
        )

    def _priced(self, problem: Problem, state: SystemState) -> Problem:
        if not self.energy_price:
            return problem
        energy = token_energy(self.scenario, state)
        return replace(problem, token_price=self.energy_price * energy.reshape(problem.low.shape))


def oracle(scenario: Scenario, **options: Any) -> Optimal:
    """Make the oracle, the controller that sees the true state and takes the best decision of a round.

    This is ``make_controller("optimal", scenario, **options)``; options are ``weights``, ``fixed_length``, ``certify``,
    ``time_limit`` and ``tpot``. Call the oracle with a state (..., K).

    Examples
    --------
    >>> import multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, 0)
    >>> decision = ms.oracle(scenario, certify=1e-6)(state)
    >>> bool(decision.certified)
    True
    """
    return make_controller("optimal", scenario, **options)


@dataclass(frozen=True, eq=False)
class Fixed(RoundsController):
    """Fixed common length, and bandwidth B/K for each device ([MS] §VI, "Fixed BW&L").

    Parameters
    ----------
    draft_length
        L in tokens; the default is the paper's 8, or the maximum of the scenario if that is smaller.
    """

    draft_length: int | None = checked_field(None, check_integer, min_length, max_length)

    @override
    def decide(self, state: SystemState) -> Decision:
        length = min(8, self.scenario.max_draft_length) if self.draft_length is None else self.draft_length
        return self.with_equal_bandwidth(np.full(state.draft_time.shape, length, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Random(RoundsController):
    """Uniformly random lengths, and bandwidth shares that are uniform on the simplex.

    Parameters
    ----------
    rng
        A generator or a seed; the default is a new generator with seed 0.
    """

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        object.__setattr__(self, "rng", check_rng("rng", self.rng))

    @override
    def decide(self, state: SystemState) -> Decision:
        scenario, shape = self.scenario, state.draft_time.shape
        low, high = scenario.min_draft_length, scenario.max_draft_length
        length = self.rng.integers(low, high, size=shape, endpoint=True)
        # normalised exponentials are uniform on the simplex; the floor keeps every share above zero
        weight = np.maximum(self.rng.standard_exponential(shape), np.finfo(np.float64).tiny)
        share = weight / weight.sum(-1, keepdims=True)
        return Decision(length, share * scenario.total_bandwidth)
