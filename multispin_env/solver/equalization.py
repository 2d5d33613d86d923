"""The two equal-latency roots: all devices finish drafting and uploading at the same moment.

Given lengths L, φ is the unique root above max_k L_k T_k of S(φ) = Σ_k c_k L_k / (φ − L_k T_k) = 1 with
c_k = Q / (B r_k) ([MS] 31); device k then needs the share c_k L_k / (φ − L_k T_k) ([MS] 32). With L_k = 1 for
all it is ϑ* of the homogeneous case ([MS] 20, 21).

Method (ours): Newton on 1/S, which is increasing and concave, in δ = φ − max_k L_k T_k, so that the shares of
devices whose drafting nearly fills φ keep all digits. Started left of the root it climbs to it and never
overshoots; two lower bounds give the start: the time of one device with the whole budget, and, as 1/(φ − a) is
convex in a, the c-weighted mean of L_k T_k plus Σ c_k L_k.

`STEPS` steps are taken without asking. As |(1/S)''| δ <= 2 (1/S)', a relative step of ε leaves an error of about
ε²; the few rows whose last step was larger go on alone. So no row depends on the others of its batch.
"""

from typing import NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.rounds import largest

STEPS = 5
"""Steps that all rows take: enough for 97 % of them even where uploads differ by a factor of 1e8."""

MOST_STEPS = 200
"""Rows that go on stop here; at most 20 were ever needed on the hostile instances of the tests."""

SETTLED = 1e-8
"""A last step this small against δ leaves an error of rounding."""

BLOCK = 32_768
"""Numbers of an array that are solved together: Newton's steps go over them again and again, in the core's cache."""

_total = np.add.reduce
"""`numpy.sum` without its wrapper, which takes as long as the sum for one row.

The order of its additions depends on K alone, so one row and each row of many have the same sum, bit for bit. No
product with ones does that on every platform, and `numpy.einsum`, faster for many rows, is slower for one.
"""


class EqualLatency(NamedTuple):
    """The root and the shares that reach it."""

    latency: FloatArray  # φ (...) s
    share: FloatArray  # B_k / B (..., K); sums to 1, or to 0 where nobody drafts


