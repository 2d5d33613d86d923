"""Drafting ahead: a device continues to draft while its draft is sent and verified (not in the paper).

The drafted tokens of a device form a chain. A cycle begins with a chain of A tokens, the head start. The chain grows by
one token every T seconds, and the upload of L tokens begins as soon as the chain holds them. If all L are accepted, the
server adds one token y. If y is also the next token of the chain (a hit), the rest of the chain remains useful;
otherwise a new chain begins. Without drafting ahead all head starts are zero, and a draft takes L T seconds.
docs/evidence/drafting-ahead.md has the derivation and shows that the distribution of the tokens does not change.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, Rows, replace_rows
from multispin_env.draft import expected_tokens
from multispin_env.physics.tokens import LengthLaw
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario


def _shared_seed(alpha: FloatArray) -> FloatArray:
    return alpha / (2.0 - alpha)


# functions of NumPy and of this module, which can be pickled
_GUESS_LAWS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "greedy": np.positive,
    "shared-seed": _shared_seed,
    "independent": np.square,
}
"""Probability g, as a function of α, that the server's token equals the next token of the chain.

Greedy tokens agree if the drafted token would be accepted. With a seed shared by device and server, both take the
argmin over x of E_x divided by their own probability of x, with the same exponential variables E; they agree with
probability at least α / (2 − α). Independent draws agree with probability Σ_x p(x) q(x), which α does not determine; it
is α² for distributions that overlap in a single token.
"""


class ChainRound(NamedTuple):
    """Chains of the devices in a past round, arrays (..., K)."""

    head_start: FloatArray  # tokens at the start of the round
    drafted_ahead: FloatArray  # tokens beyond the server's token at the end of the round
    hit: BoolArray  # whether the tokens drafted ahead remain useful


class _ChainCycle(NamedTuple):
    tokens: FloatArray  # E[N]
    hit: FloatArray  # probability of a hit
    head_start: FloatArray  # next head start after a hit; otherwise it is 0


def drafting_time(
    scenario: Scenario, draft_length: IntArray | FloatArray | int, draft_time: FloatArray, head_start: FloatArray
) -> FloatArray:
    """Return the seconds (L − A)^+ T until the chain holds L tokens; arrays are broadcast together."""
    if not scenario.draft_ahead:
        return draft_length * draft_time
    return np.maximum(draft_length - head_start, 0.0) * draft_time


def sending_time(
    scenario: Scenario,
    draft_length: IntArray | FloatArray | int,
    draft_time: FloatArray,
    token_time: FloatArray,
    head_start: FloatArray,
) -> FloatArray:
    """Return the seconds (L − A)^+ T + L u for drafting and sending L tokens; arrays are broadcast together."""
    if not scenario.draft_ahead:
        return np.asarray(draft_length * (draft_time + token_time))
    return drafting_time(scenario, draft_length, draft_time, head_start) + draft_length * token_time


def longest_sent(
    scenario: Scenario, time: FloatArray, draft_time: FloatArray, token_time: FloatArray, head_start: FloatArray
) -> FloatArray:
    """Return the largest real L whose `sending_time` is at most ``time``."""
    if not scenario.draft_ahead:
        return time / (draft_time + token_time)
    return np.minimum((time + head_start * draft_time) / (draft_time + token_time), time / token_time)


def hit_probability(scenario: Scenario, draft_length: IntArray | FloatArray, acceptance_rate: FloatArray) -> FloatArray:
    """Return the probability h = g α^L of a hit: all L tokens are accepted, and the chain predicts the next token."""
    return _hit(scenario.guess, draft_length, acceptance_rate)


def _hit(guess: str, draft_length: IntArray | FloatArray, acceptance_rate: FloatArray) -> FloatArray:
    return _GUESS_LAWS[guess](acceptance_rate) * acceptance_rate**draft_length


def _hit_threshold(guess: str, draft_length: IntArray | FloatArray, acceptance_rate: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):  # ln 0 = −∞ is intended
        threshold: FloatArray = -np.log(_hit(guess, draft_length, acceptance_rate))
    return threshold


HIT_THRESHOLDS: Mapping[str, LengthLaw] = {guess: partial(_hit_threshold, guess) for guess in _GUESS_LAWS}
"""For each kind of guess |ln h|, h = g α^L: a hit is x ≥ |ln h|, x the exponential variable that determines the tokens.

`tokens_from_exponential` accepts n tokens if x ≥ n |ln α|, so that x ≥ |ln h| implies that all L tokens are accepted.
"""


def chain_left(
    scenario: Scenario,
    draft_length: IntArray | FloatArray,
    draft_time: FloatArray,
    head_start: FloatArray,
    duration: FloatArray,
) -> FloatArray:
    """Return the tokens A' of the chain beyond the server's token, at the end of a cycle of ``duration`` τ seconds.

    A' = A + (τ − T_rtt) / T − L − 1, clipped to [0, L_max]: a device drafts all the time except for the round trip.
    """
    grown = head_start + (duration - scenario.uplink.fixed_wait) / draft_time
    return np.minimum(np.maximum(grown - draft_length - 1.0, 0.0), scenario.max_draft_length)


def chain_cycle(
    scenario: Scenario,
    draft_length: IntArray | FloatArray,
    draft_time: FloatArray,
    acceptance_rate: FloatArray,
    head_start: FloatArray,
    duration: FloatArray,
) -> _ChainCycle:
    """Return the results of a cycle of ``duration`` seconds with a draft of L tokens; arrays are broadcast together."""
    return _ChainCycle(
        expected_tokens(draft_length, acceptance_rate),
        hit_probability(scenario, draft_length, acceptance_rate),
        chain_left(scenario, draft_length, draft_time, head_start, duration),
    )


class Chains:
    """Chains of n environments of rounds; without drafting ahead all head starts stay 0."""

    def __init__(self, scenario: Scenario, num_envs: int) -> None:
        self._scenario = scenario
        self.head_start = np.zeros((num_envs, scenario.num_users))  # replaced, never modified
        self.round = ChainRound(self.head_start, self.head_start, self.head_start > 0.0)

    def reset(self, rows: Rows) -> None:
        """Start new episodes."""
        self.head_start = replace_rows(self.head_start, rows, np.zeros_like(self.head_start[rows]))

    def play(self, state: SystemState, draft_length: FloatArray, duration: FloatArray, hit: BoolArray) -> FloatArray:
        """Play a round of ``duration`` (n, 1) seconds; return the tokens (n, K) drafted in it, real numbers."""
        scenario, start = self._scenario, self.head_start
        self.round = ChainRound(start, chain_left(scenario, draft_length, state.draft_time, start, duration), hit)
        most = draft_length + (scenario.max_draft_length + 1 - start)
        return np.minimum((duration - scenario.uplink.fixed_wait) / state.draft_time, most)

    def keep(self, same_request: BoolArray) -> None:
        """Begin the next round; tokens drafted ahead become a head start after a hit, for the same request (n, K)."""
        self.head_start = self.round.drafted_ahead * (self.round.hit & same_request)
