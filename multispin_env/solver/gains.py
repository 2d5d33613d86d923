"""Marginal tokens: what the l-th drafted token of a device adds to Σ E[N_k], and tables of both.

Exponentials and powers take 3 to 8 times as long on a processor without AVX-512, and looking a number up takes less
than any of them. So α^l for every l comes from products, each of which doubles what is known.
"""

from typing import NamedTuple, Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray


def token_gains(acceptance_rate: FloatArray, counts: IntArray) -> FloatArray:
    """α_k^l (..., K, n) for token numbers l (n,): what the l-th token gains ([MS] 12); l = 0 is the server's own."""
    return np.power(acceptance_rate[..., None], counts)


class TokenTable(NamedTuple):
    """ω α^l and ω E[N | l] of N devices for l = 0 .. longest, and which devices are meant."""

    gains: FloatArray  # (longest + 1, N)
    tokens: FloatArray  # (longest + 1, N)
    column: FloatArray  # (n, K) whole numbers below N

    @classmethod
    def of(cls, acceptance_rate: FloatArray, weights: FloatArray, longest: int) -> Self:
        """Table of devices (n, K) with rates α and weights ω."""
        gains = np.empty((longest + 1, acceptance_rate.size))
        tokens = np.empty_like(gains)
        gains[0] = tokens[0] = weights.ravel()
        power, known = acceptance_rate.ravel(), 1
        while known <= longest:  # power is α^known
            more = min(known, longest + 1 - known)
            np.multiply(gains[:more], power, out=gains[known : known + more])
            np.multiply(tokens[:more], power, out=tokens[known : known + more])
            tokens[known : known + more] += tokens[known - 1]
            power, known = power * power, known + more
        return cls(gains, tokens, np.arange(float(acceptance_rate.size)).reshape(acceptance_rate.shape))

    def rows(self, rows: IntArray | BoolArray | slice) -> "TokenTable":
        """The table of some of the n instances."""
        return self._replace(column=self.column[rows])

    @property
    def of_candidates(self) -> "TokenTable":
        """The table for lengths (n, m, K), m of each instance."""
        return self._replace(column=self.column[:, None])

    def gain(self, lengths: FloatArray | IntArray) -> FloatArray:
        """ω α^l of lengths (..., n, K)."""
        return self.gains.take(self._places(lengths))

    def expected(self, lengths: FloatArray | IntArray) -> FloatArray:
        """ω E[N | l] of lengths (..., n, K)."""
        return self.tokens.take(self._places(lengths))

    def _places(self, lengths: FloatArray | IntArray) -> IntArray:
        return (lengths * float(self.gains.shape[1]) + self.column).astype(np.intp)
