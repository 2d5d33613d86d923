"""Fast rule for integer lengths (not in the paper): best point of a ray through the relaxed optimum, then local moves.

Rounding each relaxed length moves φ by about sd = sqrt(Σ (∂φ/∂L_k)² / 12), so the ray φ* + t sd, λ ∝ φ, is searched
for t within a few units. With a fast uplink, drafting may leave little more than the time of two tokens for the upload.
Then shares change by large factors from token to token, φ is slightly above some l T_k, and the goodput along the ray
is rugged: such instances get a longer ray with more points, and several starts.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.rounds import goodput
from multispin_env.solver.moves import improve
from multispin_env.solver.pace import is_in_time, least_tpot
from multispin_env.solver.problem import TINY, Problem, in_blocks
from multispin_env.solver.relaxed import Ray, Relaxed, ray_lengths, relaxed_longest, relaxed_optimum
from multispin_env.solver.search import branch_and_bound

LONGEST_OFFSETS = np.arange(-2, 3)
"""Maximum draft lengths M tried for padded passes, relative to M of the relaxed optimum."""
_RUGGED = 0.4  # The search is thorough if T_k is more than this part of a device's upload time
_LEAST_UPLOAD = 1e-8  # Smallest c / T; for shorter uploads φ − L T has too few digits, and goodput changes by < 1e-8 K
_RAY_ENTRIES = 65_536  # Entries of candidates that are evaluated together, so that arrays stay in the core's cache


class _Effort(NamedTuple):
    reach: float  # largest |t|
    points: int  # number of coarse points
    starts: int  # best distinct points that moves improve
    tokens: float = 0.0  # smallest reach, in tokens of the slowest device
    between: int = 0  # extra points on each side of the best coarse points


_QUICK = _Effort(reach=8.0, points=13, starts=1)
_THOROUGH = _Effort(reach=20.0, points=129, starts=4, tokens=1.0)

_WIDE = _Effort(reach=20.0, points=33, starts=3, tokens=2.0, between=1)
"""Effort for pass times that depend on tokens: with instant uploads, φ moves by whole tokens of a device."""

_CROWDED = _Effort(reach=20.0, points=17, starts=1, tokens=2.0)
"""Effort in place of `_WIDE` for at least 256 users, where one token is a smaller part of the round."""

_SHORT_SEARCH: Mapping[str, Any] = {"tolerance": 5e-4, "rounds": 32}

_LONG, _FARTHEST = 1.0, 4.0
"""Limits of a reach relative to φ of the origin; a reach above the first is recomputed from actual rounding errors."""


def fast_lengths(problem: Problem) -> tuple[FloatArray, Relaxed]:
    """Return near-optimal integer lengths (n, K), and the relaxed optimum without the TPOT to 1e-3.

    If no lengths are in time, those with the shortest time per output token are returned. With other links or delays
    the first lengths lose up to 2 %, and a short search improves them; with a table of tokens it starts from the
    lengths for the acceptance rates, and the second result is near the lengths.
    """
    if problem.token_table is not None:
        return _lengths_by_table(problem)
    lengths, relaxed = first_lengths(problem)
    if problem.simple:
        return lengths, relaxed
    return branch_and_bound(problem, lengths, relaxed, **_SHORT_SEARCH).lengths, relaxed


@np.errstate(all="ignore")  # extreme numbers may overflow; results that are not finite are replaced below
def first_lengths(problem: Problem) -> tuple[FloatArray, Relaxed]:
    """Return lengths to start a search from; those of `fast_lengths` with the paper's link and without delays."""
    if problem.tpot == np.inf:
        lengths, relaxed = _fast_lengths(problem)
    else:
        lengths, relaxed = _fast_lengths(replace(problem, tpot=np.inf))
        lengths = _timely_lengths(problem, lengths, relaxed)
    return _or_none(problem, lengths) if problem.repeat_delay else lengths, relaxed


