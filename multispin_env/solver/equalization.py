"""Equal-latency roots: all devices finish drafting and uploading at the same moment.

Method (ours; docs/reference/derivations.md, 1): Newton on 1/S, which is increasing and concave, in δ = φ − max_k L_k
T_k, so that the shares of devices whose drafting nearly fills φ keep all digits. Started left of the root it climbs to
it and never overshoots; two lower bounds give the start: the time of one device with the whole budget, and, as 1/(φ −
a) is convex in a, the c-weighted mean of L_k T_k plus Σ c_k L_k.

`_STEPS` steps are taken without asking. As |(1/S)''| δ <= 2 (1/S)', a relative step of ε leaves an error of about
ε²; the few rows whose last step was larger go on alone. So no row depends on the others of its batch. The last step
also corrects the shares, to first order in ε and so to all digits.

Users come first in here and rows last: sums then add whole rows of memory, in a quarter of the time.
"""

from typing import NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray, IntArray

_STEPS = 5  # Steps that all rows take: enough for 97 % of them even where uploads differ by a factor of 1e8
_SETTLED = 1e-8  # A last step this small against δ leaves an error of rounding

BLOCK_ENTRIES = 32_768
"""Numbers of an array that are solved together: Newton's steps go over them again and again, in the core's cache."""

_total = np.add.reduce
"""`numpy.sum` without its wrapper. Over the first axis of more than one row it adds one user after the other."""


class _EqualLatency(NamedTuple):
    latency: FloatArray  # φ (...) s
    share: FloatArray  # B_k / B (..., K); sums to 1, or to 0 where nobody drafts


def equal_latency(draft_length: FloatArray | IntArray, draft_time: FloatArray, token_time: FloatArray) -> _EqualLatency:
    """Solve Σ_k c_k L_k / (φ − L_k T_k) = 1 for φ > max_k L_k T_k ([MS] 31, 32).

    Arrays (..., K): lengths L ≥ 0, integer or real, T in s/token, and c in s/token with the whole budget. A device with
    L = 0 needs nothing; φ = 0 if all have.
    """
    return equal_finish(draft_length * draft_time, draft_length * token_time)


