"""Best lengths of a round in which devices bring head starts (ours; docs/evidence/drafting-ahead.md).

A decision is worth F(L) of `multispin_env.controllers.rounds.ahead.AheadPrice`, or the round's own goodput. As chains
grow meanwhile, a second costs less than ρ: ρ' = ρ (1 − β / K Σ_k h_k), over chains that may still grow.

Where the latency is φ and a share of the band costs λ, the best length of every device is found alone. At the optimum
λ = ρ' Σ s_k / Σ (s_k / room_k) with shares s_k, where room_k is what drafting leaves of φ: λ is a part of ρ' φ. So a
grid of φ and of such parts gives starts, and a finer one beside the best φ more of them. The best is improved by moves:
a token more or less for a device, for two, or for several in the order in which they pay.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.chains import chain_left, drafting_time, hit_probability
from multispin_env.scenario import Scenario
from multispin_env.solver.equalization import equal_finish
from multispin_env.solver.problem import Problem

_WINDOWS, _FINER = 10, 16  # times φ that drafts may take; and of them between the neighbours of the best
_PRICES = (1.0, 0.4, 0.1)  # λ / (ρ' φ)
_LATE = 1e9  # stands for the infinite share of a device that drafts too long
NUM_COMMON_LENGTHS = 24  # lengths for all that the goodput is estimated from
_LEAST_PART = 0.05  # of ρ that a second costs at least, in starts
_CUT = 6  # starts of padded passes that are tried with every longest draft
_MOVERS = 6  # single moves of an instance that are tried in pairs
_MOST_STEPS = 60
_LEAST_GAIN = 1e-12  # part by which a move has to improve
MAX_ENTRIES = 60_000  # lengths of candidates that are priced together: their arrays stay in the cache


@dataclass(frozen=True, eq=False)
class AheadRound:
    """n rounds of K devices that bring head starts."""

    scenario: Scenario
    problem: Problem  # of the same rounds without head starts
    head_start: FloatArray  # A (n, K) tokens
    rho: FloatArray  # ρ (n,) tokens/s; of the goodput, an estimate of it
    chain_weight: float = 0.0  # β
    of_goodput: bool = False  # whether a decision is worth its goodput

    @classmethod
    def by_goodput(cls, problem: Problem, scenario: Scenario, head_start: FloatArray) -> Self:
        """Rounds (n, K) that are worth their goodput; ρ is that of the best common length."""
        rounds = cls(scenario, problem, head_start, np.zeros(len(problem)), of_goodput=True)
        common = np.unique(np.geomspace(1, scenario.max_draft_length + 1, NUM_COMMON_LENGTHS).astype(int))[:, None] - 1
        lengths = np.clip(common, problem.low[:, None], problem.high[:, None])
        return replace(rounds, rho=rounds.value(lengths).max(-1))

    def rows(self, rows: IntArray | BoolArray | slice) -> Self:
        """Some of the instances."""
        parts = self.problem.rows(rows), self.head_start[rows], self.rho[rows]
        return type(self)(self.scenario, *parts, self.chain_weight, self.of_goodput)

    @cached_property
    def hits(self) -> Problem:
        """The same problem, in which the last token of a draft gains h."""
        hit = hit_probability(self.scenario, np.zeros(1), self.problem.acceptance_rate)
        return replace(self.problem, weights=hit)

    def value(self, lengths: IntArray) -> FloatArray:
        """Worth (n, m) of candidates (n, m, K)."""
        problem = self.problem
        drafting = drafting_time(self.scenario, lengths, problem.draft_time[:, None], self.head_start[:, None])
        latency = equal_finish(drafting, lengths * problem.token_time[:, None]).latency
        time, tokens = latency + problem.verification_time(lengths), problem.tokens(lengths)
        if self.of_goodput:
            return tokens / time
        value = tokens - self.rho[:, None] * time
        if self.chain_weight:
            value += np.add.reduce(self.chain_value(lengths.swapaxes(0, 1), time.T), -1).T
        return value

    def chain_value(self, lengths: IntArray, time: FloatArray) -> FloatArray:
        """Tokens β ρ / K T h A' (..., n, K) that the chains left are worth, after τ (..., n) s."""
        each = self.problem.draft_time
        left = chain_left(self.scenario, lengths, each, self.head_start, time[..., None])
        scale = self.chain_weight / each.shape[-1] * self.rho
        worth: FloatArray = self.hits.gain(lengths) * left * (scale[:, None] * each)
        return worth


