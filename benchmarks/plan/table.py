"""Tables of lengths, batches of a period by devices, 0 for no draft: their rates, and a controller that follows them.

For a table the best execution is known: uploads go in the order of their batches, and each batch starts when the server
is free and its last upload has ended. Starting later, or in another order, makes nothing earlier.
"""

from dataclasses import dataclass

import numpy as np

from multispin_env import ContinuousController, ContinuousDecision, ContinuousState, Join, Phase
from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.controllers.continuous.search import all_sent
from multispin_env.draft import expected_tokens
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import verification_time
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

PERIODS = 3  # Periods that are played; the first, which starts from an idle system, is not counted


@dataclass(frozen=True, eq=False)
class Plan(ContinuousController):
    """Controller that follows tables (P, K), one for each of n environments, in a static channel."""

    tables: tuple[IntArray, ...]

    def decide(self, state: ContinuousState) -> ContinuousDecision:
        """Wait for the devices of the next batch; give new drafts the length of their device's next batch."""
        batch = state.batch[:, None]
        turned = [np.roll(table, -int(turn), 0) for table, turn in zip(self.tables, state.batch, strict=True)]
        offset = np.stack([(table > 0).argmax(0) for table in turned])  # batches until each device's next
        length = np.stack([table[ahead, np.arange(len(ahead))] for table, ahead in zip(turned, offset, strict=True)])
        aim = np.where(state.phase == Phase.FREE, batch + offset, state.aim)
        join = np.where(aim <= batch, Join.WAIT, Join.LEAVE)
        return ContinuousDecision(length, join, priority=aim.astype(np.float64), aim=aim)


@dataclass(frozen=True, eq=False)
class Tables:
    """Rates of tables for devices (n, K)."""

    scenario: Scenario
    draft_time: FloatArray  # (n, K) T_k
    token_time: FloatArray  # (n, K) u_k
    gains: FloatArray  # (n, K, L_max + 1) E[N | L], with 0 instead for no draft at all

    @classmethod
    def of(cls, scenario: Scenario, state: SystemState) -> "Tables":
        """Take devices (n, K) in a static channel."""
        gains = expected_tokens(np.arange(scenario.max_draft_length + 1), state.acceptance_rate[..., None])
        gains[..., 0] = 0.0
        return cls(scenario, state.draft_time, full_share_token_time(scenario, state.spectral_efficiency), gains)

    def __getitem__(self, rows: IntArray) -> "Tables":
        """Select systems, with repetitions."""
        return Tables(self.scenario, self.draft_time[rows], self.token_time[rows], self.gains[rows])

    def rate(self, table: IntArray) -> FloatArray:
        """Return long-run tokens/s (n,) of tables (n, P, K), 0 for no draft; -inf if a batch or device has no draft.

        Tokens of a period over its mean time; `PERIODS` are played from an idle system, the first is not counted.
        """
        inside = table > 0
        valid = inside.any(-1).all(-1) & inside.any(-2).all(-1)
        tokens = np.take_along_axis(self.gains, np.moveaxis(table, 1, 2), -1).sum((-1, -2))
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = tokens * (PERIODS - 1) / self._elapsed(table, inside)
        return np.where(valid, rate, -np.inf)

    def _elapsed(self, table: IntArray, inside: BoolArray) -> FloatArray:
        rows = table.shape[1]
        gap = _gaps(inside)
        passes = np.stack([verification_time(self.scenario, table[:, row], inside[:, row]) for row in range(rows)], -1)
        index = np.arange(len(table))[:, None]
        ahead = inside.argmax(1)  # (n, K) batches until each device's first
        following = np.take_along_axis(table, ahead[:, None], 1)[:, 0]
        release = self._drafted(following)
        air = following * self.token_time
        waiting = np.zeros((len(table), rows))  # released work of the batches ahead, s
        elapsed = np.zeros(len(table))
        for number in range(PERIODS * rows):
            row = number % rows
            start = _all_uploaded(release, air * (ahead == 0), waiting[:, 0])
            end = start + passes[:, row]
            if number >= rows:
                elapsed += end
            waiting = _later_work(release, air, ahead, waiting, end)
            pending = release > end[:, None]
            air = air * pending
            release = np.maximum(release - end[:, None], 0.0)
            free = ahead == 0
            step = gap[:, row]
            following = table[index, (row + step) % rows, np.arange(table.shape[2])]
            ahead = np.where(free, step, ahead) - 1
            release = np.where(free, self._drafted(following), release)
            air = np.where(free, following * self.token_time, air)
        return elapsed

    def _drafted(self, length: IntArray) -> FloatArray:
        return np.asarray(self.scenario.round_trip_time + length * self.draft_time)


def _gaps(inside: BoolArray) -> IntArray:
    """Return the number of batches (n, P, K) from each row to the next one with the device."""
    rows = inside.shape[1]
    gap = np.empty(inside.shape, dtype=np.int64)
    following = np.zeros(inside[:, 0].shape, dtype=np.int64)
    for number in range(2 * rows - 1, -1, -1):
        row = number % rows
        following = following + 1
        gap[:, row] = following
        following = np.where(inside[:, row], 0, following)
    return gap


def _all_uploaded(release: FloatArray, air: FloatArray, waiting: FloatArray) -> FloatArray:
    """Return the end of the waiting work (n,) and of uploads (n, K) that are released later, some without air time."""
    return np.asarray(np.maximum(waiting + air.sum(-1), all_sent(release * (air > 0.0), air)))


def _later_work(
    release: FloatArray, air: FloatArray, ahead: IntArray, waiting: FloatArray, end: FloatArray
) -> FloatArray:
    """Return the released work (n, P) left at ``end`` (n,), by batch from the next one, earlier batches served first.

    The loop goes over devices in the order of their release, for all batches ahead at once.
    """
    batches = waiting.shape[1]
    order = np.argsort(release, -1)
    time = np.minimum(np.take_along_axis(release, order, -1), end[:, None])
    begun = np.take_along_axis(release, order, -1) <= end[:, None]
    work = np.take_along_axis(air, order, -1) * begun
    position = np.take_along_axis(ahead, order, -1)
    counted = work.T[..., None] * (position.T[..., None] <= np.arange(batches))
    begins = np.ascontiguousarray(time.T)[..., None]
    done = np.cumsum(waiting, -1)
    for j in range(len(counted)):
        np.maximum(done, begins[j], out=done)
        done += counted[j]
    left = np.maximum(done - end[:, None], 0.0)
    later = np.zeros_like(waiting)
    later[:, :-1] = np.diff(left, axis=-1)
    return np.maximum(later, 0.0)