def equal_finish(drafting: FloatArray, uploading: FloatArray) -> _EqualLatency:
    """As `equal_latency`, for drafting times L_k T_k, or less with head starts, and upload times c_k L_k (..., K) s."""
    if drafting.ndim == 1:
        return _solve_one(drafting, uploading)
    if len(drafting) == 1 and drafting.ndim == 2:
        one = _solve_one(drafting[0], uploading[0])
        return _EqualLatency(np.array([one.latency]), one.share[None])
    shape, users = drafting.shape, drafting.shape[-1]
    drafting, uploading = drafting.reshape(-1, users), uploading.reshape(-1, users)
    latency, share = np.empty(len(drafting)), np.empty(drafting.shape)
    count = max(1, BLOCK_ENTRIES // users)
    for start in range(0, len(drafting), count):
        rows = slice(start, start + count)
        latency[rows], share[rows] = _solve(drafting[rows], uploading[rows])
    return _EqualLatency(latency.reshape(shape[:-1]), share.reshape(shape))


def _solve(drafting: FloatArray, uploading: FloatArray) -> _EqualLatency:
    if len(drafting) == 1:
        return _solve_one(drafting[0], uploading[0])
    head_start, uploading = drafting.T.copy(), uploading.T.copy()
    slowest = np.maximum.reduce(head_start, 0)
    np.subtract(slowest, head_start, out=head_start)
    total = _total(uploading, 0)
    idle = total == 0.0
    if np.count_nonzero(idle):  # any uploads do for a row without any
        uploading[:, idle] = 1.0
        total = _total(uploading, 0)
    share, decline = np.subtract(uploading, head_start), np.multiply(uploading, head_start)
    delta = np.maximum(np.maximum.reduce(share, 0), total - _total(decline, 0) / total)
    for _ in range(_STEPS):
        step = _newton_step(delta, head_start, uploading, share, decline)
        delta = delta + step
    unsettled = np.flatnonzero(step > _SETTLED * delta)
    np.multiply(decline, step, out=decline)
    np.subtract(share, decline, out=share)
    if len(unsettled):
        delta[unsettled], share[:, unsettled] = _settled(
            delta[unsettled], head_start.take(unsettled, 1), uploading.take(unsettled, 1)
        )
    latency = slowest + delta
    if np.count_nonzero(idle):
        latency[idle], share[:, idle] = 0.0, 0.0
    return _EqualLatency(latency, share.T)


def _newton_step(
    delta: FloatArray, head_start: FloatArray, uploading: FloatArray, share: FloatArray, decline: FloatArray
) -> FloatArray:
    """Newton's step of 1/S at δ, (n,), not negative up to rounding. Writes shares (K, n) and minus their slopes."""
    np.add(head_start, delta, out=decline)
    np.divide(uploading, decline, out=share)
    np.divide(share, decline, out=decline)
    used = _total(share, 0)
    return used * (used - 1.0) / _total(decline, 0)


def _solve_one(drafting: FloatArray, uploading: FloatArray) -> _EqualLatency:
    """`_solve` for one row (K,), bit for bit: the same sums, with Python's numbers, in memory that is used again."""
    slowest = np.maximum.reduce(drafting)
    head_start = slowest - drafting
    terms = np.empty((2, len(uploading)))  # what is summed; below the shares, and minus their slopes
    terms[0] = uploading
    share, decline = terms
    np.multiply(uploading, head_start, out=decline)
    so_far = np.add.accumulate(terms, 1)  # one user after the other, as `_total` adds many rows
    sums = so_far[:, -1]
    total, weighted = sums.tolist()
    if total == 0.0:
        return _EqualLatency(np.zeros_like(slowest), np.zeros_like(uploading))
    delta = max(float(np.maximum.reduce(uploading - head_start)), total - weighted / total)
    for _ in range(_STEPS):
        np.add(head_start, delta, out=decline)
        np.divide(uploading, decline, out=share)
        np.divide(share, decline, out=decline)
        np.add.accumulate(terms, 1, None, so_far)
        used, declined = sums.tolist()
        step = used * (used - 1.0) / declined
        delta = delta + step
    if step > _SETTLED * delta:
        later, settled = _settled(np.array([delta]), head_start[:, None], uploading[:, None])
        return _EqualLatency(slowest + later[0], settled[:, 0])
    np.multiply(decline, step, out=decline)
    return _EqualLatency(slowest + delta, share - decline)


def _settled(delta: FloatArray, head_start: FloatArray, uploading: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Go on with Newton's steps, users first (K, n), until each row is settled; settled rows stay as they are.

    Returns δ (n,) and the shares (K, n).
    """
    if alone := len(delta) == 1:  # in a batch, so that sums add in the same order
        delta, head_start, uploading = (np.repeat(array, 2, -1) for array in (delta, head_start, uploading))
    share, decline = np.empty_like(uploading), np.empty_like(uploading)
    going = np.ones(delta.shape, dtype=bool)
    for _ in range(200):  # at most 20 were ever needed on the hostile instances of the tests
        step = _newton_step(delta, head_start, uploading, share, decline)
        delta = np.where(going, delta + step, delta)
        going &= step > _SETTLED * delta
        if not np.count_nonzero(going):
            break
    share = uploading / (head_start + delta)
    share /= _total(share, 0)
    return (delta[:1], share[:, :1]) if alone else (delta, share)


def common_latency(draft_time: FloatArray, token_time: FloatArray) -> _EqualLatency:
    """ϑ*, the equal latency of one token for each device, and its shares ([MS] 20, 21); any common L has the same."""
    return equal_latency(np.ones_like(draft_time), draft_time, token_time)
