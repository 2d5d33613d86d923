"""Drafts under way, and devices that batches do not wait for (not in the paper; docs/evidence/continuous.md)."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.chains import drafting_time
from multispin_env.physics.continuous.types import ContinuousState, Phase
from multispin_env.scenario import Scenario


def in_deep_fade(scenario: Scenario, state: ContinuousState) -> BoolArray:
    """Return which devices (n, K) are in a deep fade, T_k + 3 u_k > T_fix + K T_lin / 2, and not worth waiting for.

    With a head start, (1 − A_k)^+ T_k replaces T_k. Channel and head start are constant during a cycle, and so is the
    result. In general the right side is the time of a pass of K / 2 devices with empty drafts.
    """
    half = scenario.num_users / 2
    token_time = scenario.uplink.token_time(state.spectral_efficiency)
    first = drafting_time(scenario, 1, state.draft_time, state.head_start)
    return first + 3.0 * token_time > scenario.law.time(half, half)


def not_awaited(scenario: Scenario, state: ContinuousState, fades: bool = True) -> BoolArray:
    """Return which devices (n, K) no batch waits for: idle ones, those that read, and with ``fades`` those in one."""
    return (in_deep_fade(scenario, state) & fades) | (state.phase == Phase.IDLE) | state.reading


def in_every_batch(scenario: Scenario, state: ContinuousState) -> BoolArray:
    """Return which devices (n, K) are in every batch until they have read: all that read, without a least length."""
    return state.reading & (scenario.min_draft_length == 0)


@dataclass(frozen=True, eq=False)
class Background:
    """Drafts under way and decided drafts; `add` appends more."""

    scenario: Scenario
    length: IntArray  # (n, K) tokens
    release: FloatArray  # (n, K) s until drafts end
    air: FloatArray  # (n, K) s of the whole band
    position: IntArray  # (n, K) index of the draft's batch, from 0 for the next one; −1 if no batch waits for the draft
    always: BoolArray  # (n, K) whether the device is in every batch, without a draft

    @classmethod
    def of(cls, scenario: Scenario, state: ContinuousState, ignored: BoolArray) -> Self:
        """Return the drafts under way in a state (n, K); no batch waits for those of ``ignored`` devices."""
        out = ignored | (state.phase == Phase.FREE)
        position = np.where(out, -1, np.maximum(state.aim - state.batch[:, None], 0))
        always = in_every_batch(scenario, state)
        return cls(scenario, state.draft_length, state.drafting_left, state.air_left, position, always)

    def __getitem__(self, rows: IntArray) -> Self:
        parts = self.length[rows], self.release[rows], self.air[rows], self.position[rows]
        return type(self)(self.scenario, *parts, self.always[rows])

    def up_to(self, position: int) -> tuple[FloatArray, FloatArray]:
        """Return release and air times (n, K) of the uploads for this batch and earlier ones; 0 for others."""
        counts = (self.position >= 0) & (self.position <= position)
        return self.release * counts, self.air * counts

    def sent(self, position: int) -> FloatArray:
        """Return the time (n,) in s when all uploads for this batch and earlier ones have ended."""
        from multispin_env.controllers.continuous.search import all_sent  # late: Numba takes long to import

        return np.asarray(all_sent(*self.up_to(position)))

    def members(self, position: int) -> BoolArray:
        """Return the devices (n, K) in this batch."""
        return (self.position == position) | self.always

    def due(self, position: int) -> FloatArray:
        """Return the time (n,) in s when the server is free for this batch, if earlier ones wait for their devices."""
        due = np.zeros(len(self.position))
        for earlier in range(position):
            inside = self.members(earlier)
            time = self.scenario.law.pass_time(self.length, inside) * inside.any(-1)
            due = np.maximum(due, self.sent(earlier)) + time
        return due

    def add(self, state: ContinuousState, starts: BoolArray, length: IntArray, position: IntArray | int) -> Self:
        """Return a copy with the drafts (n, K) that start now."""
        scenario = self.scenario
        token_time = scenario.uplink.token_time(state.spectral_efficiency)
        ends = scenario.uplink.cycle_wait(length) + drafting_time(scenario, length, state.draft_time, state.head_start)
        return type(self)(
            scenario,
            np.where(starts, length, self.length),
            np.where(starts, ends, self.release),
            np.where(starts, length * token_time, self.air),
            np.where(starts, position, self.position),
            self.always,
        )
