"""Lossless speculative sampling: distributions of the next token, draws, acceptance and replacement.

Speculative sampling is that of Leviathan et al. (ICML 2023), with random numbers as arguments.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray, IntArray

Logits = NDArray[np.float32]

_TINY = np.finfo(np.float64).tiny


def probabilities(logits: Logits, temperature: float, model: str) -> FloatArray:
    """Return the distribution of the next token, (..., V); at temperature 0 the most likely token has 1.

    ``ValueError`` with the name of the ``model`` if the largest logit is not finite.
    """
    largest = logits.max(-1, keepdims=True)
    if not (finite := np.isfinite(largest)).all():
        raise ValueError(f"logits: expected finite numbers from {model!r}, got {float(largest[~finite][0])}")
    law = np.zeros(logits.shape)
    if temperature == 0.0:
        np.put_along_axis(law, logits.argmax(-1)[..., None], 1.0, -1)
        return law
    np.subtract(logits, largest, out=law, dtype=np.float64)
    law /= temperature
    np.exp(law, out=law)
    law /= law.sum(-1, keepdims=True)
    return law


def pick_tokens(law: FloatArray, uniform: FloatArray) -> IntArray:
    """Sample tokens (...) from ``law`` (..., V) by inversion; ``uniform`` (...) in [0, 1)."""
    cumulative = law.cumsum(-1)
    above = cumulative > (uniform * cumulative[..., -1])[..., None]
    return np.asarray(np.where(above[..., -1], above.argmax(-1), law.shape[-1] - 1))


def largest_tokens(law: FloatArray, kept: int) -> IntArray:
    """Return the ``kept`` most likely tokens (..., kept) of ``law`` (..., V), ascending."""
    return np.sort(np.argpartition(law, -kept, -1)[..., -kept:], -1)


def truncated(law: FloatArray, kept: int) -> FloatArray:
    """Return the ``kept`` largest probabilities of ``law`` (..., V), normalised; the others become 0."""
    if kept >= law.shape[-1]:
        return law
    tokens, few = largest_tokens(law, kept), np.zeros_like(law)
    largest = np.take_along_axis(law, tokens, -1)
    np.put_along_axis(few, tokens, largest / largest.sum(-1, keepdims=True), -1)
    return few


def overlap(target: FloatArray, draft: FloatArray) -> FloatArray:
    """Return Σ_x min(p, q) (...), the probability that a token drafted from q is accepted."""
    return np.minimum(np.minimum(target, draft).sum(-1), 1.0)


def acceptance(target: FloatArray, draft: FloatArray, token: IntArray) -> FloatArray:
    """Return β = min(1, p / q) of a drafted token (...) ([MS] 4), given both distributions (..., V)."""
    p, q = (np.take_along_axis(law, token[..., None], -1)[..., 0] for law in (target, draft))
    return np.minimum(p / np.maximum(q, _TINY), 1.0)


def confidences(draft: FloatArray, token: IntArray) -> FloatArray:
    """Return the `CONFIDENCES` (..., 3) of a drafted token (...), given the draft model's distribution (..., V)."""
    q = np.take_along_axis(draft, token[..., None], -1)[..., 0]
    second, first = np.moveaxis(np.partition(draft, -2, -1)[..., -2:], -1, 0)
    entropy = -(draft * np.log(np.maximum(draft, _TINY))).sum(-1) / math.log(draft.shape[-1])
    return np.stack([q, first - second, entropy], -1).clip(0.0, 1.0)


def residual(target: FloatArray, draft: FloatArray) -> FloatArray:
    """Return max(0, p − q) (..., V), the unnormalised distribution of the token that replaces a refused one."""
    rest = np.maximum(target - draft, 0.0)
    empty = rest.sum(-1, keepdims=True) <= 0.0  # p = q up to rounding
    return np.where(empty, target, rest)


class Verified(NamedTuple):
    """Result of the verification of drafts of several lengths."""

    accepted: IntArray  # accepted tokens of each draft, (b,)
    token: IntArray  # the token after them, (b,): it replaces a refused token, or is one more


def verify(
    target: FloatArray, draft: FloatArray, drafted: IntArray, length: IntArray, uniform: FloatArray, last: FloatArray
) -> Verified:
    """Accept a prefix of each draft and draw the next token, so that texts follow the target's distribution.

    The tokens ``drafted`` (b, L) were drawn from ``draft`` (b, L, V); those from a row's ``length`` (b,) on are
    padding. ``target`` (b, L + 1, V) is the target's distribution at each of them and after the last one. ``uniform``
    (b, L) and ``last`` (b,) are independent in [0, 1), for acceptance and for the next token.
    """
    rows, longest = drafted.shape
    beta = acceptance(target[:, :longest], draft, drafted)
    passes = (uniform < beta) & (np.arange(longest) < length[:, None])
    accepted = np.cumprod(passes, axis=1).sum(1).astype(np.int64)
    p = target[np.arange(rows), accepted]
    refused = np.flatnonzero(accepted < length)
    if len(refused):
        p[refused] = residual(p[refused], draft[refused, accepted[refused]])
    return Verified(accepted, pick_tokens(p, last))
