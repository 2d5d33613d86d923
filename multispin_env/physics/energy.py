"""Energy of drafts, and batteries that it drains (not in the paper; docs/evidence/energy.md).

A drafted token costs the energy of drafting it and of sending it, e_k = draft_energy + p Q / (B r_k) joules, where
the second term is divided by 1 − ``upload_loss`` for repeated uploads. A device
with b_k joules drafts at most ⌊b_k / e_k⌋ tokens. After a round of τ seconds, b_k ← min(C_k, b_k − e_k L_k + P_k τ).
"""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray, IntArray, Rows, replace_rows
from multispin_env.physics.types import BatteryState, SystemState
from multispin_env.scenario import Scenario

_LEAST = 0.05  # least energy of a round, relative to the mean over devices or, if larger, to a token
_ROUNDING = 1e-9  # tokens that a battery may lack for a draft


def token_energy(scenario: Scenario, state: SystemState) -> FloatArray:
    """Return e_k (..., K) in joules of drafting and sending a token."""
    return scenario.uplink.token_joules(state.spectral_efficiency, scenario.devices.joules(state.draft_energy))


@dataclass(frozen=True)
class Batteries:
    """Capacity and charge of the batteries of new devices.

    The energy of a device per round, without batteries, is estimated as a + b (T_k / T̄ − 1) + c (H̄_k / H̄ − 1), with
    three numbers for each task and the middle H̄ of the mean gains.

    Parameters
    ----------
    usual_energy
        (a, b, c) in joules for each task.
    round_time
        Mean time of a round in s.
    """

    usual_energy: tuple[tuple[float, ...], ...]
    round_time: float

    def first(
        self, scenario: Scenario, draft_time: FloatArray, mean_gain: FloatArray, task: IntArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return C_k in J and P_k in W of devices (..., K)."""
        table = np.array(self.usual_energy)
        terms = table[task] * device_features(scenario, draft_time, mean_gain)
        least = _LEAST * max(float(table[:, 0].mean()), scenario.draft_energy)  # > 0 if drafts are never worth it
        joules = np.maximum(terms[..., 0] + terms[..., 1] + terms[..., 2], least)
        charge = scenario.charge_share / self.round_time * joules
        if scenario.budget_time:
            return charge * scenario.budget_time, np.zeros_like(charge)
        return scenario.battery_rounds * joules, charge


def device_features(scenario: Scenario, draft_time: FloatArray, mean_gain: FloatArray) -> FloatArray:
    """Return 1, T_k / T̄ − 1 and H̄_k / H̄ − 1 of devices (..., K), shape (..., K, 3)."""
    relative = draft_time / scenario.mean_draft_time - 1.0, mean_gain / scenario.devices.middle_gain - 1.0
    return np.stack([np.ones_like(draft_time), *relative], -1)


class BatteryBank:
    """Charge of the batteries of n environments of rounds; what is left after ``budget_time`` is lost."""

    def __init__(self, scenario: Scenario, batteries: Batteries, num_envs: int) -> None:
        self._scenario, self._batteries = scenario, batteries
        ones = np.ones((num_envs, scenario.num_users))  # arrays are replaced, never modified
        self.joules = self.capacity = self._charge = ones  # J, J and W
        self._time_left = ones  # part of `budget_time`

    def reset(self, rows: Rows, draft_time: FloatArray, mean_gain: FloatArray, task: IntArray) -> None:
        """Set the batteries of new devices (m, K)."""
        capacity, charge = self._batteries.first(self._scenario, draft_time, mean_gain, task)
        start = 1.0 if self._scenario.budget_time else 0.5
        self.capacity = replace_rows(self.capacity, rows, capacity)
        self._charge = replace_rows(self._charge, rows, charge)
        self.joules = replace_rows(self.joules, rows, start * capacity)
        self._time_left = replace_rows(self._time_left, rows, np.ones_like(capacity))

    def drain(self, energy: FloatArray, duration: FloatArray) -> FloatArray:
        """Play a round of ``duration`` (n, 1) s that takes ``energy`` (n, K) J; return the change of the charge."""
        before, horizon = self.joules, self._scenario.budget_time
        joules = np.minimum(np.maximum(before - energy, 0.0) + self._charge * duration, self.capacity)
        if horizon:
            self._time_left = np.maximum(self._time_left - duration / horizon, 0.0)
            joules *= self._time_left > 0.0
        self.joules = joules
        return joules - before

    def state(self, token_energy: FloatArray) -> BatteryState:
        """Return the state of the batteries, for the energy e_k of a token (n, K)."""
        longest = np.minimum(self.joules / token_energy + _ROUNDING, self._scenario.max_draft_length)
        time_left = self._time_left if self._scenario.budget_time else None
        return BatteryState(
            longest.astype(np.int64), self.joules / self.capacity, self.capacity, self._charge, time_left
        )
