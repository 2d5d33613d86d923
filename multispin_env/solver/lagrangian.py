"""Integer lengths for a latency and a price of bandwidth, without rounding anything (ours; system-model §4).

At latency φ device k needs the share w_k(l) = c_k l / (φ − l T_k) for l tokens, increasing and convex in l, while the
l-th token gains ω_k α_k^l, decreasing in l. At a price λ the best length is therefore the number of l with

    ω α^l (φ − l T) (φ − (l − 1) T) ≥ λ c φ.

With X = φ − (l − ½) T the product is X² − T²/4. Without the T²/4 the equation is that of `relaxed`, and its solution
is too long by less than one token: the length one below passes whenever the length itself does not. Where a token
costs κ tokens in the pass, ω α^l − κ takes the place of ω α^l, the condition still holds up to some l, and halving
finds it.
"""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.solver.omega import wright_omega
from multispin_env.solver.problem import TINY, Problem


def lagrangian_lengths(
    problem: Problem, latency: FloatArray, price: FloatArray, charge: FloatArray | None = None
) -> FloatArray:
    """Lengths that maximise Σ (ω E[N] − κ L) − λ Σ w at m pairs (φ, λ) for each instance.

    Parameters
    ----------
    problem
        The batch, n instances.
    latency, price
        φ in s and λ in tokens for the whole budget, (n, m), positive.
    charge
        κ (n,) in tokens; ``None`` is 0.

    Returns
    -------
    FloatArray
        Whole numbers (n, m, K) within the range of each length.
    """
    if charge is not None:
        return _charged_lengths(problem, latency[..., None], price[..., None], charge[:, None, None])
    draft, decay = problem.draft_time[:, None], problem.decay[:, None]
    phi = latency[..., None]
    weights = np.maximum(problem.weights[:, None], TINY)
    cost = np.log(price[..., None]) + np.log(problem.token_time[:, None] * phi / weights)
    half_rate = decay / (2.0 * draft)
    y = wright_omega(0.5 * (cost + decay / 2.0) + half_rate * phi + np.log(half_rate), 3)
    length = np.floor(phi / draft + 0.5 - 2.0 * y / decay)
    length = np.where(np.isnan(length), 0.0, length)  # two infinities, from absurd times
    length = np.minimum(np.maximum(length, problem.low[:, None]), problem.high[:, None])
    room = phi - length * draft
    product = room * (room + draft)
    earns = np.log(np.where(room > 0.0, product, TINY)) >= cost + decay * length
    kept: FloatArray = np.maximum(length - (~earns), problem.low[:, None])
    return kept


def _charged_lengths(problem: Problem, phi: FloatArray, price: FloatArray, charge: FloatArray) -> FloatArray:
    """The longest drafts whose last token still earns what it costs; φ, λ, κ are (n, m, 1), (n, m, 1), (n, 1, 1)."""
    draft, decay = problem.draft_time[:, None], problem.decay[:, None]
    cost = np.maximum(price * phi * problem.token_time[:, None], TINY)  # so that no token without a gain pays it
    length = np.broadcast_to(problem.low[:, None], cost.shape).astype(np.float64)
    gain = problem.weights[:, None] * np.exp(-decay * problem.low[:, None])  # ω α^l
    gain = np.broadcast_to(gain, cost.shape)
    longest = np.minimum(np.ceil(phi / draft) - 1.0, problem.high[:, None])  # that drafting leaves time to upload
    step = 2.0 ** int((problem.high - problem.low).max()).bit_length()
    while step > 1.0:
        step *= 0.5
        longer = length + step
        room = phi - longer * draft
        less = gain * np.exp(-decay * step)
        earns = (less - charge) * room * (room + draft) >= cost
        earns &= longer <= longest
        length, gain = np.where(earns, longer, length), np.where(earns, less, gain)
    return length
