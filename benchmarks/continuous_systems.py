"""Systems without the barrier that controllers are tuned and compared on (docs/evidence/continuous.md)."""

from dataclasses import dataclass, replace

import numpy as np

import multispin_env as ms
from multispin_env.arrays import FloatArray
from multispin_env.physics.rounds import UNIFORMS_PER_USER, users_from_uniforms
from multispin_env.units import MHZ


@dataclass(frozen=True)
class System:
    """A preset with K devices and B in MHz; in a wide one T_k = T̄ 10^U(−0.5, 0.5) instead of T̄ U(0.85, 1.15)."""

    preset: str
    users: int
    megahertz: int
    wide: bool

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"{self.preset} K{self.users} B{self.megahertz} {'wide' if self.wide else 'narrow'}"

    @property
    def scenario(self) -> ms.Scenario:
        """Return the scenario."""
        return ms.Scenario.preset(self.preset, num_users=self.users, total_bandwidth=self.megahertz * MHZ)

    def states(self, seed: int, count: int) -> ms.SystemState:
        """Draw devices (count, K) with static channels."""
        state = ms.sample_state(self.scenario, np.random.default_rng(seed), count)
        if not self.wide:
            return state
        scenario = self.scenario
        spread = scenario.draft_time_spread
        uniform = (state.draft_time / scenario.mean_draft_time - 1.0 + spread) / (2.0 * spread)
        return replace(state, draft_time=scenario.mean_draft_time * 10.0 ** (uniform - 0.5))

    def mean_gains(self, seed: int, count: int) -> FloatArray:
        """Return the mean gains (count, K) of the devices of `states`."""
        rows = np.random.default_rng(seed).random((count, UNIFORMS_PER_USER, self.users))  # as in `sample_state`
        return users_from_uniforms(self.scenario, rows).mean_gain


SYSTEMS = tuple(
    System(preset, users, megahertz, wide)
    for users in (8, 20)
    for preset in ("llama2", "qwen3.5")
    for megahertz in (5, 10)
    for wide in (False, True)
)
"""The sixteen systems of the table."""


def chosen(text: str) -> list[System]:
    """Return the systems whose names have all words of a text; ``ValueError`` if there are none."""
    systems = [system for system in SYSTEMS if all(word in system.name.split() for word in text.split())]
    if not systems:
        raise ValueError(f"systems: expected words of {[system.name for system in SYSTEMS]}, got {text!r}")
    return systems
