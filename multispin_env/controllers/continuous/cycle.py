"""Time of a device's own cycle, and the draft that is best for it (ours; docs/serving.md).

A cycle is drafting, uploading and being verified. With n devices busy, a pass of half of them takes V(n/2), and in a
queue an upload takes longer than alone. So L tokens take

    L (T_k + κ u_k) + m V(n / 2) + T_rtt

seconds, and bring E[N_k | L] tokens.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.options import Option
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import TokenLaw
from multispin_env.scenario import Scenario

USUAL = (3.0, 2.0)
"""κ and m of a usual cycle: a device waits for one pass and is in the next."""

SHORTEST = (2.0, 1.0)
"""κ and m of a cycle that is as short as can be hoped for: it comes just in time for the next pass."""


@dataclass(frozen=True, eq=False)
class Cycle:
    """Cycles of all devices in states (n, K); drafts of others in a pass are taken to be as long as its own."""

    scenario: Scenario
    acceptance_rate: FloatArray  # (n, K) α
    pace: FloatArray  # (n, K) s that a token takes, T_k + κ u_k
    batch: FloatArray  # (n, 1), drafts in a pass: half of the devices that are busy
    passes: Option  # m, a number or (n, K)

    @classmethod
    def of(cls, scenario: Scenario, state: ContinuousState, kind: tuple[Option, Option] = USUAL) -> Self:
        """With as many devices busy as are in the state; ``kind`` has κ and m, numbers or (n, K)."""
        queue, passes = kind
        half = np.maximum(0.5 * state.busy.sum(-1, keepdims=True), 1.0)
        token_air = full_share_token_time(scenario, state.spectral_efficiency)
        return cls(scenario, state.acceptance_rate, state.draft_time + queue * token_air, half, passes)

    @classmethod
    def alone(cls, scenario: Scenario, state: ContinuousState) -> Self:
        """Of devices that have the band and the server for themselves: nothing can be faster."""
        token_air = full_share_token_time(scenario, state.spectral_efficiency)
        return cls(scenario, state.acceptance_rate, state.draft_time + token_air, np.ones((len(token_air), 1)), 1.0)

    def time(self, length: IntArray | int) -> FloatArray:
        """Seconds (..., n, K) of cycles with drafts of these lengths, (..., n, K) or (..., 1, 1)."""
        verification = np.asarray(self.scenario.pass_time(self.batch, self.batch * (length + 1)))
        fixed = self.passes * verification + self.scenario.round_trip_time
        return np.asarray(length * self.pace + fixed)

    def best_length(self, token_price: Option = 0.0) -> IntArray:
        """Lengths (n, K) with the most tokens a second of the device, if each token of a draft costs so many."""
        low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
        lengths = np.arange(low, high + 1)[:, None, None]
        tokens = TokenLaw.of(self.acceptance_rate).expected(lengths)
        best: IntArray = low + ((tokens - token_price * lengths) / self.time(lengths)).argmax(0)
        return best

    def token_time(self, length: IntArray) -> FloatArray:
        """Seconds (n, K) a token of a device with drafts of these lengths."""
        return self.time(length) / TokenLaw.of(self.acceptance_rate).expected(length)
