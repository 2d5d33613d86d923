"""Uni-BW Multi-SPIN: equal bandwidths and the best draft lengths for them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.compiling import compiled
from multispin_env.controllers.base import RoundsController
from multispin_env.physics.types import Decision, SystemState
from multispin_env.scenario import Scenario
from multispin_env.solver.problem import lengths_in_chunks


class _Tokens(NamedTuple):
    """Possible tokens of n states, m for each state, sorted by the time at which they are ready."""

    latency: FloatArray  # (n, 1 + m) s, of the shortest drafts, then with each token
    gain: FloatArray  # (n, m) probability that the token is accepted
    number: IntArray  # (n, m) position l in the draft
    order: IntArray  # (n, m) index in the flat array of devices and positions (K, l)
    base: FloatArray  # (n,) expected tokens of the shortest drafts


@dataclass(frozen=True, eq=False)
class UniformBandwidth(RoundsController):
    """Bandwidth B/K for each device, and optimal lengths for this bandwidth ([MS] §VI, "Uni-BW Multi-SPIN").

    With fixed bandwidth, the l-th token of device k is ready at l τ_k, τ_k = T_k + K Q / (B r_k). With the paper's
    constant verification time, a round of latency φ takes all tokens that are ready by then, so the optimum is a prefix
    of all K L_max tokens sorted by that time. If each token lengthens the pass, a round takes the tokens of a prefix
    that gain more than their time costs at the optimal goodput G, found by Dinkelbach's method. If drafts are padded,
    the pass depends only on the maximum draft length M, and the optimum is the best prefix over all M.
    """

    @override
    def decide(self, state: SystemState) -> Decision:
        entries = self.scenario.num_users * self.scenario.max_draft_length
        lengths = lengths_in_chunks(self._lengths, state, entries)
        return self.or_no_draft(self.with_equal_bandwidth(lengths), state)

    def _lengths(self, state: SystemState) -> IntArray:
        tokens = _sorted_tokens(self.scenario, state)
        inside = _best_tokens(self.scenario, tokens)
        taken = np.empty_like(inside)
        np.put_along_axis(taken, tokens.order, inside, -1)
        low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
        taken = taken.reshape(*state.draft_time.shape, high - low)
        return np.asarray(low + taken.sum(-1, dtype=np.int64))


def _sorted_tokens(scenario: Scenario, state: SystemState) -> _Tokens:
    uplink = scenario.uplink
    token_latency = state.draft_time + uplink.shared_token_time(state.spectral_efficiency, scenario.num_users)
    low, high = scenario.min_draft_length, scenario.max_draft_length
    shortest = low * token_latency
    counts = np.arange(low + 1, high + 1)
    ready = token_latency[..., None] * counts  # (n, K, l)
    shortest = uplink.with_access(shortest, low).max(-1)
    ready = uplink.with_access(ready.swapaxes(-1, -2), counts[:, None]).swapaxes(-1, -2)
    ready = np.maximum(ready, shortest[:, None, None])
    alpha = state.acceptance_rate[..., None]
    order = ready.reshape(len(ready), -1).argsort(-1, kind="stable")
    sorted_ready, gain, number = (
        np.take_along_axis(array.reshape(order.shape), order, -1)
        for array in (ready, alpha**counts, np.broadcast_to(counts, ready.shape))
    )
    base = (alpha ** np.arange(low + 1)).sum((-1, -2))
    return _Tokens(np.concatenate([shortest[:, None], sorted_ready], -1), gain, number, order, base)


def _best_tokens(scenario: Scenario, tokens: _Tokens) -> BoolArray:
    """Return the best tokens (n, m); with padded passes of the first M of each device, for the best M."""
    users, law = scenario.num_users, scenario.law
    low, high = scenario.min_draft_length, scenario.max_draft_length
    counts = users * (low + 1) + np.arange(tokens.gain.shape[1] + 1)
    falling = (-tokens.gain).argsort(-1, kind="stable")
    inside, most = np.zeros(tokens.gain.shape, dtype=bool), np.full(len(tokens.base), -np.inf)
    for longest in range(low, high + 1) if law.padded and not law.flat else (high,):
        allowed = tokens.number <= longest
        times = law.time(users, np.full_like(counts, users * (longest + 1)) if law.padded else counts)
        times = times + scenario.uplink.round_wait
        sets, value = _best_sets(tokens.gain * allowed, falling, tokens.latency, tokens.base, times)
        better = value > most
        inside[better], most = (sets & allowed)[better], np.maximum(most, value)
    return inside


@compiled
def _best_sets(
    gain: FloatArray, falling: IntArray, latency: FloatArray, base: FloatArray, times: FloatArray
) -> tuple[BoolArray, FloatArray]:
    """Return the tokens (n, m) of the largest goodput, and this goodput (n,).

    ``falling`` (n, m) sorts tokens by falling gain, and ``times`` (m + 1,) are convex, in s by added tokens. At
    a price G, the best tokens of a prefix are those of the largest gains; their least gain does not fall as the prefix
    grows, so a token once left out stays out.
    """
    inside, most = np.zeros(gain.shape, np.bool_), base / (latency[:, 0] + times[0])
    for n in range(len(gain)):
        price, prefix, most_probable = -np.inf, 0, 0
        while most[n] > price:
            price, end, count, total = most[n], gain.shape[1], 0, 0.0
            out = np.zeros(end, np.bool_)
            for i in range(gain.shape[1]):
                if out[i]:
                    continue
                count, total = count + 1, total + gain[n, i]
                while count and gain[n, falling[n, end - 1]] < price * (times[count] - times[count - 1]):
                    end -= 1
                    token = falling[n, end]
                    out[token] = True
                    if token <= i:
                        count, total = count - 1, total - gain[n, token]
                value = (base[n] + total) / (latency[n, i + 1] + times[count])
                if value > most[n]:
                    most[n], prefix, most_probable = value, i + 1, end
        for token in falling[n, :most_probable]:
            inside[n, token] = token < prefix
    return inside, most
