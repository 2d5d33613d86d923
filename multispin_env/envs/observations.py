"""State to observation and back: the one place where observations are scaled."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.checks import FloatArray
from multispin_env.physics.types import SystemState
from multispin_env.physics.uplink import full_share_token_time, spectral_efficiency
from multispin_env.scenario import Scenario

Observation = dict[str, NDArray[np.float32]]

LARGEST_FADE = 64.0
"""H / H̄ never exceeds it: the largest standard exponential that NumPy can draw is below 45."""

SHARED_BOUND = 20.0
"""|log10| of the shared quantities must stay below it."""

ROUNDING = 1e-6
"""Slack of the bounds for the rounding to float32."""


@dataclass(frozen=True)
class ObservationCodec:
    """Dimensionless observations of order one.

    ======================  =====================================================================  ==============
    entry                   meaning                                                                bounds
    ======================  =====================================================================  ==============
    ``compute`` (K,)        T_k / T̄                                                                1 ± spread
    ``channel`` (K,)        r_k / r̄, r̄ = spectral efficiency at the middle of the mean gains      0 .. at H = 64 H̄
    ``acceptance`` (K,)     α_k                                                                    0 .. 1
    ``shared`` (3,)         log10 of T_ver / T̄, of K, and of K Q / (B r̄ T̄): upload time of a     ± 20
                            token at an equal share, in draft times
    ======================  =====================================================================  ==============
    """

    scenario: Scenario

    def __post_init__(self) -> None:
        if not (np.abs(self.shared) < SHARED_BOUND).all():
            raise ValueError(
                f"scenario: log10 of T_ver/T̄, K, K Q/(B r̄ T̄) is {self.shared.tolist()}, "
                f"allowed are magnitudes below {SHARED_BOUND:g}"
            )

    @cached_property
    def reference_efficiency(self) -> float:
        """r̄ in bit/s/Hz."""
        middle = 0.5 * (self.scenario.mean_gain_low + self.scenario.mean_gain_high)
        return float(spectral_efficiency(self.scenario, np.array(middle)))

    @cached_property  # read at every step, and the same at all of them
    def shared(self) -> FloatArray:
        """What all users share, (3,)."""
        scenario = self.scenario
        upload = scenario.num_users * full_share_token_time(scenario, np.array(self.reference_efficiency))
        draft = scenario.mean_draft_time
        return np.log10([scenario.verification_time / draft, scenario.num_users, float(upload) / draft])

    @property
    def space(self) -> spaces.Dict:
        """The observation space of one environment."""
        scenario, num_users = self.scenario, (self.scenario.num_users,)
        spread = scenario.draft_time_spread + ROUNDING
        best_gain = np.array(scenario.mean_gain_high * LARGEST_FADE)
        best = float(spectral_efficiency(scenario, best_gain)) / self.reference_efficiency * (1.0 + ROUNDING)
        return spaces.Dict(
            {
                "compute": spaces.Box(1.0 - spread, 1.0 + spread, num_users, np.float32),
                "channel": spaces.Box(0.0, best, num_users, np.float32),
                "acceptance": spaces.Box(0.0, 1.0, num_users, np.float32),
                "shared": spaces.Box(-SHARED_BOUND, SHARED_BOUND, (3,), np.float32),
            }
        )

    def encode(self, state: SystemState) -> Observation:
        """Observation arrays (..., K) and (..., 3) of a state (..., K)."""
        return self.devices(state) | self.round(state)

    def devices(self, state: SystemState) -> Observation:
        """Entries that stay the same for an episode."""
        batch = state.draft_time.shape[:-1]
        return {
            "compute": (state.draft_time / self.scenario.mean_draft_time).astype(np.float32),
            "acceptance": state.acceptance_rate.astype(np.float32),
            "shared": np.broadcast_to(self.shared, (*batch, 3)).astype(np.float32),
        }

    def round(self, state: SystemState) -> Observation:
        """Entries that change in every round."""
        return {"channel": (state.spectral_efficiency / self.reference_efficiency).astype(np.float32)}

    def decode(self, observation: Mapping[str, NDArray[np.float32]]) -> SystemState:
        """State behind an observation, to the precision of float32."""
        wide = {key: np.asarray(value, dtype=np.float64) for key, value in observation.items()}
        return SystemState(
            draft_time=wide["compute"] * self.scenario.mean_draft_time,
            spectral_efficiency=wide["channel"] * self.reference_efficiency,
            acceptance_rate=wide["acceptance"],
        )
