"""Lossless speculative sampling (Leviathan et al., ICML 2023), with random numbers passed in."""

from typing import NamedTuple

import numpy as np
import torch as th

from multispin_env.arrays import FloatArray, IntArray


def probabilities(logits: th.Tensor, temperature: float) -> th.Tensor:
    """Law of the next token, (..., V) in float64; temperature 0 puts all on the likeliest token."""
    if temperature == 0.0:
        return th.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).double()
    return th.softmax(logits.double() / temperature, -1)


def pick_tokens(law: th.Tensor, uniform: FloatArray) -> IntArray:
    """Tokens (...) by the inverse of the distribution function of ``law`` (..., V); ``uniform`` (...) in [0, 1)."""
    cumulative = law.cumsum(-1)
    level = th.as_tensor(uniform, device=law.device, dtype=law.dtype) * cumulative[..., -1]
    token = th.searchsorted(cumulative, level[..., None].contiguous(), right=True)[..., 0]
    return np.asarray(token.clamp_max(law.shape[-1] - 1).cpu().numpy())


def overlap(target: th.Tensor, draft: th.Tensor) -> FloatArray:
    """Σ_x min(p, q): probability that a drafted token is accepted, before it is drawn; (...)."""
    return np.asarray(th.minimum(target, draft).sum(-1).clamp_max(1.0).cpu().numpy())


def acceptance(target: th.Tensor, draft: th.Tensor, token: IntArray) -> FloatArray:
    """β = min(1, p / q) of a drafted token (...) ([MS] 4), given both laws (..., V)."""
    index = th.as_tensor(token, device=target.device)[..., None]
    p, q = (law.gather(-1, index)[..., 0] for law in (target, draft))
    return np.asarray((p / q).clamp_max(1.0).cpu().numpy())


def residual(target: th.Tensor, draft: th.Tensor) -> th.Tensor:
    """Law (..., V), not normalised, of what takes the place of a refused token: max(0, p − q)."""
    rest = (target - draft).clamp_min(0.0)
    empty = rest.sum(-1, keepdim=True) <= 0.0  # p = q but for rounding: then nothing is refused in earnest
    return th.where(empty, target, rest)


class Verified(NamedTuple):
    """What a pass of the server says of drafts of several lengths."""

    accepted: IntArray  # drafted tokens that are accepted, (b,)
    token: IntArray  # the token behind them, (b,): in the place of a refused one, or one more


def verify(
    target: th.Tensor, draft: th.Tensor, drafted: IntArray, length: IntArray, uniform: FloatArray, last: FloatArray
) -> Verified:
    """Accept a prefix of each draft, and draw the token behind it, so that the text has the target's own law.

    The tokens ``drafted`` (b, L) were drawn from q (b, L, V), those at and behind a row's ``length`` (b,) are filling;
    p (b, L + 1, V) is the target's law before each of them, and behind the last one. Independent uniform numbers in
    [0, 1) decide: ``uniform`` (b, L) who is accepted, ``last`` (b,) what is drawn.
    """
    rows, longest = drafted.shape
    beta = acceptance(target[:, :longest], draft, drafted)
    good = (uniform < beta) & (np.arange(longest) < length[:, None])
    accepted = np.cumprod(good, axis=1).sum(1).astype(np.int64)
    refused = th.as_tensor(accepted < length, device=target.device)[:, None]
    at = th.arange(rows, device=target.device)
    place = th.as_tensor(accepted, device=target.device)
    p = target[at, place]
    if longest:
        p = th.where(refused, residual(p, draft[at, place.clamp_max(longest - 1)]), p)
    return Verified(accepted, pick_tokens(p, last))
