"""Drafting ahead: the chain of tokens that a device goes on to draft while its draft is sent and verified (ours).

A cycle of a device begins with a chain of A tokens, its head start. The chain grows by a token every T seconds, and the
upload of L of its tokens begins as soon as they are there. If all L are accepted, the server gives one token y more,
and what stands behind it in the chain stays useful if y is the chain's own next token: that is a hit. Else the chain
begins anew. Where nobody drafts ahead, all head starts are zero, and a draft takes L T seconds.
docs/evidence/drafting-ahead.md derives all of it and says why no token changes its law.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.tokens import expected_tokens
from multispin_env.scenario import Scenario

_GUESS_LAWS: Mapping[str, Callable[[FloatArray], FloatArray]] = MappingProxyType(
    {
        "greedy": lambda alpha: alpha,
        "shared-seed": lambda alpha: alpha / (2.0 - alpha),
        "independent": lambda alpha: alpha * alpha,
    }
)
"""Probability g that the server's token is the chain's next one, from α.

Greedy tokens agree where the drafted one would be accepted. With a seed that device and server share, both take
argmin_x E_x / law(x) of the same exponential variables E, which agree with probability α / (2 − α) at least.
Independent draws agree with probability Σ_x p(x) q(x), which α does not determine: α² is that of laws whose common part
is a single token.
"""


class ChainRound(NamedTuple):
    """What became of chains in a round that was played, arrays (..., K)."""

    head_start: FloatArray  # tokens with which it began
    drafted_ahead: FloatArray  # tokens behind the server's token at its end
    hit: BoolArray  # whether these are kept; else they are lost


class _ChainCycle(NamedTuple):
    tokens: FloatArray  # E[N]
    hit: FloatArray  # probability that the chain is kept
    head_start: FloatArray  # tokens of the next head start where it is kept; else it is 0


def drafting_time(
    scenario: Scenario, draft_length: IntArray | FloatArray | int, draft_time: FloatArray, head_start: FloatArray
) -> FloatArray:
    """Seconds (L − A)^+ T until L tokens are there; all broadcast together."""
    if not scenario.draft_ahead:
        return draft_length * draft_time
    time: FloatArray = np.maximum(draft_length - head_start, 0.0) * draft_time
    return time


def sending_time(
    scenario: Scenario,
    draft_length: IntArray | FloatArray | int,
    draft_time: FloatArray,
    token_time: FloatArray,
    head_start: FloatArray,
) -> FloatArray:
    """Seconds (L − A)^+ T + L u until L tokens are drafted and sent, each in u seconds; all broadcast together."""
    if not scenario.draft_ahead:
        return np.asarray(draft_length * (draft_time + token_time))
    return drafting_time(scenario, draft_length, draft_time, head_start) + draft_length * token_time


def longest_sent(
    scenario: Scenario, time: FloatArray, draft_time: FloatArray, token_time: FloatArray, head_start: FloatArray
) -> FloatArray:
    """The most tokens L, not whole ones, with a `sending_time` within ``time``."""
    if not scenario.draft_ahead:
        return time / (draft_time + token_time)
    most: FloatArray = np.minimum((time + head_start * draft_time) / (draft_time + token_time), time / token_time)
    return most


def hit_probability(scenario: Scenario, draft_length: IntArray | FloatArray, acceptance_rate: FloatArray) -> FloatArray:
    """Probability h = g α^L that all L tokens are accepted and the server's next one is that of the chain."""
    probability: FloatArray = _GUESS_LAWS[scenario.guess](acceptance_rate) * acceptance_rate**draft_length
    return probability


def draw_hits(hit: FloatArray, exponential: FloatArray) -> BoolArray:
    """Hits with these probabilities, from the standard exponential variables that tokens are drawn from.

    `tokens_from_exponential` accepts n tokens where x ≥ n |ln α|, so that x ≥ |ln h| for h = g α^L is a hit only where
    all L are accepted.
    """
    with np.errstate(divide="ignore"):  # ln 0 = −∞ is meant
        drawn: BoolArray = exponential >= -np.log(hit)
    return drawn


def chain_left(
    scenario: Scenario,
    draft_length: IntArray | FloatArray,
    draft_time: FloatArray,
    head_start: FloatArray,
    duration: FloatArray,
) -> FloatArray:
    """Tokens A' of the chain behind the server's token at the end of a cycle that lasted ``duration`` seconds.

    A + (τ − T_rtt) / T − L − 1, within 0 and L_max: a device drafts all the time but for the way there and back.
    """
    grown = head_start + (duration - scenario.round_trip_time) / draft_time
    left: FloatArray = np.minimum(np.maximum(grown - draft_length - 1.0, 0.0), scenario.max_draft_length)
    return left


def chain_cycle(
    scenario: Scenario,
    draft_length: IntArray | FloatArray,
    draft_time: FloatArray,
    acceptance_rate: FloatArray,
    head_start: FloatArray,
    duration: FloatArray,
) -> _ChainCycle:
    """What a cycle of ``duration`` seconds with a draft of L tokens brings; arrays are broadcast together."""
    return _ChainCycle(
        expected_tokens(draft_length, acceptance_rate),
        hit_probability(scenario, draft_length, acceptance_rate),
        chain_left(scenario, draft_length, draft_time, head_start, duration),
    )
