"""Moves of one or two tokens that improve a decision (not in the paper).

A move changes the tokens by ΔE, the shares at the current latency by ΔS, and their slope P = Σ c L / (φ − L T)² by ΔP.
The new latency is the root of S = 1. As 1/S is increasing and concave, one Newton step from any point ends below that
root: the estimated gain of a move is never too low, so a move with a negative estimate does not pay. The other moves
are tested exactly, without a root: the goodput of L exceeds G if and only if its shares at φ = E(L)/G − T_ver(L) sum to
less than one. The change of T_ver is exact.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.server import line_time
from multispin_env.solver.problem import Problem, in_blocks

_MOVERS = 14  # Single moves of an instance that are also tried in pairs
BLOCK_ENTRIES = 65_536  # Moves that are evaluated together, so that arrays stay in the core's cache
_FINALISTS = 16  # Moves of an instance that are tested exactly in a round

_LEAST_DIVISOR = 1e-150
"""Replaces zero in denominators; numerators reach 1e100 (`problem.MAX_WEIGHT`), and quotients stay finite."""

_ROUNDING = 1e-13  # Relative improvement that may be rounding error


class _Moves(NamedTuple):
    """Effects of moves, arrays (m, n); a move that is not allowed has −∞ tokens."""

    tokens: FloatArray  # ΔE
    share: FloatArray  # ΔS at φ
    slope: FloatArray  # ΔP at φ


@np.errstate(over="ignore", invalid="ignore")  # estimates of extreme moves; the exact test decides
def improve(problem: Problem, lengths: FloatArray, latency: FloatArray, starts: int = 1) -> FloatArray:
    """Apply the best move of one or two tokens to lengths (n, K) with latency φ (n, 1), until no move improves them.

    Each block of ``starts`` rows belongs to one instance, whose best row counts: a row that reaches the lengths of
    another row stops.
    """
    lengths = lengths.copy()
    active = np.arange(len(lengths))
    for _ in range(60):  # each improves the goodput; presets need about three
        size = max(1, BLOCK_ENTRIES // (2 * lengths.shape[-1] + len(_pairs(_MOVERS)[0])))
        moved, better = in_blocks(_round, size, problem, lengths[active], latency)
        lengths[active[better]] = moved[better]
        if starts > 1:
            better[better] = _differ(lengths, active[better], starts)
        if not better.any():
            break
        active, problem = active[better], problem[better]
        latency = problem.latency(lengths[active][:, None])
    return lengths


def _differ(lengths: FloatArray, active: IntArray, starts: int) -> BoolArray:
    """Return whether active rows (m,) differ from all stopped rows and all earlier active rows of their instance."""
    going = np.zeros(len(lengths), dtype=bool)
    going[active] = True
    instance, start = np.divmod(active, starts)
    others = instance[:, None] * starts + np.arange(starts)
    same = (lengths[others] == lengths[active][:, None]).all(-1)
    return np.asarray(~(same & (~going[others] | (np.arange(starts) < start[:, None]))).any(-1))


def _round(problem: Problem, lengths: FloatArray, phi: FloatArray) -> tuple[FloatArray, BoolArray]:
    num_users = lengths.shape[-1]
    tokens = problem.tokens(lengths[:, None])[:, 0]
    value = tokens / (phi + problem.verification_time(lengths[:, None]))[:, 0]
    singles, slope = _singles(problem, lengths, phi)
    longer = _longer_passes(problem, lengths)

    def estimate(moves: _Moves, *index: IntArray) -> FloatArray:
        # upper bound on ΔE − G (Δφ + ΔT_ver) in tokens, which is positive if the move pays
        latency = moves.share / np.maximum(slope + moves.slope, _LEAST_DIVISOR)
        if problem.curves is None:  # one of Newton's steps on 1/S, otherwise on S
            latency = (1.0 + moves.share) * latency
        return moves.tokens - value * (latency + longer(*index))

    alone = estimate(singles, np.arange(2 * num_users)[:, None])
    movers = _largest(alone, min(_MOVERS, 2 * num_users))
    first, second = _pairs(len(movers))
    columns = np.arange(len(lengths))
    selected = _Moves(*(effect[movers, columns] for effect in singles))
    pairs = _Moves(*(effect[first] + effect[second] for effect in selected))
    both = estimate(pairs, movers, first, second)
    users = movers % num_users
    both[users[first] == users[second]] = -np.inf
    gain = np.concatenate([alone, both])
    move, row = np.nonzero(_hopeful(gain, _ROUNDING * tokens))
    if not len(row):
        return lengths, np.zeros(len(lengths), dtype=bool)
    single = move < 2 * num_users
    pair_index = np.where(single, 0, move - 2 * num_users)
    first_move = np.where(single, move, movers[first[pair_index], row]) if len(first) else move
    second_move = movers[second[pair_index], row] if len(first) else move
    candidates, at = lengths[row], np.arange(len(row))
    candidates[at, first_move % num_users] += np.where(first_move < num_users, 1.0, -1.0)
    candidates[at, second_move % num_users] += np.where(single, 0.0, np.where(second_move < num_users, 1.0, -1.0))
    better = is_better(problem[row], candidates[:, None], value[row][:, None])[:, 0]
    return _best_moves(candidates, row, np.where(better, gain[move, row], -np.inf), lengths)


@lru_cache
def _pairs(count: int) -> tuple[IntArray, IntArray]:
    return np.triu_indices(count, 1)


def _hopeful(gain: FloatArray, least: FloatArray) -> BoolArray:
    """Return whether moves (m, n) gain more than ``least`` (n,) and are among the `_FINALISTS` best of an instance."""
    hopeful: BoolArray = gain > least
    crowded = np.flatnonzero(np.add.reduce(hopeful, 0) > _FINALISTS)
    if len(crowded):
        part = gain[:, crowded]
        hopeful[:, crowded] &= part >= np.partition(part, -_FINALISTS, 0)[-_FINALISTS]
    return hopeful


def _best_moves(
    candidates: FloatArray, row: IntArray, gain: FloatArray, lengths: FloatArray
) -> tuple[FloatArray, BoolArray]:
    order = np.lexsort((-gain, row))
    order = order[gain[order] > -np.inf]
    moved, first = np.unique(row[order], return_index=True)
    lengths, better = lengths.copy(), np.zeros(len(lengths), dtype=bool)
    lengths[moved], better[moved] = candidates[order[first]], True
    return lengths, better


def _longer_passes(problem: Problem, lengths: FloatArray) -> Callable[..., FloatArray | float]:
    """Return a function from moves, single ones (m, n or 1) or pairs of them, to the extra seconds of the pass."""
    if problem.flat:
        return lambda *_: 0.0  # counting tokens would take a tenth of the time of `improve`
    x = lengths.sum(-1)
    longer = line_time(problem.lines, x + np.arange(-2.0, 3.0)[:, None]) - line_time(problem.lines, x)

    def of_moves(singles: IntArray, *pair: IntArray) -> FloatArray:
        added = np.where(singles < lengths.shape[-1], 1, -1)
        tokens = added[pair[0]] + added[pair[1]] if pair else added
        return longer[tokens + 2, np.arange(len(lengths))]

    return of_moves


def _largest(score: FloatArray, count: int) -> IntArray:
    if count == len(score):
        return np.broadcast_to(np.arange(count)[:, None], score.shape)
    return np.argpartition(-score.T, count - 1, -1)[:, :count].T


def _singles(problem: Problem, lengths: FloatArray, phi: FloatArray) -> tuple[_Moves, FloatArray]:
    """Return moves (2K, n) that add a token to each user, then remove one from each; and P (n,)."""
    gain = problem.gain(lengths)
    longer = gain * problem.acceptance_rate if problem.token_table is None else problem.gain(lengths + 1.0)
    room = phi - problem.drafting(lengths)
    share, growth = problem.allocate(lengths, room)
    slope = growth / room
    tokens, shares, slopes = [], [], []
    for sign, allowed in ((1.0, lengths < problem.high), (-1.0, lengths > problem.low)):
        space = room - sign * problem.draft_time if problem.delay is None else phi - problem.drafting(lengths + sign)
        allowed = allowed & (space > 0.0)
        space = np.where(allowed, space, 1.0)
        moved, growth = problem.allocate(np.where(allowed, lengths + sign, 0.0), space)
        tokens.append(np.where(allowed, longer if sign > 0.0 else -gain, -np.inf))
        shares.append(moved - share)
        slopes.append(growth / space - slope)
    effects = (np.concatenate(effect, -1).T.copy() for effect in (tokens, shares, slopes))
    return _Moves(*effects), np.add.reduce(slope, -1)


def is_better(problem: Problem, candidates: FloatArray, value: FloatArray) -> BoolArray:
    """Return whether candidates (n, m, K) are in time and exceed the goodput ``value`` (n, 1) by more than rounding."""
    round_time = problem.tokens(candidates) / np.maximum(value * (1.0 + _ROUNDING), _LEAST_DIVISOR)
    if problem.tpot < np.inf:
        round_time = np.minimum(round_time, problem.longest_round(candidates) * (1.0 - _ROUNDING))
    return is_ready(problem, candidates, round_time)


def is_ready(problem: Problem, candidates: FloatArray, round_time: FloatArray) -> BoolArray:
    """Return whether candidates (n, m, K) fit into rounds of (n, m) s, so that their shares sum to at most one."""
    access_time = round_time - problem.verification_time(candidates)
    if not problem.simple:
        candidates, access_time = candidates.swapaxes(0, 1), access_time.T
        room = access_time[..., None] - problem.drafting(candidates)
        share, _ = problem.allocate(np.where(room > 0.0, candidates, 0.0), np.where(room > 0.0, room, 1.0))
        return ((room > 0.0).all(-1) & (share.sum(-1) <= 1.0)).T
    room = access_time[..., None] - candidates * problem.draft_time[:, None]
    fits = (room > 0.0).all(-1)
    share = problem.token_time[:, None] * candidates / np.where(room > 0.0, room, 1.0)
    return fits & (share.sum(-1) <= 1.0)
