"""Dynamics of devices: who they are, and what changes between rounds."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.acceptance.base import Acceptance
from multispin_env.physics.channels import Channel
from multispin_env.physics.types import SystemState
from multispin_env.physics.uplink import spectral_efficiency
from multispin_env.registry import ACCEPTANCES, CHANNELS
from multispin_env.scenario import Scenario

UNIFORMS_PER_USER = 3  # Uniform variables that make one device: draft time, mean gain, task


class Users(NamedTuple):
    """Devices of an episode, arrays (..., K)."""

    draft_time: FloatArray  # T_k, s/token
    mean_gain: FloatArray  # H̄_k
    task: IntArray  # index into scenario.tasks


def users_from_uniforms(scenario: Scenario, uniforms: FloatArray) -> Users:
    """Devices from uniform variables (..., 3, K) in [0, 1): T̄ U(1 ± spread), U(H̄ low, high), any task."""
    draft, gain, task = (uniforms[..., i, :] for i in range(UNIFORMS_PER_USER))
    spread = scenario.draft_time_spread
    return Users(
        draft_time=scenario.mean_draft_time * (1.0 - spread + 2.0 * spread * draft),
        mean_gain=scenario.mean_gain_low + (scenario.mean_gain_high - scenario.mean_gain_low) * gain,
        task=(task * len(scenario.tasks)).astype(np.int64),
    )


@dataclass(frozen=True)
class Dynamics:
    """What changes between rounds, and how old the reports of it are: channel reports by ``delay`` ≥ 0 rounds."""

    channel: Channel
    acceptance: Acceptance
    delay: int = 0

    @classmethod
    def of(cls, scenario: Scenario) -> Self:
        """What the scenario names, with fresh reports."""
        return cls(CHANNELS.load(scenario.channel), ACCEPTANCES.load(scenario.acceptance))


def sample_state(scenario: Scenario, rng: np.random.Generator, size: int | None = None) -> SystemState:
    """Draw independent states: new devices with their first round of fading ([MS] §VI).

    Parameters
    ----------
    scenario
        The system.
    rng
        Source of randomness.
    size
        Number of states; ``None`` gives one without a batch axis.

    Returns
    -------
    SystemState
        Arrays (size, K), or (K,).

    Examples
    --------
    >>> import numpy as np, multispin_env as ms
    >>> scenario = ms.Scenario.preset("llama2", num_users=3)
    >>> ms.sample_state(scenario, np.random.default_rng(0), size=5).draft_time.shape
    (5, 3)
    """
    count, num_users = (1 if size is None else size), scenario.num_users
    dynamics = Dynamics.of(scenario)
    users = users_from_uniforms(scenario, rng.random((count, UNIFORMS_PER_USER, num_users)))
    gain = dynamics.channel.first_gain(users.mean_gain, dynamics.channel.draw(rng, count, num_users))
    fresh = rng.random((count, dynamics.acceptance.columns, num_users))
    state = SystemState(
        draft_time=users.draft_time,
        spectral_efficiency=spectral_efficiency(scenario, gain),
        acceptance_rate=dynamics.acceptance.first(scenario, users.task, fresh).rate,
    )
    return state[0] if size is None else state
