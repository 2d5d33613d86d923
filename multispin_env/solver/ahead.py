"""Best lengths of a round in which devices have head starts (not in the paper; docs/evidence/drafting-ahead.md).

The objective is F(L) of `multispin_env.controllers.rounds.ahead.AheadPrice`, or the goodput of the round alone. As
chains grow during the round, a second costs less than ρ: ρ' = ρ (1 − β / K Σ_k h_k), summed over chains that can still
grow.

For a given latency φ and price λ of a share of the band, the best length of every device is independent of the others.
At the optimum λ = ρ' Σ s_k / Σ (s_k / room_k) with shares s_k, where room_k = φ − drafting time of device k, so that λ
is a fraction of ρ' φ. A grid over φ and such fractions gives starts, and a finer grid around the best φ gives more. The
best start is improved by moves: one token more or less for one device, for two, or for several in order of their gain.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.chains import chain_left, drafting_time, hit_probability
from multispin_env.physics.types import Batched
from multispin_env.scenario import Scenario
from multispin_env.solver.equalization import equal_finish
from multispin_env.solver.problem import Problem

_WINDOWS, _FINER = 10, 16  # latencies φ of the grid, and of the finer grid between the neighbours of the best φ
_PRICES = (1.0, 0.4, 0.1)  # λ / (ρ' φ)
_LATE = 1e9  # replaces the infinite share of a device that drafts longer than φ
NUM_COMMON_LENGTHS = 24  # common lengths from which the goodput is estimated
_LEAST_PART = 0.05  # smallest cost of a second relative to ρ, for starts
_CUT = 6  # starts of padded passes that are cut at every maximum length
_MOVERS = 6  # single moves of an instance that are also tried in pairs
_MOST_STEPS = 60
_LEAST_GAIN = 1e-12  # least relative improvement of a move
MAX_ENTRIES = 60_000  # lengths of candidates that are evaluated together, so that arrays stay in the cache


@dataclass(frozen=True, eq=False)
class AheadRound(Batched):
    """Rounds (n,) of K devices with head starts, and their objective."""

    unbatched: ClassVar[tuple[str, ...]] = ("scenario", "chain_weight", "of_goodput")

    scenario: Scenario
    problem: Problem  # the same rounds without head starts
    head_start: FloatArray  # A (n, K) tokens
    rho: FloatArray  # ρ (n,) tokens/s; if the objective is the goodput, an estimate of it
    chain_weight: float = 0.0  # β
    of_goodput: bool = False  # whether the objective is the goodput

    @classmethod
    def by_goodput(cls, problem: Problem, scenario: Scenario, head_start: FloatArray) -> Self:
        """Return rounds (n, K) whose objective is the goodput; ρ is that of the best common length."""
        rounds = cls(scenario, problem, head_start, np.zeros(len(problem)), of_goodput=True)
        common = np.unique(np.geomspace(1, scenario.max_draft_length + 1, NUM_COMMON_LENGTHS).astype(int))[:, None] - 1
        lengths = np.clip(common, problem.low[:, None], problem.high[:, None])
        return replace(rounds, rho=rounds.value(lengths).max(-1))

    @cached_property
    def hits(self) -> Problem:
        """Problem whose `gain` is the probability h of a hit."""
        hit = hit_probability(self.scenario, np.zeros(1), self.problem.acceptance_rate)
        return replace(self.problem, weights=hit)

    def value(self, lengths: IntArray) -> FloatArray:
        """Return the objective (n, m) of candidates (n, m, K)."""
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
        """Return the value (β ρ / K) T h A' (..., n, K), in tokens, of the chains left after τ (..., n) s."""
        draft_time = self.problem.draft_time
        left = chain_left(self.scenario, lengths, draft_time, self.head_start, time[..., None])
        return np.asarray(self.hits.gain(lengths) * left * self.chain_scale)

    @property
    def chain_scale(self) -> FloatArray:
        """Value (β ρ / K) T (n, K) of a token of a chain that remains useful."""
        scale = self.chain_weight / self.problem.draft_time.shape[-1] * self.rho
        return scale[:, None] * self.problem.draft_time


