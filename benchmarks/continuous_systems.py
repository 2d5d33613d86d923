"""Systems that controllers are tuned and compared on (docs/evidence/continuous.md and drafting-ahead.md)."""

from dataclasses import dataclass, replace
from typing import Any

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


def make_rule(text: str, scenario: ms.Scenario) -> Any:
    """Make a controller from its name, or from one such as ``"groups 2"`` with a number of groups."""
    name, _, groups = text.partition(" ")
    options: dict[str, Any] = {"groups": int(groups)} if groups else {}
    return ms.make_controller(name, scenario, **options)


def ahead_scenario(preset: str, server: str = "paper", **fields: Any) -> ms.Scenario:
    """Return a scenario in which devices draft ahead, on the paper's server, or on another one with ids."""
    sent = {} if server == "paper" else {"server": server, "payload": "ids"}
    return ms.Scenario.preset(preset, **{"min_draft_length": 0, "draft_ahead": True, **sent, **fields})
