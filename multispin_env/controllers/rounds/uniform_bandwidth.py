"""Uni-BW Multi-SPIN: equal bandwidth, the best lengths for it."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import IntArray
from multispin_env.controllers.base import Controller
from multispin_env.physics.rounds import goodput
from multispin_env.physics.types import Decision, SystemState
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.solver.batching import lengths_in_chunks
from multispin_env.solver.gains import token_gains


@dataclass(frozen=True, eq=False)
class UniformBandwidth(Controller):
    """B/K for each device, and the lengths that are exactly optimal for it ([MS] §VI, "Uni-BW Multi-SPIN").

    With bandwidth given, the l-th token of device k is ready at l τ_k, τ_k = T_k + K Q / (B r_k). A round that
    lasts φ takes all tokens ready by then, so sorting all K L_max tokens by that time lists every candidate; the
    best prefix is the optimum (ours).
    """

    def decide(self, state: SystemState) -> Decision:
        """Return the best lengths for equal bandwidth."""
        scenario = self.scenario
        entries = scenario.num_users * scenario.max_draft_length
        lengths = lengths_in_chunks(self._lengths, state, entries)
        bandwidth = np.full(lengths.shape, scenario.total_bandwidth / scenario.num_users)
        return Decision(lengths, bandwidth)

    def _lengths(self, state: SystemState) -> IntArray:
        scenario = self.scenario
        full = full_share_token_time(scenario, state.spectral_efficiency)
        token_latency = state.draft_time + scenario.num_users * full
        low, high = scenario.min_draft_length, scenario.max_draft_length
        shortest = (low * token_latency).max(-1)  # (n,) no round is shorter
        counts = np.arange(low + 1, high + 1)
        ready = np.maximum(token_latency[..., None] * counts, shortest[:, None, None])  # (n, K, l)
        gains = token_gains(state.acceptance_rate, counts)
        order = ready.reshape(len(ready), -1).argsort(-1, kind="stable")
        ready = np.take_along_axis(ready.reshape(order.shape), order, -1)
        won = np.take_along_axis(gains.reshape(order.shape), order, -1).cumsum(-1)
        base = token_gains(state.acceptance_rate, np.arange(low + 1)).sum((-1, -2))
        candidates = np.concatenate([shortest[:, None], ready], -1)
        won = base[:, None] + np.concatenate([np.zeros_like(base)[:, None], won], -1)
        best = goodput(won, candidates, scenario.verification_time).argmax(-1)
        taken = np.empty_like(order)
        np.put_along_axis(taken, order, np.broadcast_to(np.arange(order.shape[-1]), order.shape), -1)
        inside = (taken < best[:, None]).reshape(gains.shape)
        lengths: IntArray = low + inside.sum(-1, dtype=np.int64)
        return lengths
