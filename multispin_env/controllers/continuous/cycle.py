"""Time of a device's own cycle, drafting, uploading and being verified, and lengths that pay (ours).

With n devices busy, a pass of half of them takes V(n/2), and in a queue an upload takes longer than alone, so L tokens
take (L − A_k)^+ T_k + κ L u_k + m V(n / 2) + T_rtt seconds, and bring E[N_k | L] tokens (docs/evidence/continuous.md).
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.base import Option
from multispin_env.physics.chains import chain_cycle, sending_time
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import TokenLaw
from multispin_env.scenario import Scenario

TYPICAL_CYCLE = (3.0, 2.0)  # κ and m of a usual cycle: a device waits for one pass and is in the next
_CHAIN_VALUE = 0.3  # tokens of a head start that are worth the time of one; more costs batches of the paper's server
SHORTEST_CYCLE = (2.0, 1.0)  # of a cycle that is as short as can be hoped for: it comes just in time for the next pass


@dataclass(frozen=True, eq=False)
class Cycle:
    """Cycles of all devices in states (n, K); drafts of others in a pass are taken to be as long as its own."""

    scenario: Scenario
    acceptance_rate: FloatArray  # (n, K) α
    draft_time: FloatArray  # (n, K) s, T_k
    token_air: FloatArray  # (n, K) s that the upload of a token takes, κ u_k
    head_start: FloatArray  # (n, K) tokens A_k
    batch: FloatArray  # (n, 1), drafts in a pass: half of the devices that are busy
    passes: Option  # m, a number or (n, K)

    @classmethod
    def of(cls, scenario: Scenario, state: ContinuousState, kind: tuple[Option, Option] = TYPICAL_CYCLE) -> Self:
        """With as many devices busy as are in the state; ``kind`` has κ and m, numbers or (n, K)."""
        queue, passes = kind
        half = np.maximum(0.5 * state.busy.sum(-1, keepdims=True), 1.0)
        token_air = full_share_token_time(scenario, state.spectral_efficiency)
        air = queue * token_air
        return cls(scenario, state.acceptance_rate, state.draft_time, air, state.head_start, half, passes)

    @classmethod
    def alone(cls, scenario: Scenario, state: ContinuousState) -> Self:
        """Of devices that have the band and the server for themselves: nothing can be faster."""
        air = full_share_token_time(scenario, state.spectral_efficiency)
        one = np.ones((len(air), 1))
        return cls(scenario, state.acceptance_rate, state.draft_time, air, state.head_start, one, 1.0)

    def time(self, length: IntArray | int) -> FloatArray:
        """Seconds (..., n, K) of cycles with drafts of these lengths, (..., n, K) or (..., 1, 1)."""
        verification = np.asarray(self.scenario.pass_time(self.batch, self.batch * (length + 1)))
        fixed = self.passes * verification + self.scenario.round_trip_time
        return sending_time(self.scenario, length, self.draft_time, self.token_air, self.head_start) + fixed

    def best_length(self, token_price: Option = 0.0) -> IntArray:
        """Lengths (n, K) with the most tokens a second of the device, if each token of a draft costs so many.

        Where devices draft ahead, E[N] − ν s is greatest, with s from `_spent` and ν = max E[N] / s without head start.
        """
        low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
        lengths = np.arange(low, high + 1)[:, None, None]
        tokens = TokenLaw.of(self.acceptance_rate).expected(lengths) - token_price * lengths
        if not self.scenario.draft_ahead:
            return np.asarray(low + (tokens / self.time(lengths)).argmax(0))
        without, spent = (self._spent(lengths, head_start) for head_start in (np.zeros(1), self.head_start))
        return np.asarray(low + (tokens - (tokens / without).max(0) * spent).argmax(0))

    def _spent(self, length: IntArray, head_start: FloatArray) -> FloatArray:
        """Seconds of cycles with these head starts, less `_CHAIN_VALUE` of what chains save in the next."""
        time = replace(self, head_start=head_start).time(length)
        ends = chain_cycle(self.scenario, length, self.draft_time, self.acceptance_rate, head_start, time)
        return time - _CHAIN_VALUE * ends.hit * ends.head_start * self.draft_time

    def time_per_token(self, length: IntArray) -> FloatArray:
        """Seconds (n, K) a token of a device with drafts of these lengths."""
        return self.time(length) / TokenLaw.of(self.acceptance_rate).expected(length)


def longest_profitable(scenario: Scenario, acceptance_rate: FloatArray, price: FloatArray) -> IntArray:
    """The longest draft of which every token is accepted with a probability ≥ price: α^L ≥ price (...), L in range."""
    decay = np.minimum(np.log(np.maximum(acceptance_rate, 1e-300)), -1e-12)
    count = np.log(np.maximum(price, 1e-12)) / decay
    return np.clip(np.floor(count), scenario.min_draft_length, scenario.max_draft_length).astype(np.int64)
