"""Random tokens gained by a draft."""

from collections.abc import Callable

import numpy as np

from multispin_env.arrays import FloatArray, IntArray

LengthLaw = Callable[[IntArray, FloatArray], FloatArray]
"""Function of draft lengths L and acceptance rates α, such as `expected_tokens`."""


def tokens_from_exponential(draft_length: IntArray, acceptance_rate: FloatArray, exponential: FloatArray) -> FloatArray:
    """Return tokens N of [MS] (11) from standard exponential variables: N − 1 = min(L, ⌊x / |ln α|⌋).

    P(⌊x / |ln α|⌋ ≥ n) = P(x ≥ n |ln α|) = α^n, the probability that n drafted tokens in a row are accepted.
    """
    alpha = np.asarray(acceptance_rate, dtype=np.float64)
    with np.errstate(divide="ignore", over="ignore"):  # α at 0, and at or near 1: all tokens are accepted
        run = np.where(alpha == 1.0, np.inf, exponential / np.where(alpha == 1.0, 1.0, -np.log(alpha)))
    return np.minimum(np.floor(run), draft_length) + 1.0


def sample_tokens(draft_length: IntArray, acceptance_rate: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draw N_k: P(N = n) = α^{n−1} (1 − α) for n = 1..L, P(N = L + 1) = α^L ([MS] 11).

    Parameters
    ----------
    draft_length, acceptance_rate
        L and α, broadcast together.
    rng
        Random generator; one draw for each entry.

    Examples
    --------
    >>> import numpy as np
    >>> from multispin_env.physics.tokens import sample_tokens
    >>> sample_tokens(2, np.array([0.0, 1.0]), np.random.default_rng(0))
    array([1., 3.])
    """
    shape = np.broadcast_shapes(np.shape(draft_length), np.shape(acceptance_rate))
    return tokens_from_exponential(draft_length, acceptance_rate, rng.standard_exponential(shape))