def _or_none(problem: Problem, lengths: FloatArray) -> FloatArray:
    """Replace lengths by zeros where a round without drafts, which waits for no repeated upload, is better."""
    none = np.zeros_like(lengths)
    better = (problem.value(none[:, None]) > problem.value(lengths[:, None]))[:, 0] & ~problem.low.any(-1)
    if problem.tpot < np.inf:
        better = (better | ~is_in_time(problem, lengths)) & is_in_time(problem, none) & ~problem.low.any(-1)
    return np.where(better[:, None], none, lengths)


def _general_lengths(problem: Problem) -> tuple[FloatArray, Relaxed]:
    """Return the lengths of the paper's link at the rates that devices have with their shares, improved by moves."""
    part = replace(problem, curves=None, delay=None)
    lengths, relaxed = _fast_lengths(part)
    for _ in range(0 if problem.curves is None else 2):
        token_time = problem.token_times_at(lengths)
        following, relaxed = _fast_lengths(replace(part, token_time=token_time))
        pairs = np.stack([lengths, following], 1)
        lengths = pairs[np.arange(len(pairs)), problem.value(pairs).argmax(-1)]
    lengths = lengths.astype(np.float64)
    return improve(problem, lengths, problem.latency(lengths[:, None])), relaxed


@np.errstate(all="ignore")
def _lengths_by_table(problem: Problem) -> tuple[FloatArray, Relaxed]:
    lengths, _ = fast_lengths(replace(problem, token_table=None))
    if not problem.padded:
        lengths = improve(problem, lengths, problem.latency(lengths[:, None]))
    relaxed = Relaxed.near(problem, lengths, problem.value(lengths[:, None])[:, 0])
    return branch_and_bound(problem, lengths, relaxed, tolerance=1e-6, rounds=32).lengths, relaxed


def _fast_lengths(problem: Problem) -> tuple[FloatArray, Relaxed]:
    if not problem.simple:
        return _general_lengths(problem)
    if ((least := _LEAST_UPLOAD * problem.draft_time) > problem.token_time).any():
        problem = replace(problem, token_time=np.maximum(problem.token_time, least))
    if problem.padded:
        return _padded_lengths(problem)
    relaxed = _finite(problem, relaxed_optimum(problem, 1e-3))  # the ray is much longer than this tolerance
    return _integer_lengths(problem, relaxed, _thorough_effort(problem)), relaxed


def _timely_lengths(problem: Problem, length: FloatArray, relaxed: Relaxed) -> FloatArray:
    # where these lengths are late, the best ones are at the boundary of the feasible set, on which the goodput jumps:
    # a short search finds them
    late = np.flatnonzero(~is_in_time(problem, length))
    if not len(late):
        return length
    length, part = length.copy(), problem[late]
    length[late] = least_tpot(part, problem.tpot).length
    rows = late[is_in_time(part, length[late])]
    if len(rows):
        part = problem[rows]
        start = improve(part, length[rows], part.latency(length[rows][:, None]))
        length[rows] = branch_and_bound(part, start, relaxed[rows], **_SHORT_SEARCH).lengths
    return length


def _thorough_effort(problem: Problem) -> _Effort:
    if problem.flat:
        return _THOROUGH
    return _WIDE if problem.low.shape[1] < 256 else _CROWDED


def _padded_lengths(problem: Problem) -> tuple[FloatArray, Relaxed]:
    longest, relaxed = relaxed_longest(problem, 1e-4)  # adjacent M are about equally good
    relaxed = _finite(problem, relaxed)
    ends = problem.low.max(-1), problem.high.max(-1)
    near = np.clip(longest[:, None] + LONGEST_OFFSETS, ends[0][:, None], ends[1][:, None])
    repeated = np.repeat(np.arange(len(problem)), near.shape[1])
    part = problem[repeated].with_longest(near.ravel().astype(np.int64))
    lengths = _integer_lengths(part, relaxed[repeated], _thorough_effort(problem)).reshape(*near.shape, -1)
    lengths = np.concatenate([lengths, problem.low[:, None]], 1)
    rows = np.arange(len(problem))
    return lengths[rows, problem.value(lengths).argmax(-1)], relaxed


