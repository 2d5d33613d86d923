"""Hete-Multi-SPIN as printed: Algorithm 1 of [MS], a grid over (φ, λ)."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.base import RoundsController
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.rounds import goodput
from multispin_env.physics.tokens import expected_tokens, verification_time
from multispin_env.physics.types import Decision, SystemState
from multispin_env.solver.equalization import equal_latency
from multispin_env.solver.problem import lengths_in_chunks

IMPOSSIBLE = 1e-150
"""α up to here is treated as 0, where no draft is accepted: ln α must stay finite, and α² above 0."""


@dataclass(frozen=True, eq=False)
class Algorithm1(RoundsController):
    """The paper's grid search ([MS] Algorithm 1, eq. 37, ranges of App. G).

    The controller approximates the solution of

        maximise    G = Σ_k E[N_k | L_k] / (T_ma + T_ver(L) + T_rtt)
        over        integers L_k in L_min..L_max and bandwidths B_k ≥ 0 with Σ_k B_k ≤ B,
        where       T_ma = max_k L_k (T_k + Q / (B_k r_k)) and E[N | L] = (1 − α^{L+1}) / (1 − α)

    For each latency φ and price λ of the grid, every device gets the real length that maximises E[N_k | L_k] − λ B_k,
    where B_k is the bandwidth that meets φ. The lengths are rounded and kept in range, and all devices get the
    bandwidth of equal latency. The best goodput wins, by the scenario's law of verification. Both axes are geometric,
    because their ranges span decades.

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

    phi_points: int = 100
    lambda_points: int = 100
    epsilon: float = 1e-4

    def __post_init__(self) -> None:
        check_integer("phi_points", self.phi_points, 1)
        check_integer("lambda_points", self.lambda_points, 1)
        check_real("epsilon", self.epsilon, 0.0, 1.0, open_low=True)

    @override
    def decide(self, state: SystemState) -> Decision:
        entries = self.scenario.num_users * self.lambda_points
        return self.with_equal_latency(lengths_in_chunks(self._lengths, state, entries), state)

    def _lengths(self, state: SystemState) -> IntArray:
        token_time = full_share_token_time(self.scenario, state.spectral_efficiency)
        single = state.draft_time + token_time
        crowded = state.draft_time + self.scenario.num_users * token_time
        first = single.max(-1)
        last = self.scenario.max_draft_length * crowded.max(-1)
        best_value = np.full(len(first), -np.inf)
        best = np.empty(state.draft_time.shape, dtype=np.int64)
        for step in np.linspace(0.0, 1.0, self.phi_points):  # over the grid, not over instances
            phi = first * (last / first) ** step
            lengths = self._column(state, token_time, phi)
            latency = equal_latency(lengths, state.draft_time[:, None], token_time[:, None]).latency
            tokens = expected_tokens(lengths, state.acceptance_rate[:, None]).sum(-1)
            server = verification_time(self.scenario, lengths) + self.scenario.round_trip_time
            value = goodput(tokens, latency, server)  # (n, λ)
            pick = value.argmax(-1)[:, None]
            value = np.take_along_axis(value, pick, -1)[:, 0]
            lengths = np.take_along_axis(lengths, pick[..., None], 1)[:, 0]
            better = value > best_value
            best_value[better] = value[better]
            best[better] = lengths[better]
        return best

    def _column(self, state: SystemState, token_time: FloatArray, phi: FloatArray) -> IntArray:
        """Rounded lengths (n, λ, K) for one φ (n,) and every λ, in units of one share instead of one hertz."""
        from scipy.special import wrightomega  # late: it takes as long to import as all of this package

        scenario = self.scenario
        alpha = np.clip(state.acceptance_rate, IMPOSSIBLE, 1.0 - 1e-12)  # ln α and 1 − α only occur as a ratio
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
        return np.where(alpha[:, None] > IMPOSSIBLE, rounded, low)  # a longer draft that is never accepted costs time
