"""Tokens gained by a draft, and the verification time T_ver of a pass of the server."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.scenario import Scenario

LengthLaw = Callable[[IntArray, FloatArray], FloatArray]
"""Function of draft lengths L and acceptance rates α, such as `expected_tokens`."""


def _log_acceptance(acceptance_rate: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):  # ln 0 = −∞ is intended
        return np.log(acceptance_rate)


@dataclass(frozen=True, slots=True, eq=False)
class TokenLaw:
    """Terms of E[N | L] that depend only on the acceptance rates α, computed once for many draft lengths."""

    log_acceptance: FloatArray  # ln α
    minus_miss: FloatArray  # α − 1, and −1 where α = 1
    certain: BoolArray | None  # where α = 1; None if nowhere

    @classmethod
    def of(cls, acceptance_rate: FloatArray) -> Self:
        """Make the law of rates α in [0, 1], of any shape."""
        alpha = np.asarray(acceptance_rate, dtype=np.float64)
        minus_miss = alpha - 1.0
        certain = minus_miss == 0.0
        if not np.count_nonzero(certain):
            return cls(_log_acceptance(alpha), minus_miss, None)
        return cls(_log_acceptance(alpha), np.where(certain, -1.0, minus_miss), certain)

    def rows(self, rows: IntArray | BoolArray) -> "TokenLaw":
        """Return the law of these rows."""
        certain = None if self.certain is None else self.certain[rows]
        return TokenLaw(self.log_acceptance[rows], self.minus_miss[rows], certain)

    def expected(self, draft_length: FloatArray | IntArray) -> FloatArray:
        """Return `expected_tokens` of draft lengths L, broadcast against α."""
        count = np.add(draft_length, 1.0)
        # expm1 keeps all digits where α^{L+1} is close to 1
        tokens: FloatArray = np.expm1(count * self.log_acceptance) / self.minus_miss
        return tokens if self.certain is None else np.where(self.certain, count, tokens)


def expected_tokens(draft_length: FloatArray | IntArray, acceptance_rate: FloatArray) -> FloatArray:
    """Return E[N | L] = (1 − α^{L+1}) / (1 − α), and L + 1 at α = 1 ([MS] 12).

    Parameters
    ----------
    draft_length
        L ≥ 0 in tokens, integer or real, broadcast against α.
    acceptance_rate
        α in [0, 1]; exact to rounding at and near both ends.

    Examples
    --------
    >>> import numpy as np
    >>> from multispin_env.physics.tokens import expected_tokens
    >>> expected_tokens(2, np.array([0.0, 0.5, 1.0]))
    array([1.  , 1.75, 3.  ])
    """
    return TokenLaw.of(acceptance_rate).expected(draft_length)


def tokens_from_exponential(draft_length: IntArray, acceptance_rate: FloatArray, exponential: FloatArray) -> FloatArray:
    """Return tokens N of [MS] (11) from standard exponential variables: N − 1 = min(L, ⌊x / |ln α|⌋).

    P(⌊x / |ln α|⌋ ≥ n) = P(x ≥ n |ln α|) = α^n, the probability that n drafted tokens in a row are accepted.
    """
    alpha = np.asarray(acceptance_rate, dtype=np.float64)
    rate = -_log_acceptance(alpha)
    with np.errstate(divide="ignore", over="ignore"):  # α at or near 1: all tokens are accepted
        run = np.where(alpha == 1.0, np.inf, exponential / np.where(alpha == 1.0, 1.0, rate))
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


def pass_tokens(scenario: Scenario, draft_length: FloatArray | IntArray) -> FloatArray | IntArray:
    """Return the tokens n (...) of a pass that verifies drafts (..., K): drafted tokens, padding, and one per draft."""
    return scenario.law.tokens(draft_length, draft_length.shape[-1])


def verification_time(
    scenario: Scenario,
    draft_length: FloatArray | IntArray,
    verified: BoolArray | None = None,
    prompt: IntArray | None = None,
    context: IntArray | None = None,
) -> FloatArray:
    """Return T_ver (...) in seconds of the pass that verifies drafts (..., K), by the scenario's law.

    With a mask ``verified`` (..., K), the pass holds only the drafts of these devices. Then ``prompt`` (..., K) adds
    prompt tokens, which are never padded, and ``context`` (..., K) is the number of tokens whose cache the pass reads;
    the default is the scenario's ``context``.
    """
    law, time = scenario.law, np.empty(draft_length.shape[:-1])
    drafts = draft_length.shape[-1] if verified is None else np.add.reduce(verified, -1)
    if law.flat:  # faster, since tokens need not be counted
        time[...] = law.time_of_drafts(drafts) + law.start
    else:
        tokens = law.tokens(draft_length if verified is None else np.where(verified, draft_length, 0), drafts)
        if verified is not None and prompt is not None:
            tokens = tokens + np.add.reduce(np.where(verified, prompt, 0), -1)
        time[...] = law.time(drafts, tokens)
    if verified is not None and context is not None:
        time += scenario.context_time * np.add.reduce(np.where(verified, context - scenario.context, 0), -1)
    return time[()]
