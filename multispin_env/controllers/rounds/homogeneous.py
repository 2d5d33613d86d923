"""Best common length ([MS] §IV), and the paper's grid search ([MS] Algorithm 1)."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_integer, check_real, checked_field
from multispin_env.controllers.base import RoundsController
from multispin_env.draft import expected_tokens
from multispin_env.physics.rounds import goodput
from multispin_env.physics.types import Decision, SystemState
from multispin_env.solver.equalization import equal_latency
from multispin_env.solver.problem import lengths_in_chunks, make_problem

_NEGLIGIBLE_RATE = 1e-150  # Largest α that counts as 0; above it, ln α is finite and α² > 0


@dataclass(frozen=True, eq=False)
class CommonLength(RoundsController):
    """Best common length with the bandwidth of equal latency ([MS] 20, 21; "Homo-Multi-SPIN").

    The latency ϑ* of a token does not depend on L, and G(L) = Σ_k E[N_k | L] / (L ϑ* + T_ver(L)) is a concave function
    over a convex one and hence unimodal: a pass holds K (L + 1) tokens, padded or not. Bisection finds the first L with
    G(L + 1) ≤ G(L), exactly and for any α_k (not in the paper). For a common α and the paper's verification time, the
    closed form ([MS] 23, 24) gives the same length.
    """

    @override
    def decide(self, state: SystemState) -> Decision:
        lengths = lengths_in_chunks(self._lengths, state, self.scenario.num_users)
        return self.or_no_draft(self.with_equal_latency(lengths, state), state)

    def _lengths(self, state: SystemState) -> IntArray:
        scenario, problem = self.scenario, make_problem(self.scenario, state)
        token = problem.latency(np.ones_like(problem.low)[:, None])[:, 0]

        def latency(length: IntArray) -> FloatArray:
            if problem.access_delays is None:  # φ is homogeneous
                return token * length
            return problem.latency((length[:, None] * np.ones_like(problem.low))[:, None])[:, 0]

        def value(length: IntArray) -> FloatArray:
            tokens = expected_tokens(length[:, None], state.acceptance_rate)
            server = scenario.law.time(scenario.num_users, scenario.num_users * (length + 1))
            return goodput(tokens.sum(-1), latency(length), server + scenario.uplink.round_wait)

        shortest = scenario.min_draft_length if problem.access_delays is None else max(1, scenario.min_draft_length)
        low = np.full(token.shape, shortest)  # with delays, the value may fall from length 0 to 1 and then rise
        high = np.full(token.shape, scenario.max_draft_length)
        for _ in range(int(scenario.max_draft_length).bit_length()):
            middle = (low + high) // 2
            rises = (low < high) & (value(middle + 1) > value(middle))
            low, high = np.where(rises, middle + 1, low), np.where(rises, high, middle)
        return np.broadcast_to(low[:, None], state.draft_time.shape)


@dataclass(frozen=True, eq=False)
class Algorithm1(RoundsController):
    """The paper's grid search ([MS] Algorithm 1, eq. 37, ranges of App. G).

    It approximates the problem of `multispin_env.controllers.rounds.optimal.Optimal`, with constant power per hertz and
    without delays; the bandwidths are those of the scenario's link. For each latency φ and price λ of
    a geometric grid, every device gets the real length that maximises E[N_k | L_k] − λ B_k, where B_k is the bandwidth
    that meets φ. The lengths are rounded and clipped, and all devices get the bandwidth of equal latency. The result is
    the decision with the best goodput under the scenario's verification time.

    Parameters
    ----------
    phi_points, lambda_points
        Grid sizes, default 100 each.
    epsilon
        Smallest λ as a fraction of the largest, default 1e-4.

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> state = ms.sample_state(scenario, np.random.default_rng(0))
    >>> decision = ms.make_controller("algorithm1", scenario, phi_points=30, lambda_points=30)(state)
    >>> bool(ms.expected_outcome(scenario, state, decision).goodput <= ms.upper_bound(scenario, state))
    True
    """

    phi_points: int = checked_field(100, check_integer, 1)
    lambda_points: int = checked_field(100, check_integer, 1)
    epsilon: float = checked_field(1e-4, check_real, 0.0, 1.0, open_low=True)

    @override
    def decide(self, state: SystemState) -> Decision:
        entries = self.scenario.num_users * self.lambda_points
        return self.with_equal_latency(lengths_in_chunks(self._lengths, state, entries), state)

    def _lengths(self, state: SystemState) -> IntArray:
        token_time = self.scenario.uplink.token_time(state.spectral_efficiency)
        single = state.draft_time + token_time
        crowded = state.draft_time + self.scenario.num_users * token_time
        first = single.max(-1)
        last = self.scenario.max_draft_length * crowded.max(-1)
        best_value = np.full(len(first), -np.inf)
        best = np.empty(state.draft_time.shape, dtype=np.int64)
        for step in np.linspace(0.0, 1.0, self.phi_points):  # over the grid, for all instances together
            phi = first * (last / first) ** step
            lengths = self._column(state, token_time, phi)
            latency = equal_latency(lengths, state.draft_time[:, None], token_time[:, None]).latency
            tokens = expected_tokens(lengths, state.acceptance_rate[:, None]).sum(-1)
            server = self.scenario.law.pass_time(lengths) + self.scenario.uplink.round_wait
            value = goodput(tokens, latency, server)  # (n, λ)
            pick = value.argmax(-1)[:, None]
            value = np.take_along_axis(value, pick, -1)[:, 0]
            lengths = np.take_along_axis(lengths, pick[..., None], 1)[:, 0]
            better = value > best_value
            best_value[better] = value[better]
            best[better] = lengths[better]
        return best

    def _column(self, state: SystemState, token_time: FloatArray, phi: FloatArray) -> IntArray:
        """Return rounded lengths (n, λ, K) for one φ (n,) and every λ, with bandwidth as shares instead of hertz."""
        from scipy.special import wrightomega  # late: it takes as long to import as this whole package

        scenario = self.scenario
        alpha = np.clip(state.acceptance_rate, _NEGLIGIBLE_RATE, 1.0 - 1e-12)  # ln α and 1 − α occur only as a ratio
        decay = -np.log(alpha)
        phi = phi[:, None]
        room = np.maximum(phi - state.draft_time, 0.0)
        largest = (room**2 * decay * alpha**2 / (token_time * phi * (1.0 - alpha))).max(-1)
        fractions = np.geomspace(self.epsilon, 1.0, self.lambda_points)
        price = largest[:, None, None] * fractions[:, None]  # λ (n, λ, 1)
        # ln of the argument of W₀ in (37); W₀(e^z) = ω(z), the Wright omega function, does not overflow
        fixed = (
            decay * phi / (2.0 * state.draft_time)
            - np.log(2.0 * state.draft_time)
            + 0.5 * (np.log(token_time * phi * decay * (1.0 - alpha)) + decay)  # dividing by α could overflow
        )
        z = fixed[:, None] + 0.5 * np.log(price)
        relaxed = (phi / state.draft_time)[:, None] - 2.0 / decay[:, None] * wrightomega(z)
        low, high = scenario.min_draft_length, scenario.max_draft_length
        rounded: IntArray = np.clip(np.round(relaxed), low, high).astype(np.int64)
        return np.where(alpha[:, None] > _NEGLIGIBLE_RATE, rounded, low)
