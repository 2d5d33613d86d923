"""Integer lengths for a given latency: tokens in order of gain per share of bandwidth (ours).

At latency φ device k needs the share w_k(l) = c_k l / (φ − l T_k) for l tokens, increasing and convex in l, while
the l-th token gains ω_k α_k^l, decreasing in l. The Lagrangian optimum therefore takes the tokens whose gain is at
least λ (w_k(l) − w_k(l − 1)), and letting λ fall from ∞ takes them one at a time, in order of gain per share.
"""

import numpy as np

from multispin_env.checks import FloatArray, IntArray


def marginal_shares(
    latency: FloatArray, draft_time: FloatArray, token_time: FloatArray, counts: IntArray
) -> FloatArray:
    """w_k(l) − w_k(l − 1) for every l in ``counts``; ∞ where l tokens cannot be drafted within φ.

    Parameters
    ----------
    latency
        φ (...) in s.
    draft_time, token_time
        T and c (..., K) in s/token.
    counts
        l ≥ 1, (n,).

    Returns
    -------
    FloatArray
        (..., K, n): c φ / ((φ − l T) (φ − (l − 1) T)), which is the difference without its cancellation.
    """
    phi = latency[..., None, None]
    after = phi - draft_time[..., None] * counts
    before = phi - draft_time[..., None] * (counts - 1)
    possible = after > 0.0
    room = np.where(possible, after * before, 1.0)
    return np.where(possible, token_time[..., None] * phi / room, np.inf)


def greedy_lengths(gains: FloatArray, shares: FloatArray) -> IntArray:
    """Take tokens in order of gain per share until the budget 1 is used up.

    Parameters
    ----------
    gains, shares
        Of each token (..., K, n); in every row gain per share falls with the token number.

    Returns
    -------
    IntArray
        Number of tokens taken of each device (..., K).
    """
    flat = (*gains.shape[:-2], -1)
    worth = (gains / shares).reshape(flat)
    order = np.argsort(-worth, axis=-1, kind="stable")
    used = np.take_along_axis(shares.reshape(flat), order, -1).cumsum(-1)
    taken = np.empty(worth.shape, dtype=bool)
    np.put_along_axis(taken, order, used <= 1.0, -1)
    lengths: IntArray = taken.reshape(gains.shape).sum(-1, dtype=np.int64)
    return lengths