def best_lengths(rounds: AheadRound) -> IntArray:
    """Lengths (n, K) that are worth most, or nearly."""
    count, users = rounds.head_start.shape
    rows = max(1, MAX_ENTRIES // (users * _WINDOWS * len(_PRICES)))
    parts = [_best_lengths(rounds.rows(slice(first, first + rows))) for first in range(0, count, rows)]
    return np.concatenate(parts) if parts else np.zeros((0, users), dtype=np.int64)


def _best_lengths(rounds: AheadRound) -> IntArray:
    windows = _windows(rounds.problem)
    parts = np.broadcast_to(_PRICES, (len(windows[0]), len(_PRICES))).T
    candidates = _starts(rounds, windows, parts)
    value = rounds.value(candidates)
    row, (window, part) = np.arange(len(value)), np.divmod(value.argmax(-1) % (_WINDOWS * len(_PRICES)), len(_PRICES))
    ends = windows[np.maximum(window - 1, 0), row], windows[np.minimum(window + 1, _WINDOWS - 1), row]
    finer = _starts(rounds, _between(*ends, _FINER), parts[part, row][None])
    candidates, value = np.concatenate([candidates, finer], 1), np.concatenate([value, rounds.value(finer)], 1)
    if rounds.problem.padded:  # starts do not know what the longest draft costs
        some = np.argsort(-value, -1, kind="stable")[:, :_CUT]
        candidates = _cut(rounds, np.take_along_axis(candidates, some[..., None], 1))
        value = rounds.value(candidates)
    return _improved(rounds, candidates[row, value.argmax(-1)])


def _starts(rounds: AheadRound, windows: FloatArray, parts: FloatArray) -> IntArray:
    """Candidates (n, m, K): best lengths of every device alone, for each part (p, n) in each window (w, n).

    The last two are whole head starts, and shortest drafts.
    """
    problem = rounds.problem
    sent = np.clip(np.floor(rounds.head_start), problem.low, problem.high).astype(np.int64)
    server = problem.verification_time(sent[:, None])[:, 0]
    found = []
    for latency in windows:
        time = latency + server
        second = _second(rounds, sent, time)
        found.append(_best_alone(rounds, second, latency, time, parts * second * latency))
    return np.stack([*np.concatenate(found), sent, problem.low], 1)


def _second(rounds: AheadRound, lengths: IntArray, time: FloatArray) -> FloatArray:
    """Tokens (n,) that a second more costs at lengths (n, K) in rounds of τ (n,) s: chains grow meanwhile."""
    if not rounds.chain_weight:
        return rounds.rho
    each = rounds.problem.draft_time
    left = chain_left(rounds.scenario, lengths, each, rounds.head_start, time[..., None])
    grows = rounds.hits.gain(lengths) * ((left > 0.0) & (left < rounds.scenario.max_draft_length))
    growth: FloatArray = rounds.chain_weight * np.add.reduce(grows, -1) / each.shape[-1]
    return rounds.rho * np.maximum(1.0 - growth, _LEAST_PART)


def _best_alone(
    rounds: AheadRound, second: FloatArray, latency: FloatArray, time: FloatArray, price: FloatArray
) -> IntArray:
    problem, chain = rounds.problem, rounds.head_start
    low, high = problem.low, problem.high
    lengths = np.broadcast_to(np.arange(int(high.max()) + 1)[:, None, None], (int(high.max()) + 1, *low.shape))
    room = latency[:, None] - drafting_time(rounds.scenario, lengths, problem.draft_time, chain)
    fits = room > 0.0
    share = np.where(fits, problem.token_time * lengths / np.where(fits, room, 1.0), _LATE)
    worth = problem.expected(lengths)
    if not problem.padded:
        worth -= (second * problem.lines[-1, 1])[:, None] * lengths
    if rounds.chain_weight:
        worth += rounds.chain_value(lengths, np.broadcast_to(time, lengths.shape[:2]))
    worth[(lengths < low) | (lengths > high)] = -np.inf
    return np.stack([(worth - each[:, None] * share).argmax(0) for each in price])


def _windows(problem: Problem) -> FloatArray:
    """Latencies (WINDOWS, n) s, from a part of a token to the longest drafts of all, by equal factors."""
    together = problem.token_time.sum(-1)
    first = 0.02 * problem.draft_time.min(-1) + 0.2 * together
    last = problem.high.max(-1) * (problem.draft_time.max(-1) + together)
    last = np.maximum(last, 2.0 * problem.draft_time.max(-1))  # the first tokens may take so long
    return _between(first, last, _WINDOWS)


def _between(first: FloatArray, last: FloatArray, count: int) -> FloatArray:
    return first * (last / first) ** np.linspace(0.0, 1.0, count)[:, None]


def _improved(rounds: AheadRound, lengths: IntArray) -> IntArray:
    lengths = lengths.copy()
    rows = np.arange(len(lengths))
    value = rounds.value(lengths[:, None])[:, 0]
    for _ in range(_MOST_STEPS):
        tried = _in_range(rounds, lengths[rows], _singles(lengths.shape[-1]))
        worth = rounds.value(tried)
        several = _in_range(rounds, lengths[rows], _several(worth))
        if rounds.problem.padded:
            several = np.concatenate([several, _cut(rounds, lengths[rows][:, None])], 1)
        tried, worth = np.concatenate([tried, several], 1), np.concatenate([worth, rounds.value(several)], 1)
        best = np.arange(len(rows)), worth.argmax(-1)
        better = worth[best] > value + _LEAST_GAIN * np.abs(value)
        if not better.any():
            break
        rows, value, rounds = rows[better], worth[best][better], rounds.rows(better)
        lengths[rows] = tried[best][better]
    return lengths


def _in_range(rounds: AheadRound, lengths: IntArray, change: IntArray) -> IntArray:
    changed: IntArray = np.clip(lengths[:, None] + change, rounds.problem.low[:, None], rounds.problem.high[:, None])
    return changed


def _singles(users: int) -> IntArray:
    one = np.eye(users, dtype=np.int64)
    return np.concatenate([one, -one])


def _several(worth: FloatArray) -> IntArray:
    """Changes (n, m, K) of several devices, from the worth (n, 2 K) of single ones.

    The best single moves in pairs; a token more, or one less, for the devices to which it brings most; and for each
    device the better of both.
    """
    users = worth.shape[-1] // 2
    singles, movers = _singles(users), np.argsort(-worth, -1, kind="stable")[:, :_MOVERS]
    one, other = np.triu_indices(movers.shape[-1], 1)
    changes = [singles[movers[:, one]] + singles[movers[:, other]]]
    more, less = worth[:, :users], worth[:, users:]
    counts = np.unique(np.geomspace(min(2, users), users, 3).astype(int))[:, None]
    for sign, each in ((1, more), (-1, less), (np.where(more > less, 1, -1)[:, None], np.maximum(more, less))):
        rank = np.argsort(np.argsort(-each, -1, kind="stable"), -1)
        changes.append(sign * (rank[:, None] < counts))
    return np.concatenate(changes, 1)


def _cut(rounds: AheadRound, candidates: IntArray) -> IntArray:
    """Candidates (n, m, K) cut to every longest draft, (n, m (longest + 1), K)."""
    longest = np.arange(int(rounds.problem.high.max()) + 1)[:, None, None, None]
    cut = np.maximum(np.minimum(candidates, longest), rounds.problem.low[:, None])
    return np.concatenate(list(cut), 1)