def best_lengths(rounds: AheadRound) -> IntArray:
    """Return integer lengths (n, K) with the largest objective, or close to it."""
    count, users = rounds.head_start.shape
    rows = max(1, MAX_ENTRIES // (users * _WINDOWS * len(_PRICES)))
    parts = [_best_lengths(rounds[first : first + rows]) for first in range(0, count, rows)]
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
    if rounds.problem.padded:  # starts ignore the cost of the longest draft
        some = np.argsort(-value, -1, kind="stable")[:, :_CUT]
        candidates = _cut(rounds, np.take_along_axis(candidates, some[..., None], 1))
        value = rounds.value(candidates)
    return _improve(rounds, candidates[row, value.argmax(-1)])


def _starts(rounds: AheadRound, windows: FloatArray, parts: FloatArray) -> IntArray:
    """Return candidates (n, m, K): one per price factor (p, n) and latency (w, n), head starts, shortest drafts."""
    problem = rounds.problem
    sent = np.clip(np.floor(rounds.head_start), problem.low, problem.high).astype(np.int64)
    server = problem.verification_time(sent[:, None])[:, 0]
    alone, lengths = _Alone.of(rounds), []
    for latency in windows:
        time = latency + server
        cost = _cost_of_second(rounds, sent, time)
        lengths.append(alone.best(rounds, cost, latency, time, parts * cost * latency))
    return np.stack([*np.concatenate(lengths), sent, problem.low], 1)


def _cost_of_second(rounds: AheadRound, lengths: IntArray, time: FloatArray) -> FloatArray:
    """Return ρ' (n,) in tokens/s, the cost of a longer round at lengths (n, K) and τ (n,) s, as chains grow in it."""
    if not rounds.chain_weight:
        return rounds.rho
    draft_time = rounds.problem.draft_time
    left = chain_left(rounds.scenario, lengths, draft_time, rounds.head_start, time[..., None])
    grows = rounds.hits.gain(lengths) * ((left > 0.0) & (left < rounds.scenario.max_draft_length))
    growth: FloatArray = rounds.chain_weight * np.add.reduce(grows, -1) / draft_time.shape[-1]
    return rounds.rho * np.maximum(1.0 - growth, _LEAST_PART)


@dataclass(frozen=True, slots=True)
class _Alone:
    """Terms (n, K, L) of all lengths that do not depend on the latency."""

    lengths: IntArray
    drafting: FloatArray  # s
    sending: FloatArray  # s of the whole band
    tokens: FloatArray  # −∞ for lengths that are not allowed
    hit: FloatArray  # probability of a hit; 1 if chains have no value

    @classmethod
    def of(cls, rounds: AheadRound) -> Self:
        problem, longest = rounds.problem, int(rounds.problem.high.max())
        lengths = np.broadcast_to(np.arange(longest + 1)[:, None, None], (longest + 1, *problem.low.shape))
        drafting = drafting_time(rounds.scenario, lengths, problem.draft_time, rounds.head_start)
        tokens = problem.expected(lengths)
        tokens[(lengths < problem.low) | (lengths > problem.high)] = -np.inf
        hit = rounds.hits.gain(lengths) if rounds.chain_weight else lengths**0.0
        terms = (lengths, drafting, problem.token_time * lengths, tokens, hit)
        return cls(*(np.ascontiguousarray(np.moveaxis(term, 0, -1)) for term in terms))

    def best(
        self, rounds: AheadRound, cost: FloatArray, latency: FloatArray, time: FloatArray, price: FloatArray
    ) -> IntArray:
        """Return the best lengths (p, n, K) at a latency (n,) and prices (p, n) of a share of the band."""
        problem, value = rounds.problem, self.tokens
        room = latency[:, None, None] - self.drafting
        fits = room > 0.0
        share = np.where(fits, self.sending / np.where(fits, room, 1.0), _LATE)
        if not problem.padded:
            value = value - (cost * problem.lines[-1, 1])[:, None, None] * self.lengths
        if rounds.chain_weight:
            draft_time, head_start = problem.draft_time[..., None], rounds.head_start[..., None]
            left = chain_left(rounds.scenario, self.lengths, draft_time, head_start, time[:, None, None])
            value = value + self.hit * left * rounds.chain_scale[..., None]
        return np.stack([(value - factor[:, None, None] * share).argmax(-1) for factor in price])


def _windows(problem: Problem) -> FloatArray:
    together = problem.token_time.sum(-1)
    first = 0.02 * problem.draft_time.min(-1) + 0.2 * together
    last = problem.high.max(-1) * (problem.draft_time.max(-1) + together)
    last = np.maximum(last, 2.0 * problem.draft_time.max(-1))  # time for the first tokens
    return _between(first, last, _WINDOWS)


def _between(first: FloatArray, last: FloatArray, count: int) -> FloatArray:
    return first * (last / first) ** np.linspace(0.0, 1.0, count)[:, None]


def _improve(rounds: AheadRound, lengths: IntArray) -> IntArray:
    lengths = lengths.copy()
    rows = np.arange(len(lengths))
    value = rounds.value(lengths[:, None])[:, 0]
    for _ in range(_MOST_STEPS):
        moved = _in_range(rounds, lengths[rows], _single_moves(lengths.shape[-1]))
        values = rounds.value(moved)
        several = _in_range(rounds, lengths[rows], _joint_moves(values))
        if rounds.problem.padded:
            several = np.concatenate([several, _cut(rounds, lengths[rows][:, None])], 1)
        moved, values = np.concatenate([moved, several], 1), np.concatenate([values, rounds.value(several)], 1)
        best = np.arange(len(rows)), values.argmax(-1)
        better = values[best] > value + _LEAST_GAIN * np.abs(value)
        if not better.any():
            break
        rows, value, rounds = rows[better], values[best][better], rounds[better]
        lengths[rows] = moved[best][better]
    return lengths


def _in_range(rounds: AheadRound, lengths: IntArray, change: IntArray) -> IntArray:
    return np.clip(lengths[:, None] + change, rounds.problem.low[:, None], rounds.problem.high[:, None])


def _single_moves(users: int) -> IntArray:
    tokens = np.eye(users, dtype=np.int64)
    return np.concatenate([tokens, -tokens])


def _joint_moves(value: FloatArray) -> IntArray:
    users = value.shape[-1] // 2
    singles, movers = _single_moves(users), np.argsort(-value, -1, kind="stable")[:, :_MOVERS]
    first, second = np.triu_indices(movers.shape[-1], 1)
    changes = [singles[movers[:, first]] + singles[movers[:, second]]]  # pairs of the best single moves
    more, less = value[:, :users], value[:, users:]
    counts = np.unique(np.geomspace(min(2, users), users, 3).astype(int))[:, None]
    # a token more, one less, or the better of both, for the devices that gain most from it
    for sign, gain in ((1, more), (-1, less), (np.where(more > less, 1, -1)[:, None], np.maximum(more, less))):
        rank = np.argsort(np.argsort(-gain, -1, kind="stable"), -1)
        changes.append(sign * (rank[:, None] < counts))
    return np.concatenate(changes, 1)


def _cut(rounds: AheadRound, candidates: IntArray) -> IntArray:
    longest = np.arange(int(rounds.problem.high.max()) + 1)[:, None, None, None]
    cut = np.maximum(np.minimum(candidates, longest), rounds.problem.low[:, None])
    return np.concatenate(list(cut), 1)
