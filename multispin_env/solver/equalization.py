"""Equal latency: bandwidths with which all devices finish drafting and uploading at the same time.

The root φ of S = 1 is found by Newton's method on 1/S, which is increasing and concave (docs/reference/derivations.md,
1; not in the paper). The unknown is δ = φ − max_k L_k T_k, so that the shares of devices whose drafting takes nearly
all of φ keep all digits. From a start below the root, the method increases to the root and never overshoots. The start
is the larger of two lower bounds: the time of one device with the whole band, and, as 1/(φ − a) is convex in a, Σ c_k
L_k plus the mean of L_k T_k with weights c_k L_k.

All rows take `_STEPS` steps. As |(1/S)''| δ <= 2 (1/S)', a relative step of ε leaves an error of about ε²; the few rows
whose last step was larger continue separately. So no row depends on the others in its batch. The last step also
corrects the shares, to first order in ε and hence to all digits.

Arrays are transposed, users first and rows last: sums then add whole rows of memory, in a quarter of the time.
"""

from typing import NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.links import RateCurves
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

_STEPS = 5  # Steps of all rows, enough for 97 % of them even where uploads differ by a factor of 1e8
_CONVERGED = 1e-8  # Largest last step, relative to δ, after which only a rounding error remains

_MOST_STEPS, _LAST_STEP, _LAST_RETURN = 60, 1e-15, 1e-13
"""Limits of Newton's steps for rate curves, up and down; ten are usual, as S is about halved by the first ones."""

BLOCK_ENTRIES = 32_768
"""Entries of an array that are solved together, so that Newton's steps find them in the core's cache."""

MIN_TIME, MAX_TIME = 1e-130, 1e130
"""Times in s are clipped to this range, so that products of a few of them stay finite."""

_total = np.add.reduce
"""`numpy.sum` without its wrapper. Along the first axis of two or more columns it adds one user after the other."""


class EqualLatency(NamedTuple):
    """Latency and shares with which all devices finish together."""

    latency: FloatArray  # φ (...) s
    share: FloatArray  # B_k / B (..., K); sums to 1, or to 0 where no device drafts


def equal_latency(draft_length: FloatArray | IntArray, draft_time: FloatArray, token_time: FloatArray) -> EqualLatency:
    """Solve Σ_k c_k L_k / (φ − L_k T_k) = 1 for φ > max_k L_k T_k ([MS] 31, 32).

    Arrays (..., K): lengths L ≥ 0, integer or real, T in s/token, and c in s/token with the whole band. A device with L
    = 0 gets no share; φ = 0 if all lengths are 0.
    """
    return equal_finish(draft_length * draft_time, draft_length * token_time)


