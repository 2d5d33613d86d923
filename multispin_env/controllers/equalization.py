"""The two equal-latency roots: all devices finish drafting and uploading at the same moment.

Given lengths L, φ is the unique root above max_k L_k T_k of S(φ) = Σ_k c_k L_k / (φ − L_k T_k) = 1 with
c_k = Q / (B r_k) ([MS] 31); device k then needs the share c_k L_k / (φ − L_k T_k) ([MS] 32). With L_k = 1 for
all it is ϑ* of the homogeneous case ([MS] 20, 21).

Method (ours): Newton on 1/S, which is increasing and concave, in δ = φ − max_k L_k T_k, so that the shares of
devices whose drafting nearly fills φ keep all digits. Started left of the root it climbs to it and never
overshoots; two lower bounds give the start: the time of the slowest device with the whole budget, and, as
1/(φ − a) is convex in a, the c-weighted mean of L_k T_k plus Σ c_k L_k.
"""

from typing import NamedTuple

import numpy as np

from multispin_env.checks import FloatArray, IntArray

MAX_STEPS = 200
"""Newton converges in about 5 steps, in at most 20 on the hostile instances of the tests."""

RELATIVE_STEP = 1e-15
"""A step this small against φ or δ is rounding."""


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
    slowest = drafting.max(-1, keepdims=True)
    head_start = slowest - drafting
    total = uploading.sum(-1, keepdims=True)
    idle = total == 0.0
    safe_total = np.where(idle, 1.0, total)
    delta = np.maximum(
        (uploading - head_start).max(-1, keepdims=True),
        total - (uploading / safe_total * head_start).sum(-1, keepdims=True),
    )
    delta = np.where(idle, 1.0, delta)
    nobody = idle.astype(np.float64)  # keeps 0/0 away where there is nothing to do
    for _ in range(MAX_STEPS):
        gap = delta + head_start
        share = uploading / gap
        used = share.sum(-1, keepdims=True)
        slope = (share / gap).sum(-1, keepdims=True)
        step = used * (used - 1.0) / (slope + nobody)
        # a row that is done stays as it is, so that no row depends on the others of its batch
        going = step > RELATIVE_STEP * delta
        if not going.any():
            break
        delta = np.where(going, delta + step, delta)
    share = uploading / (delta + head_start)
    used = np.where(idle, 1.0, share.sum(-1, keepdims=True))
    latency = np.where(idle, 0.0, slowest + delta)
    return EqualLatency(latency[..., 0], share / used)


def common_latency(draft_time: FloatArray, token_time: FloatArray) -> EqualLatency:
    """ϑ*, the equal latency of one token for each device, and its shares ([MS] 20, 21); any common L has the same."""
    return equal_latency(np.ones_like(draft_time), draft_time, token_time)