def _integer_lengths(problem: Problem, relaxed: Relaxed, thorough: _Effort) -> FloatArray:
    phi = relaxed.latency[:, None]
    room = np.maximum(phi - relaxed.length * problem.draft_time, 1e-9 * phi)  # φ − L T, but positive
    busy: BoolArray = np.logical_or.reduce(relaxed.length > 0.0, -1)
    rugged: BoolArray = np.logical_or.reduce(problem.draft_time > _RUGGED * room, -1)
    lengths = np.zeros_like(relaxed.length)
    for rows, effort in ((busy & ~rugged, _QUICK), (busy & rugged, thorough)):
        if rows.all():
            return _search_ray(problem, relaxed, room, effort)
        if rows.any():
            lengths[rows] = _search_ray(problem[rows], relaxed[rows], room[rows], effort)
    return lengths


def _finite(problem: Problem, relaxed: Relaxed) -> Relaxed:
    if all(np.isfinite(array).all() for array in vars(relaxed).values()):
        return relaxed
    length = np.where(np.isfinite(relaxed.length), relaxed.length, problem.low)
    latency = problem.latency(length[:, None])[:, 0]
    price = np.where(np.isfinite(relaxed.price), relaxed.price, 1.0)
    value = np.where(np.isfinite(relaxed.value), relaxed.value, 0.0)
    return Relaxed(length, np.maximum(latency, TINY), price, value, relaxed.slope)


