"""Cycle time of a device (drafting, uploading, verification) and its best draft lengths (not in the paper).

With n busy devices, a pass of half of them takes V(n/2), and queueing lengthens uploads. A draft of L tokens then takes
(L − A_k)^+ T_k + κ L u_k + m V(n / 2) + T_rtt seconds, if L > 0 also the mean of
its access delay and repetitions, and yields E[N_k | L] tokens (docs/evidence/continuous.md). Without a least length,
all devices that read their prompts are in every pass, without drafts.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.base import Option
from multispin_env.draft import expected_tokens
from multispin_env.physics.chains import chain_cycle, sending_time
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.scenario import Scenario

TYPICAL_CYCLE = (3.0, 2.0)  # κ and m: a device waits during one pass and is in the next
SHORTEST_CYCLE = (2.0, 1.0)  # κ and m: a draft arrives just in time for the next pass
_CHAIN_VALUE = 0.3  # part of its drafting time that a token of a head start is worth; a larger part shrinks batches


@dataclass(frozen=True, eq=False)
class Cycle:
    """Cycles of all devices in states (n, K), if all drafts in a pass have the same length as that of the device."""

    scenario: Scenario
    acceptance_rate: FloatArray  # (n, K) α
    draft_time: FloatArray  # (n, K) s, T_k
    token_air: FloatArray  # (n, K) s, upload time of a token, κ u_k
    head_start: FloatArray  # (n, K) tokens A_k
    batch: FloatArray  # (n, 1) devices in a pass: half of those that draft, and all that read
    drafts: FloatArray  # (n, 1) drafts in a pass
    passes: Option  # m, number or (n, K)
    reading_left: FloatArray | None  # (n, K) s

    @classmethod
    def of(cls, scenario: Scenario, state: ContinuousState, kind: tuple[Option, Option] = TYPICAL_CYCLE) -> Self:
        """Return the cycles in a state; ``kind`` is (κ, m), each a number or (n, K)."""
        queue, passes = kind
        reading, readers = state.reading_left, 0
        if reading is not None:
            readers = state.reading.sum(-1, keepdims=True) * (1 - scenario.min_draft_length)
        batch = np.maximum(0.5 * (state.busy.sum(-1, keepdims=True) + readers), 1.0)
        token_air = scenario.uplink.token_time(state.spectral_efficiency)
        air = queue * token_air
        devices = state.acceptance_rate, state.draft_time, air, state.head_start
        return cls(scenario, *devices, batch, batch - readers, passes, reading)

    def time(self, length: IntArray | int) -> FloatArray:
        """Return the cycle times (..., n, K) in seconds of lengths (..., n, K) or (..., 1, 1)."""
        verification = self.scenario.law.time(self.batch, self.drafts * length + self.batch)
        fixed = self.passes * verification + self.scenario.uplink.cycle_wait(length)
        return sending_time(self.scenario, length, self.draft_time, self.token_air, self.head_start) + fixed

    def best_length(self, token_price: Option = 0.0) -> IntArray:
        """Return the lengths (n, K) that maximise each device's tokens per second; ``token_price`` is in tokens.

        With drafting ahead they maximise E[N] − ν s, with s from `_spent` and ν = max E[N] / s without head starts.
        """
        low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
        lengths = np.arange(low, high + 1)[:, None, None]
        tokens = expected_tokens(lengths, self.acceptance_rate) - token_price * lengths
        if not self.scenario.draft_ahead:
            return np.asarray(low + (tokens / self.time(lengths)).argmax(0))
        without, spent = (self._spent(lengths, head_start) for head_start in (np.zeros(1), self.head_start))
        return np.asarray(low + (tokens - (tokens / without).max(0) * spent).argmax(0))

    def _spent(self, length: IntArray, head_start: FloatArray) -> FloatArray:
        """Return cycle times minus the part `_CHAIN_VALUE` of the drafting time that chains save in the next cycle."""
        time = replace(self, head_start=head_start).time(length)
        ends = chain_cycle(self.scenario, length, self.draft_time, self.acceptance_rate, head_start, time)
        return time - _CHAIN_VALUE * ends.hit * ends.head_start * self.draft_time

    def time_to_tokens(self, tokens: IntArray, pace: FloatArray | float) -> FloatArray:
        """Return the seconds (n, K) to ``tokens`` (n, K), at a ``pace`` in s/token of devices that have read.

        While a device reads, each of its cycles has one token without a least length, else none.
        """
        low, left, need = self.scenario.min_draft_length, self.reading_left, pace * tokens
        if left is None:
            return np.asarray(need)
        without = self.time(low) / max(1 - low, 1e-12)
        return np.where(left > 0.0, np.minimum(without * tokens, need + left * (1.0 - pace / without)), need)

    def time_per_token(self, length: IntArray) -> FloatArray:
        """Return the seconds per token (n, K) of a device with drafts of these lengths."""
        return self.time(length) / expected_tokens(length, self.acceptance_rate)


def longest_profitable(scenario: Scenario, acceptance_rate: FloatArray, price: FloatArray) -> IntArray:
    """Return the largest L in range with α^L ≥ price (...): each token is accepted with a probability ≥ price."""
    decay = np.minimum(np.log(np.maximum(acceptance_rate, 1e-300)), -1e-12)
    count = np.log(np.maximum(price, 1e-12)) / decay
    return np.clip(np.floor(count), scenario.min_draft_length, scenario.max_draft_length).astype(np.int64)
