"""Marginal tokens: what the l-th drafted token of a device adds to Σ E[N_k]."""

import numpy as np

from multispin_env.arrays import FloatArray, IntArray


def token_gains(acceptance_rate: FloatArray, counts: IntArray) -> FloatArray:
    """α_k^l for every l in ``counts``: the gain of the l-th token ([MS] 12); l = 0 is the server's own token.

    Parameters
    ----------
    acceptance_rate
        α (..., K).
    counts
        Token numbers l ≥ 0, (n,).

    Returns
    -------
    FloatArray
        Gains (..., K, n).
    """
    gains: FloatArray = np.power(acceptance_rate[..., None], counts)
    return gains