def _search_ray(problem: Problem, relaxed: Relaxed, room: FloatArray, effort: _Effort) -> FloatArray:
    size = max(1, _RAY_ENTRIES // (effort.points * problem.low.shape[1]))
    lengths, latency = in_blocks(partial(_best_on_ray, effort=effort), size, problem, relaxed, room)
    _try_shortest(problem, lengths, latency)
    if effort.starts == 1:
        return _try_first_token(problem, improve(problem, lengths[:, 0], latency))
    rows = np.repeat(np.arange(len(problem)), effort.starts)
    ends = improve(problem[rows], lengths.reshape(len(rows), -1), latency.reshape(-1, 1), effort.starts)
    ends = ends.reshape(lengths.shape)
    return _try_first_token(problem, ends[np.arange(len(problem)), problem.value(ends).argmax(-1)])


def _try_first_token(problem: Problem, lengths: FloatArray) -> FloatArray:
    """Improve lengths from a single token where it pays but no device drafts yet, since moves require φ > 0."""
    idle = np.flatnonzero(~lengths.any(-1))
    if not len(idle):
        return lengths
    part, token = problem[idle], np.eye(lengths.shape[-1])
    latency = np.where(part.high > 0, part.draft_time + part.token_time, np.inf)
    tokens = part.weights.sum(-1, keepdims=True) + part.weights * part.acceptance_rate
    value = goodput(tokens, latency, part.verification_time(token[None, :1]))
    better = value.max(-1) > part.value(lengths[idle][:, None])[:, 0]
    if better.any():
        user = value.argmax(-1)[better]
        lengths[idle[better]] = improve(part[better], token[user], latency[better, user][:, None])
    return lengths


def _try_shortest(problem: Problem, lengths: FloatArray, latency: FloatArray) -> None:
    low, first = problem.low, lengths[:, :1]
    value = goodput(problem.tokens(first), latency[:, :1], problem.verification_time(first))[:, 0]
    most = np.add.reduce(problem.weights * (1.0 + problem.acceptance_rate * low), -1)  # upper bound on tokens
    least = np.add.reduce(problem.token_time * low, -1)  # lower bound on φ
    rows = np.flatnonzero(goodput(most, least, problem.verification_time(low[:, None])[:, 0]) > value)
    if len(rows):
        part = problem[rows]
        better = part.value(part.low[:, None])[:, 0] > value[rows]
        rows, part = rows[better], part[better]
        lengths[rows, -1], latency[rows, -1] = part.low, part.latency(part.low[:, None])[:, 0]


def _best_on_ray(
    problem: Problem, relaxed: Relaxed, room: FloatArray, effort: _Effort
) -> tuple[FloatArray, FloatArray]:
    finer = effort.between + 1
    ray = _ray(problem, relaxed, room, effort, (effort.points - 1) * finer + 1)
    candidates = ray_lengths(problem, ray, relaxed.length)
    coarse = np.arange(0, ray.points, finer)
    latencies = ray.latencies
    value = np.full(latencies.shape, -np.inf)
    value[coarse] = _estimated(problem, candidates[coarse], latencies[coarse])
    tokens = np.add.reduce(candidates, -1) if effort.starts > 1 or effort.between else None
    columns = np.arange(len(problem))
    if effort.between:
        centres = _distinct_best(value, tokens, 3)
        near = centres[:, None] + np.delete(np.arange(-effort.between, effort.between + 1), effort.between)[:, None]
        near = np.clip(near, 0, ray.points - 1).reshape(-1, len(problem))
        value[near, columns] = _estimated(problem, candidates[near, columns], latencies[near, columns])
    lengths = candidates[_distinct_best(value, tokens, effort.starts), columns].swapaxes(0, 1)
    return lengths, problem.latency(lengths)


def _ray(problem: Problem, relaxed: Relaxed, room: FloatArray, effort: _Effort, points: int) -> Ray:
    length = relaxed.length
    reach = _reach(problem, relaxed, room, effort, 1.0, length > 0.0)
    if (long := reach > _LONG).any():
        long &= length.max(-1) > 0.5  # a device drafts
        moved = np.minimum(np.sqrt(12.0) * np.abs(length - np.rint(length)), 1.0)
        shorter = _reach(problem, relaxed, room, effort, moved, np.minimum(length, 1.0))
        reach = np.where(long, np.clip(shorter, _LONG, _FARTHEST), reach)
    price = np.maximum(relaxed.price, TINY)
    return Ray(relaxed.latency, price, relaxed.value * relaxed.slope, 1.0 - reach, 2.0 * reach / (points - 1), points)


def _reach(
    problem: Problem,
    relaxed: Relaxed,
    room: FloatArray,
    effort: _Effort,
    moved: FloatArray | float,
    token: FloatArray | BoolArray,
) -> FloatArray:
    """Return the reach (n,) relative to φ if rounding moves lengths by ``moved`` sd; ``token`` scales draft times."""
    per_token = problem.token_time / (room * room)  # ∂φ/∂L_k, times P / φ
    pull = np.maximum(np.add.reduce(per_token * relaxed.length, -1), TINY)
    per_token = per_token * moved
    spread = np.sqrt(np.add.reduce(per_token * per_token, -1) / 12.0) / pull  # sd / φ
    if effort.tokens:
        slowest = (token * problem.draft_time).max(-1)
        spread = np.maximum(spread, effort.tokens * slowest / np.maximum(effort.reach * relaxed.latency, TINY))
    return effort.reach * spread


@np.errstate(over="ignore", divide="ignore", invalid="ignore")  # for extreme numbers
def _estimated(problem: Problem, candidates: FloatArray, latency: FloatArray) -> FloatArray:
    drafting, uploading = candidates * problem.draft_time, candidates * problem.token_time
    least = np.maximum.reduce(drafting + uploading, -1)
    for _ in range(2):  # two steps suffice from a start this close
        latency = np.maximum(latency, least)
        gap = latency[..., None] - drafting
        share = uploading / gap
        used = np.add.reduce(share, -1)
        share /= gap
        latency = latency + used * (used - 1.0) / np.maximum(np.add.reduce(share, -1), TINY)
    latency = np.where(used > 0.0, np.maximum(latency, least), 0.0)
    tokens = np.add.reduce(problem.expected(candidates), -1)
    value = goodput(tokens, latency, problem.verification_time(candidates.swapaxes(0, 1)).T)
    return np.where(np.isnan(value), -np.inf, value)


def _distinct_best(value: FloatArray, tokens: FloatArray | None, count: int) -> IntArray:
    """Return positions (count, n) of the largest values (m, n) in descending order, with distinct numbers of tokens.

    Lengths increase along the ray, so that points with the same number of tokens (m, n) have the same lengths.
    """
    columns, positions = np.arange(value.shape[1]), [value.argmax(0)]
    while len(positions) < count and tokens is not None:
        value = np.where(tokens == tokens[positions[-1], columns], -np.inf, value)
        positions.append(value.argmax(0))
    return np.array(positions)
