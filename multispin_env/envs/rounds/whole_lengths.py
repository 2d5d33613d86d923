"""Derivatives of the expected reward by lengths that are rounded (ours).

With whole lengths the reward of one round is a staircase in a real length. Its mean over many rounds is not: where the
length passes the middle between two whole ones, the reward changes by what one token more is worth, and how often it is
there depends smoothly on the policy. So a length within half a window of such a middle has the derivative
(reward above − reward below) / window, and any other length has none; as the window shrinks, the mean over rounds goes
to the derivative of the mean reward.

A round lasts as long as its slowest device, so that a token more rarely pays for one device alone, and often for all
together. What all lengths together change is therefore looked at from further off, `COMMON` windows apart.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.envs.rounds.encodings import RoundsCodec
from multispin_env.physics.rounds import price
from multispin_env.physics.types import Decision, SystemState

COMMON = 2.5
"""Windows between the two sets of lengths, all longer and all shorter, whose difference is the sum of the derivatives.

Without it policies got stuck at lengths, or at 0, from which no single step leads away.
"""


class Passed(NamedTuple):
    """Which lengths are so near to a middle that they count."""

    rows: IntArray  # (m,) copies; one for each length that counts
    users: BoolArray  # (m, K) whose length it is
    other: IntArray  # (n, K) whole length on the other side of the middle
    side: IntArray  # (n, K) 1 where that is the longer one, else −1; 0 at the ends of the range


def whole_length_slopes(
    codec: RoundsCodec,
    state: SystemState,
    planned: SystemState,
    expected_tokens: Callable[[IntArray], FloatArray],
    action: FloatArray,
    length: FloatArray,
    weights: FloatArray | float,
    window: float,
) -> FloatArray:
    """Derivatives (n, K) of Σ_k ω_k N_k / T_e2e by the real lengths that an action means, and that are rounded.

    ``state`` prices the round, ``planned`` decodes actions, the weights are ω, and the window is in tokens.
    """

    def value(rows: IntArray | slice, decision: Decision, tokens: FloatArray) -> FloatArray:
        """Σ_k ω_k N_k / T_e2e (m,) of decisions (m, K) in these copies."""
        own = weights[rows] if isinstance(weights, np.ndarray) else weights
        outcome = price(codec.scenario, state[rows], decision, tokens)
        found: FloatArray = np.add.reduce(own * outcome.tokens, -1) / outcome.round_latency
        return found

    def shifted(length: FloatArray) -> FloatArray:
        """The same (n,) with other real lengths, rounded."""
        whole = np.rint(length).clip(*codec.length_range).astype(np.int64)
        decision = Decision(whole, codec.bandwidth(action, whole.astype(np.float64), planned))
        return value(slice(None), decision, expected_tokens(whole))

    whole = codec.decode(action, planned)
    rows, users, other, side = _passed(length, whole.draft_length, codec, window)
    tokens = expected_tokens(whole.draft_length)
    before = value(slice(None), whole, tokens)
    changed = np.where(users, other[rows], whole.draft_length[rows])
    decision = Decision(changed, codec.bandwidth(action[rows], changed.astype(np.float64), planned[rows]))
    after = value(rows, decision, np.where(users, expected_tokens(other)[rows], tokens[rows]))
    gain = (after - before[rows]) / window / users.sum(-1)
    slopes = np.zeros_like(length)
    index, user = np.nonzero(users)
    slopes[rows[index], user] = gain[index] * side[rows[index], user]
    longer, shorter = (shifted(length + side * 0.5 * COMMON * window) for side in (1.0, -1.0))
    missing = (longer - shorter) / (COMMON * window) - slopes.sum(-1)
    return slopes + (missing / length.shape[-1])[:, None]


def _passed(length: FloatArray, whole: IntArray, codec: RoundsCodec, window: float) -> Passed:
    low, high = codec.length_range
    other = np.where(length >= whole, whole + 1, whole - 1).clip(low, high)
    near = (other != whole) & (np.abs(length - 0.5 * (whole + other)) < 0.5 * window)
    if codec.common_draft_length:
        rows = np.flatnonzero(near[:, 0])
        users = np.ones((len(rows), length.shape[-1]), dtype=bool)
    else:
        rows, user = np.nonzero(near)
        users = np.arange(length.shape[-1]) == user[:, None]
    return Passed(rows, users, other, other - whole)
