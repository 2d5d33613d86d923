"""Integer lengths for a latency and a price of bandwidth, without rounding anything (ours; system-model §4).

At latency φ device k needs the share w_k(l) = c_k l / (φ − l T_k) for l tokens, increasing and convex in l, while the
l-th token gains ω_k α_k^l, decreasing in l. At a price λ the best length is therefore the number of l with

    ω α^l (φ − l T) (φ − (l − 1) T) ≥ λ c φ.

With X = φ − (l − ½) T the product is X² − T²/4. Without the T²/4 the equation is that of `relaxed`, and its solution
is too long by less than one token: the length one below passes whenever the length itself does not. Where a token
costs κ tokens in the pass, ω α^l − κ takes the place of ω α^l, and the same holds.
"""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.solver.problem import TINY, Problem
from multispin_env.solver.stationary import charged_omega, wright_omega


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
    draft, decay = problem.draft_time[:, None], problem.decay[:, None]
    phi = latency[..., None]
    weights = np.maximum(problem.weights[:, None], TINY)
    cost = np.log(price[..., None]) + np.log(problem.token_time[:, None] * phi / weights)
    half_rate = decay / (2.0 * draft)
    z = 0.5 * (cost + decay / 2.0) + half_rate * phi + np.log(half_rate)
    if charge is None:
        y = wright_omega(z, 3)
    else:
        scarcity = np.log(charge)[:, None, None] - np.log(weights)  # ln(κ / ω)
        y = charged_omega(z, scarcity + 2.0 * half_rate * phi + decay / 2.0, 3)[0]
    length = np.floor(phi / draft + 0.5 - 2.0 * y / decay)
    length = np.where(np.isnan(length), 0.0, length)  # two infinities, from absurd times
    length = np.minimum(np.maximum(length, problem.low[:, None]), problem.high[:, None])
    room = phi - length * draft
    product = room * (room + draft)
    if charge is not None:
        product = product * -np.expm1(np.minimum(scarcity + decay * length, 0.0))
    earns = np.log(np.where((room > 0.0) & (product > 0.0), product, TINY)) >= cost + decay * length
    kept: FloatArray = np.maximum(length - (~earns), problem.low[:, None])
    return kept