def equal_latency(draft_length: FloatArray | IntArray, draft_time: FloatArray, token_time: FloatArray) -> EqualLatency:
    """Solve Σ_k c_k L_k / (φ − L_k T_k) = 1 for φ > max_k L_k T_k ([MS] 31, 32).

    Parameters
    ----------
    draft_length
        L (..., K) ≥ 0, integer or real. A device with L = 0 needs nothing; φ = 0 if all have.
    draft_time
        T (..., K) > 0 in s/token.
    token_time
        c (..., K) > 0 in s/token: upload of one token with the whole budget.

    Returns
    -------
    EqualLatency
        φ in s (...), shares (..., K).
    """
    drafting = draft_length * draft_time
    uploading = draft_length * token_time
    if drafting.ndim == 1:
        return _solve_one(drafting, uploading)
    if len(drafting) == 1 and drafting.ndim == 2:
        latency, share = _solve_one(drafting[0], uploading[0])
        return EqualLatency(np.array([latency]), share[None])
    if drafting.size <= 2 * BLOCK:
        return _solve(drafting, uploading)
    latency, rows = np.empty(drafting.shape[:-1]), -(-len(drafting) * BLOCK // drafting.size)
    for block in (slice(i, i + rows) for i in range(0, len(drafting), rows)):
        latency[block], uploading[block] = _solve(drafting[block], uploading[block])
    return EqualLatency(latency, uploading)


def _solve(drafting: FloatArray, uploading: FloatArray) -> EqualLatency:
    slowest = largest(drafting)
    head_start = slowest[..., None] - drafting
    total = _total(uploading, -1)
    idle = total == 0.0
    if np.count_nonzero(idle):  # any uploads do for a row without any
        busy = _solve(drafting, np.where(idle[..., None], 1.0, uploading))
        return EqualLatency(np.where(idle, 0.0, busy.latency), np.where(idle[..., None], 0.0, busy.share))
    delta = np.maximum(largest(uploading - head_start), total - _total(uploading * head_start, -1) / total)
    for _ in range(STEPS):
        step = _newton_step(delta, head_start, uploading)
        delta = delta + step
    unsettled = step > SETTLED * delta
    if np.count_nonzero(unsettled):
        delta[unsettled] = _settled(delta[unsettled], head_start[unsettled], uploading[unsettled])
    share = uploading / (delta[..., None] + head_start)
    share /= _total(share, -1)[..., None]
    return EqualLatency(slowest + delta, share)


def _newton_step(delta: FloatArray, head_start: FloatArray, uploading: FloatArray) -> FloatArray:
    """Newton's step of 1/S at δ, (...); not negative, up to rounding."""
    gap = delta[..., None] + head_start
    share = uploading / gap
    used = _total(share, -1)
    share /= gap
    step: FloatArray = used * (used - 1.0) / _total(share, -1)
    return step


def _solve_one(drafting: FloatArray, uploading: FloatArray) -> EqualLatency:
    """`_solve` for one row (K,), bit for bit: the same sums, with Python's numbers, in memory that is used again."""
    slowest = largest(drafting)
    head_start = slowest - drafting
    terms = np.empty((2, len(uploading)))  # what is summed; below the shares, and minus their slopes
    terms[0] = uploading
    share, decline = terms
    np.multiply(uploading, head_start, out=decline)
    total, weighted = _total(terms, -1).tolist()
    if total == 0.0:
        return EqualLatency(np.zeros_like(slowest), np.zeros_like(uploading))
    delta = max(float(largest(uploading - head_start)), total - weighted / total)
    gap = np.empty_like(head_start)
    for _ in range(STEPS):
        np.add(head_start, delta, out=gap)
        np.divide(uploading, gap, out=share)
        np.divide(share, gap, out=decline)
        used, declined = _total(terms, -1).tolist()
        step = used * (used - 1.0) / declined
        delta = delta + step
    if step > SETTLED * delta:
        delta = _settled(np.array([delta]), head_start[None], uploading[None])[0]
    share = uploading / (head_start + delta)
    share /= _total(share)
    return EqualLatency(slowest + delta, share)


def _settled(delta: FloatArray, head_start: FloatArray, uploading: FloatArray) -> FloatArray:
    """Go on with Newton's steps (rows, K) until each row is settled; settled rows stay as they are."""
    going = np.ones(delta.shape, dtype=bool)
    for _ in range(MOST_STEPS):
        step = _newton_step(delta, head_start, uploading)
        delta = np.where(going, delta + step, delta)
        going &= step > SETTLED * delta
        if not going.any():
            break
    return delta


def common_latency(draft_time: FloatArray, token_time: FloatArray) -> EqualLatency:
    """ϑ*, the equal latency of one token for each device, and its shares ([MS] 20, 21); any common L has the same."""
    return equal_latency(np.ones_like(draft_time), draft_time, token_time)


class Slopes(NamedTuple):
    """Derivatives of some number by what the root was solved for."""

    draft_length: FloatArray  # by L, (..., K)
    log_token_time: FloatArray  # by ln c, (..., K)


def equal_latency_slopes(
    at: EqualLatency,
    draft_length: FloatArray | IntArray,
    draft_time: FloatArray,
    token_time: FloatArray,
    by_share: FloatArray,
) -> Slopes:
    """Derivatives by lengths and uploads of a number, from those by the shares ``by_share`` (..., K) (ours).

    With room ρ_k = φ − L_k T_k, s_k = c_k L_k / ρ_k and p_k = s_k / ρ_k, the shares change by
    ds_k = (c_k φ / ρ_k²) dL_k + s_k d ln c_k − p_k dφ at held ΣS = 1, so that p_k dφ takes the mean, weighted by p,
    of what the other two add up to.

    Parameters
    ----------
    at
        What `equal_latency` found for the next three.
    draft_length, draft_time, token_time
        As there.
    by_share
        ∂ / ∂s_k.
    """
    uploading = draft_length * token_time
    busy = at.share > 0.0
    latency = at.latency[..., None]
    room = np.where(busy, uploading / np.where(busy, at.share, 1.0), latency)  # φ − L T, with all digits
    room = np.where(room > 0.0, room, 1.0)  # nobody drafts: nothing changes
    pull = at.share / room
    total = _total(pull, -1)[..., None]
    relative = by_share - _total(by_share * pull, -1)[..., None] / np.where(total > 0.0, total, 1.0)
    return Slopes(relative * token_time * latency / room**2, relative * at.share)
