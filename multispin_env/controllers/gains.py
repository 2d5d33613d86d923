"""Marginal tokens: what the l-th drafted token of a device adds to Σ ω_k E[N_k]."""

import numpy as np

from multispin_env.checks import FloatArray, IntArray


def token_gains(acceptance_rate: FloatArray, counts: IntArray, weights: FloatArray | None = None) -> FloatArray:
    """ω_k α_k^l for every l in ``counts``: the gain of the l-th token ([MS] 12); l = 0 is the server's own token.

    Parameters
    ----------
    acceptance_rate
        α (..., K).
    counts
        Token numbers l ≥ 0, (n,).
    weights
        ω (..., K), or ``None`` for 1.

    Returns
    -------
    FloatArray
        Gains (..., K, n).
    """
    gains: FloatArray = np.power(acceptance_rate[..., None], counts)
    return gains if weights is None else weights[..., None] * gains
