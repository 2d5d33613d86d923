"""The paper's closed form of the best common draft length ([MS] §IV-A)."""

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.draft import expected_tokens
from multispin_env.physics.links import lambert_excess
from multispin_env.physics.rounds import goodput
from multispin_env.solver.equalization import EqualLatency, equal_latency


def common_latency(draft_time: FloatArray, token_time: FloatArray) -> EqualLatency:
    """Return ϑ*, the equal latency of one token per device, and its shares, valid for any common L ([MS] 20, 21)."""
    return equal_latency(np.ones_like(draft_time), draft_time, token_time)


def homogeneous_draft_length(
    acceptance_rate: FloatArray,
    token_latency: FloatArray,
    verification_time: FloatArray | float,
    max_draft_length: int = 25,
) -> IntArray:
    """Return the best common draft length of devices with one common α, in closed form ([MS] 23, 24).

    It maximises (1 − α^{L+1}) / (1 − α) / (L ϑ* + T_ver), which has a single peak, over integers L in 1..L_max. With
    x = T_ver/ϑ*, if x > (1 − α)/(α |ln α|), the real optimum is L̃ = −ln(−W₋₁(−α^{x−1}/e))/ln α − 1, and the better of
    its floor and ceiling is optimal. Otherwise L = 1 is optimal. Lengths have the broadcast shape of the first three
    arguments.

    Parameters
    ----------
    acceptance_rate
        α in [0, 1].
    token_latency
        ϑ* in s/token, > 0.
    verification_time
        T_ver in s, > 0.
    max_draft_length
        L_max, default 25.

    Examples
    --------
    >>> import numpy as np
    >>> from multispin_lab.reproduce.closed_form import homogeneous_draft_length
    >>> homogeneous_draft_length(np.array([0.5, 0.8, 0.95]), token_latency=0.02, verification_time=0.1)
    array([ 1,  4, 10])
    """
    alpha, theta, t_ver = np.broadcast_arrays(acceptance_rate, token_latency, verification_time)
    inner = (alpha > 0.0) & (alpha < 1.0)
    decay = -np.log(np.where(inner, alpha, 0.5))  # |ln α|
    x = t_ver / theta
    with np.errstate(over="ignore"):  # for a subnormal α the threshold is ∞, as for 0
        threshold = (1.0 - alpha) / np.where(inner, alpha * decay, 1.0)
    long = inner & (x > threshold)
    excess = lambert_excess(np.where(long, (x - 1.0) * decay, 0.0))
    certain = (alpha == 1.0) & (x > 1.0)  # then (L + 1) / (L ϑ* + T_ver) increases with L
    relaxed = np.where(long, np.log1p(excess) / decay - 1.0, np.where(certain, max_draft_length, 1.0))
    floor = np.clip(np.floor(relaxed), 1, max_draft_length)
    ceiling = np.minimum(floor + 1, max_draft_length)

    def value(length: FloatArray) -> FloatArray:
        return goodput(expected_tokens(length, alpha), length * theta, t_ver)

    return np.where(value(ceiling) > value(floor), ceiling, floor).astype(np.int64)