def equal_finish(drafting: FloatArray, uploading: FloatArray) -> EqualLatency:
    """Return `equal_latency` from drafting times L_k T_k (shorter with head starts) and uploads c_k L_k, (..., K) s."""
    if drafting.ndim == 1:
        return _solve_one(drafting, uploading)
    if len(drafting) == 1 and drafting.ndim == 2:
        latency, share = _solve_one(drafting[0], uploading[0])
        return EqualLatency(np.array([latency]), share[None])
    shape, users = drafting.shape, drafting.shape[-1]
    drafting, uploading = drafting.reshape(-1, users), uploading.reshape(-1, users)
    latency, share = np.empty(len(drafting)), np.empty(drafting.shape)
    count = max(1, BLOCK_ENTRIES // users)
    for start in range(0, len(drafting), count):
        rows = slice(start, start + count)
        latency[rows], share[rows] = _solve(drafting[rows], uploading[rows])
    return EqualLatency(latency.reshape(shape[:-1]), share.reshape(shape))


def equal_finish_on(curves: RateCurves, drafting: FloatArray, payload: FloatArray) -> EqualLatency:
    """Return `equal_finish` for rate curves, from times of drafting and access, and payloads bits / B in s, (..., K).

    A device without payload needs no time. S is convex and decreases for a concave rate, so Newton's steps on S = 1
    rise to the root from the time of one device with the whole band. They overshoot only as far as slopes of rates are
    too large, and then return.
    """
    sends = payload > 0.0
    slowest = np.where(sends, drafting, 0.0).max(-1, keepdims=True)
    lead = np.where(sends, slowest - drafting, 1.0)
    idle = ~sends.any(-1, keepdims=True)
    delta = np.where(idle, 1.0, np.where(sends, payload / curves.whole - lead, -np.inf).max(-1, keepdims=True))
    going, share, decline = ~idle, np.zeros_like(lead), np.zeros_like(lead)
    for _ in range(_MOST_STEPS):
        room = lead + delta
        new, growth = curves.allocate(payload / room)
        # a row that has converged does not depend on the others
        share, decline = np.where(going, (new, growth / room), (share, decline))
        used = np.add.reduce(share, -1, keepdims=True)
        error = (used - 1.0) / np.where(idle, 1.0, np.add.reduce(decline, -1, keepdims=True))
        step = np.where(going, error, 0.0)
        delta = delta + step
        going = (step > _LAST_STEP * delta) | (step < -_LAST_RETURN * delta)
        if not np.count_nonzero(going):
            break
    # S is off by the rounding errors of shares that hardly depend on the time: only these are corrected
    share = share - decline * error
    return EqualLatency(np.where(idle, 0.0, slowest + delta)[..., 0], share)


def finish_together(
    scenario: Scenario,
    state: SystemState,
    draft_length: FloatArray | IntArray,
    drafting: FloatArray,
    token_time: FloatArray,
) -> EqualLatency:
    """Return `equal_finish` for the link and the delays of a scenario.

    Arrays (..., K): lengths L in tokens, times of drafting in s, and c in s/token with the whole band at constant power
    density.
    """
    drafting, uploading = scenario.uplink.with_access(drafting, draft_length), draft_length * token_time
    curves = RateCurves.of(scenario, state.spectral_efficiency)
    if curves is None:
        return equal_finish(drafting, uploading)
    band_time = scenario.uplink.band_time
    efficiency = np.clip(state.spectral_efficiency, band_time / MAX_TIME, band_time / MIN_TIME)  # that of clipped times
    return equal_finish_on(curves, drafting, uploading * efficiency)


def share_slopes(
    scenario: Scenario, state: SystemState, draft_length: FloatArray, token_time: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return s, p and a (..., K) of ds_k = a_k dL_k + s_k d ln c_k − p_k dφ for the shares of `finish_together`.

    All arrays are (..., K), without head starts. With room ρ_k = φ − L_k T_k (less access), s_k is the share c_k L_k /
    ρ_k, p_k = s_k / ρ_k, and a_k = c_k (φ less access) / ρ_k². For other links the derivative e_k of the share with
    respect to ln (1 / ρ_k) replaces s_k, and a_k = e_k (1 / L_k + T_k / ρ_k).
    """
    at = finish_together(scenario, state, draft_length, draft_length * state.draft_time, token_time)
    busy = at.share > 0.0
    latency = at.latency[..., None] - scenario.uplink.access(draft_length)
    curves = RateCurves.of(scenario, state.spectral_efficiency)
    if curves is None:
        room = np.where(busy, draft_length * token_time / np.where(busy, at.share, 1.0), latency)  # no cancellation
        room = np.where(room > 0.0, room, 1.0)  # 0 if no device drafts
        growth, per_token = at.share, token_time * latency / room**2
    else:
        room = np.where(busy, latency - draft_length * state.draft_time, 1.0)
        growth = curves.allocate(draft_length * token_time * state.spectral_efficiency / room)[1]
        per_token = growth * (1.0 / np.where(busy, draft_length, 1.0) + state.draft_time / room)
    return growth, growth / room, per_token


def _solve(drafting: FloatArray, uploading: FloatArray) -> EqualLatency:
    if len(drafting) == 1:
        return _solve_one(drafting[0], uploading[0])
    lead, uploading = drafting.T.copy(), uploading.T.copy()
    slowest = np.maximum.reduce(lead, 0)
    np.subtract(slowest, lead, out=lead)
    total = _total(uploading, 0)
    idle = total == 0.0
    if np.count_nonzero(idle):  # any positive uploads avoid 0 / 0; the result is replaced below
        uploading[:, idle] = 1.0
        total = _total(uploading, 0)
    share, decline = np.subtract(uploading, lead), np.multiply(uploading, lead)
    delta = np.maximum(np.maximum.reduce(share, 0), total - _total(decline, 0) / total)
    for _ in range(_STEPS):
        step = _newton_step(delta, lead, uploading, share, decline)
        delta = delta + step
    unconverged = np.flatnonzero(step > _CONVERGED * delta)
    np.multiply(decline, step, out=decline)
    np.subtract(share, decline, out=share)
    if len(unconverged):
        delta[unconverged], share[:, unconverged] = _converge(
            delta[unconverged], lead.take(unconverged, 1), uploading.take(unconverged, 1)
        )
    latency = slowest + delta
    if np.count_nonzero(idle):
        latency[idle], share[:, idle] = 0.0, 0.0
    return EqualLatency(latency, share.T)


def _newton_step(
    delta: FloatArray, lead: FloatArray, uploading: FloatArray, share: FloatArray, decline: FloatArray
) -> FloatArray:
    """Return Newton's step of 1/S at δ, (n,), ≥ 0 up to rounding; write ``share`` and its negative slope, (K, n)."""
    np.add(lead, delta, out=decline)
    np.divide(uploading, decline, out=share)
    np.divide(share, decline, out=decline)
    used = _total(share, 0)
    return used * (used - 1.0) / _total(decline, 0)


def _solve_one(drafting: FloatArray, uploading: FloatArray) -> EqualLatency:
    """Return the same bits as `_solve` for one row (K,), with sums as Python floats and reused memory."""
    slowest = np.maximum.reduce(drafting)
    lead = slowest - drafting
    terms = np.empty((2, len(uploading)))  # terms of the sums; later shares and their negative slopes
    terms[0] = uploading
    share, decline = terms
    np.multiply(uploading, lead, decline)  # memory to reuse by position: faster than by name
    so_far = np.add.accumulate(terms, 1)  # one user after the other, as `_total` adds many rows
    sums = so_far[:, -1]
    total, weighted = sums.tolist()
    if total == 0.0:
        return EqualLatency(np.zeros_like(slowest), np.zeros_like(uploading))
    delta = max(float(np.maximum.reduce(uploading - lead)), total - weighted / total)
    for _ in range(_STEPS):
        np.add(lead, delta, decline)
        np.divide(uploading, decline, share)
        np.divide(share, decline, decline)
        np.add.accumulate(terms, 1, None, so_far)
        used, declined = sums.tolist()
        step = used * (used - 1.0) / declined
        delta = delta + step
    if step > _CONVERGED * delta:
        later, converged = _converge(np.array([delta]), lead[:, None], uploading[:, None])
        return EqualLatency(slowest + later[0], converged[:, 0])
    np.multiply(decline, step, out=decline)
    return EqualLatency(slowest + delta, share - decline)


def _converge(delta: FloatArray, lead: FloatArray, uploading: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Continue Newton's steps, users first (K, n), until all rows have converged; return δ (n,) and shares (K, n)."""
    if alone := len(delta) == 1:  # solved as a batch of two, so that sums add in the same order
        delta, lead, uploading = (np.repeat(array, 2, -1) for array in (delta, lead, uploading))
    share, decline = np.empty_like(uploading), np.empty_like(uploading)
    going = np.ones(delta.shape, dtype=bool)
    for _ in range(200):  # at most 20 are needed for the extreme instances of the tests
        step = _newton_step(delta, lead, uploading, share, decline)
        delta = np.where(going, delta + step, delta)
        going &= step > _CONVERGED * delta
        if not np.count_nonzero(going):
            break
    share = uploading / (lead + delta)
    share /= _total(share, 0)
    return (delta[:1], share[:, :1]) if alone else (delta, share)
