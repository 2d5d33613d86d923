"""The best decision of the full problem (first version: a fine search in φ, then local moves)."""

from dataclasses import dataclass

import numpy as np

from multispin_env.checks import FloatArray, IntArray, check_integer
from multispin_env.controllers.base import Controller
from multispin_env.controllers.batching import lengths_in_chunks
from multispin_env.controllers.equalization import equal_latency
from multispin_env.controllers.homogeneous import Homogeneous
from multispin_env.controllers.lagrangian import greedy_lengths, marginal_shares
from multispin_env.controllers.local_search import Instances, improve, make_instances
from multispin_env.controllers.uniform_bandwidth import UniformBandwidth
from multispin_env.physics.types import Decision, SystemState
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.physics.validation import checked_state, checked_weights


@dataclass(frozen=True, eq=False)
class Optimal(Controller):
    """Lengths and bandwidth of the highest Σ ω_k E[N_k] / T_e2e (ours; system-model §4).

    For every φ of a geometric grid between the latencies of all-shortest and all-longest drafts: the Lagrangian
    integer lengths that fit, then their exact root. The best few, and the lengths of `homogeneous` and
    `uniform-bandwidth`, are improved by moves of one and two tokens.

    Parameters
    ----------
    weights
        ω (..., K) ≥ 0, broadcast to the state; ``None`` means 1. May be replaced at each call.
    phi_points
        Size of the grid.
    starts
        Number of starts that are improved.
    """

    weights: FloatArray | None = None
    phi_points: int = 64
    starts: int = 6

    def __post_init__(self) -> None:
        check_integer("phi_points", self.phi_points, 2)
        check_integer("starts", self.starts, 1)

    def __call__(self, state: SystemState, weights: FloatArray | None = None) -> Decision:
        """Decide for one state or a batch, with these weights or those given at construction."""
        state = checked_state(self.scenario, state)
        chosen = self.weights if weights is None else weights
        return self._decide(state, checked_weights(chosen, state.draft_time.shape))

    def decide(self, state: SystemState) -> Decision:
        """Decide for a checked state with the weights given at construction."""
        return self._decide(state, checked_weights(self.weights, state.draft_time.shape))

    def _decide(self, state: SystemState, weights: FloatArray | None) -> Decision:
        entries = self.scenario.num_users * self.scenario.max_draft_length * self.phi_points
        return self.with_equal_latency(lengths_in_chunks(self._lengths, state, entries, weights), state)

    def _lengths(self, state: SystemState, weights: FloatArray | None) -> IntArray:
        scenario = self.scenario
        token_time = full_share_token_time(scenario, state.spectral_efficiency)
        instances = make_instances(
            state.draft_time,
            token_time,
            state.acceptance_rate,
            weights,
            scenario.verification_time,
            (scenario.min_draft_length, scenario.max_draft_length),
        )
        candidates = np.concatenate(
            [
                self._grid(instances),
                Homogeneous(scenario).decide(state).draft_length[:, None],
                UniformBandwidth(scenario).decide(state).draft_length[:, None],
            ],
            1,
        )
        n, _, num_users = candidates.shape
        order = _best_distinct(instances.value(candidates), self.starts)
        starts = np.take_along_axis(candidates, order[..., None], 1)
        repeated = instances.rows(np.repeat(np.arange(n), self.starts))
        ends = improve(repeated, starts.reshape(-1, num_users)).reshape(starts.shape)
        best = instances.value(ends).argmax(-1)
        return ends[np.arange(n), best]

    def _grid(self, instances: Instances) -> IntArray:
        """Greedy lengths (n, φ, K) at every latency of the grid."""
        low, high = instances.min_draft_length, instances.max_draft_length
        draft, token = instances.draft_time, instances.token_time
        first = equal_latency(np.full_like(draft, max(low, 1)), draft, token).latency
        last = equal_latency(np.full_like(draft, high), draft, token).latency
        phi = first[:, None] * (last / first)[:, None] ** np.linspace(0.0, 1.0, self.phi_points)
        counts = np.arange(1, high + 1)
        shares = marginal_shares(phi, draft[:, None], token[:, None], counts)  # (n, φ, K, l)
        gains = np.broadcast_to(np.diff(instances.cumulative)[:, None], shares.shape)
        forced = counts <= low
        gains = np.where(forced, np.inf, gains)
        return np.clip(greedy_lengths(gains, shares), low, high)


def _best_distinct(values: FloatArray, count: int) -> IntArray:
    """Indices (n, count) of the highest values (n, m), each value once as long as there are others."""
    order = np.argsort(-values, -1, kind="stable")
    ordered = np.take_along_axis(values, order, -1)
    repeated = np.zeros(ordered.shape, dtype=bool)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]  # neighbouring φ often give the same lengths
    first = np.argsort(repeated, -1, kind="stable")[:, :count]
    return np.take_along_axis(order, first, -1)
