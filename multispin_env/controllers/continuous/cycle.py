"""How long a device's own cycle takes, and which draft is best for it (ours; docs/serving.md).

A cycle is drafting, uploading and being verified. With n devices busy, a pass of half of them takes V(n/2), and in a
queue an upload takes longer than alone. So L tokens take

    L (T_k + κ u_k) + m V(n / 2) + T_rtt

seconds, and bring E[N_k | L] tokens.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.continuous.types import ContinuousState, Phase
from multispin_env.physics.tokens import TokenLaw
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.scenario import Scenario

USUAL = (3.0, 2.0)
"""κ and m of a usual cycle: a device waits for one pass and is in the next."""

SHORTEST = (2.0, 1.0)
"""κ and m of a cycle that is as short as can be hoped for: it comes just in time for the next pass."""


@dataclass(frozen=True, eq=False)
class Cycle:
    """Cycles of all devices in states (n, K).

    Parameters
    ----------
    scenario
        Range of lengths.
    acceptance_rate
        (n, K) α.
    pace
        (n, K) s that a token takes.
    fixed
        (n, 1) s that a cycle takes besides.
    """

    scenario: Scenario
    acceptance_rate: FloatArray
    pace: FloatArray
    fixed: FloatArray

    @classmethod
    def of(cls, scenario: Scenario, state: ContinuousState, kind: tuple[float, float] = USUAL) -> Self:
        """With as many devices busy as are in the state."""
        queue, passes = kind
        half = np.maximum(0.5 * (state.phase != Phase.IDLE).sum(-1), 1.0)
        token_air = full_share_token_time(scenario, state.spectral_efficiency)
        verification = np.asarray(scenario.pass_time(half, half))
        pace = state.draft_time + queue * token_air
        return cls(scenario, state.acceptance_rate, pace, (passes * verification + scenario.round_trip_time)[:, None])

    def best_length(self) -> IntArray:
        """Lengths (n, K) with the most tokens a second of the device."""
        low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
        lengths = np.arange(low, high + 1)[:, None, None]
        tokens = TokenLaw.of(self.acceptance_rate).expected(lengths)
        best: IntArray = low + (tokens / (lengths * self.pace + self.fixed)).argmax(0)
        return best

    def token_time(self, length: IntArray) -> FloatArray:
        """Seconds (n, K) a token of a device with drafts of these lengths."""
        tokens = TokenLaw.of(self.acceptance_rate).expected(length)
        time: FloatArray = (length * self.pace + self.fixed) / tokens
        return time
