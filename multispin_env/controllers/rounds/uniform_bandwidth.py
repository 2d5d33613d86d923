"""Uni-BW Multi-SPIN: equal bandwidths and the best draft lengths for them."""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappush, heappushpop
from typing import NamedTuple

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.controllers.base import RoundsController
from multispin_env.physics.rounds import goodput
from multispin_env.physics.types import Decision, SystemState
from multispin_env.scenario import Scenario
from multispin_env.server import line_time
from multispin_env.solver.problem import kinks, lengths_in_chunks, server_lines


class _Tokens(NamedTuple):
    """Possible tokens of n states, m for each state, sorted by the time at which they are ready."""

    ready: FloatArray  # (n, m) s, shortest latency with the token
    gain: FloatArray  # (n, m) probability that the token is accepted
    number: IntArray  # (n, m) position l in the draft
    order: IntArray  # (n, m) index in the flat array of devices and positions (K, l)
    shortest: FloatArray  # (n,) s, latency of the shortest drafts
    base: FloatArray  # (n,) expected tokens of the shortest drafts


@dataclass(frozen=True, eq=False)
class UniformBandwidth(RoundsController):
    """Bandwidth B/K for each device, and optimal lengths for this bandwidth ([MS] §VI, "Uni-BW Multi-SPIN").

    With fixed bandwidth, the l-th token of device k is ready at l τ_k, τ_k = T_k + K Q / (B r_k). With the paper's
    constant verification time, a round of latency φ takes all tokens that are ready by then, so the optimum is a prefix
    of all K L_max tokens sorted by that time. If each token lengthens the pass, a round takes the tokens that gain more
    than their time costs at the optimal goodput G, found by Dinkelbach's method. If drafts are padded, the pass depends
    only on the maximum draft length M, and the optimum is the best prefix over all M.
    """

    @override
    def decide(self, state: SystemState) -> Decision:
        entries = self.scenario.num_users * self.scenario.max_draft_length
        lengths = lengths_in_chunks(self._lengths, state, entries)
        return self.or_no_draft(self.with_equal_bandwidth(lengths), state)

    def _lengths(self, state: SystemState) -> IntArray:
        tokens = _sorted_tokens(self.scenario, state)
        law = self.scenario.law
        best = _best_prefix if law.flat else _best_padded if law.padded else _best_by_tokens
        inside = best(self.scenario, tokens)
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
    return _Tokens(sorted_ready, gain, number, order, shortest, base)


def _prefix_latencies(tokens: _Tokens) -> FloatArray:
    return np.concatenate([tokens.shortest[:, None], tokens.ready], -1)


def _with_zero(sums: FloatArray) -> FloatArray:
    return np.concatenate([np.zeros((len(sums), 1)), sums], -1)


def _prefix_mask(tokens: _Tokens, best: IntArray) -> BoolArray:
    return np.asarray(np.arange(tokens.gain.shape[1]) < best[:, None])


def _best_prefix(scenario: Scenario, tokens: _Tokens) -> BoolArray:
    value = _prefix_values(scenario, tokens, tokens.gain, scenario.max_draft_length)
    return _prefix_mask(tokens, value.argmax(-1))


def _best_padded(scenario: Scenario, tokens: _Tokens) -> BoolArray:
    """Return the best prefix among the first M tokens of each device, for the best M."""
    inside, most = np.zeros(tokens.gain.shape, dtype=bool), np.full(len(tokens.base), -np.inf)
    for longest in range(scenario.min_draft_length, scenario.max_draft_length + 1):
        allowed = tokens.number <= longest
        value = _prefix_values(scenario, tokens, tokens.gain * allowed, longest)
        better = value.max(-1) > most
        most = np.maximum(most, value.max(-1))
        inside[better] = (allowed & _prefix_mask(tokens, value.argmax(-1)))[better]
    return inside


def _prefix_values(scenario: Scenario, tokens: _Tokens, gain: FloatArray, longest: int) -> FloatArray:
    total = tokens.base[:, None] + _with_zero(gain.cumsum(-1))
    server = scenario.law.time(scenario.num_users, scenario.num_users * (longest + 1)) + scenario.uplink.round_wait
    return goodput(total, _prefix_latencies(tokens), server)


def _best_by_tokens(scenario: Scenario, tokens: _Tokens) -> BoolArray:
    """Choose the best tokens for the current goodput until the goodput no longer rises (Dinkelbach; about 4 steps)."""
    choices = _choices(scenario, tokens)
    inside = np.zeros(tokens.gain.shape, dtype=bool)
    value = _value(scenario, tokens, inside)
    for _ in range(100):
        better = _best_tokens(choices, tokens, value)
        new_value = _value(scenario, tokens, better)
        rises = new_value > value
        if not rises.any():
            break
        inside[rises], value = better[rises], np.maximum(new_value, value)
    return inside


def _value(scenario: Scenario, tokens: _Tokens, inside: BoolArray) -> FloatArray:
    least = scenario.num_users * (scenario.min_draft_length + 1)
    latency = np.where(inside, tokens.ready, tokens.shortest[:, None]).max(-1, initial=0.0)
    server = scenario.law.time(scenario.num_users, least + inside.sum(-1)) + scenario.uplink.round_wait
    total = tokens.base + (tokens.gain * inside).sum(-1)
    return goodput(total, np.maximum(latency, tokens.shortest), server)


class _Choices(NamedTuple):
    lines: FloatArray  # (J, 2) s, and s per token added to the shortest drafts
    fewest: FloatArray  # (J,) smallest number of added tokens on a line
    most: FloatArray  # (J,) largest number of added tokens on a line
    sizes: list[int]  # numbers of added tokens next to kinks
    times: list[float]  # s, verification time for each size
    sums: list[FloatArray]  # `_largest_sums` (n, m + 1) for each size


def _choices(scenario: Scenario, tokens: _Tokens) -> _Choices:
    users = scenario.num_users
    least, rest = users * scenario.min_draft_length, scenario.uplink.round_wait
    rest += scenario.law.time_of_drafts(users)
    lines = server_lines(scenario)
    lines = np.stack([lines[:, 0] + lines[:, 1] * least + rest, lines[:, 1]], -1)
    ends = kinks(lines)
    around = {int(size) for size in (*np.floor(ends), *np.ceil(ends))}
    sizes = sorted(size for size in around if 0 <= size <= tokens.gain.shape[1])
    return _Choices(
        lines,
        np.concatenate([[-np.inf], np.ceil(ends)]),
        np.concatenate([np.floor(ends), [np.inf]]),
        sizes,
        [float(line_time(lines, np.array(size))) for size in sizes],
        [_largest_sums(tokens.gain, size) for size in sizes],
    )


def _largest_sums(gain: FloatArray, size: int) -> FloatArray:
    """Return the sums of the ``size`` largest of the first i gains, (n, m + 1); −∞ for i < ``size``."""
    sums = np.full((len(gain), gain.shape[1] + 1), -np.inf)
    for row, out in zip(gain.tolist(), sums, strict=True):
        heap: list[float] = []
        total = 0.0
        for i, value in enumerate(row):
            if i < size:
                heappush(heap, value)
                total += value
            else:
                total += value - (heappushpop(heap, value) if heap else value)
            out[i + 1] = total if i + 1 >= size else -np.inf
        out[0] = 0.0 if size == 0 else -np.inf
    return sums


def _best_tokens(choices: _Choices, tokens: _Tokens, value: FloatArray) -> BoolArray:
    inside = np.zeros(tokens.gain.shape, dtype=bool)
    most, waits = np.full(len(value), -np.inf), value[:, None] * _prefix_latencies(tokens)

    def offer(surplus: FloatArray, tokens_of: Callable[[IntArray], BoolArray]) -> None:
        nonlocal most
        best = surplus.argmax(-1)
        better = surplus.max(-1) > most
        if better.any():
            most = np.where(better, surplus.max(-1), most)
            inside[better] = tokens_of(best)[better]

    for (start, slope), fewest, last in zip(choices.lines, choices.fewest, choices.most, strict=True):
        pays = tokens.gain > (value * slope)[:, None]
        count = _with_zero(pays.cumsum(-1).astype(np.float64))
        net = _with_zero((pays * tokens.gain).cumsum(-1)) - value[:, None] * (start + slope * count)
        held = (count >= fewest) & (count <= last)
        offer(np.where(held, net - waits, -np.inf), lambda best, pays=pays: pays & _prefix_mask(tokens, best))  # type: ignore[misc]
    for size, time, sums in zip(choices.sizes, choices.times, choices.sums, strict=True):
        offer(
            sums - value[:, None] * time - waits,
            lambda best, size=size: _largest_of(tokens.gain, _prefix_mask(tokens, best), size),  # type: ignore[misc]
        )
    return inside


def _largest_of(gain: FloatArray, allowed: BoolArray, size: int) -> BoolArray:
    order = np.argsort(np.where(allowed, -gain, np.inf), -1, kind="stable")[:, :size]
    selected: BoolArray = np.zeros(gain.shape, dtype=bool)
    np.put_along_axis(selected, order, True, -1)
    return selected
