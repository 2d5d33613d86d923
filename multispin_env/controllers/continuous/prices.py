"""Batches chosen by prices of server, uplink and device time (not in the paper; docs/evidence/continuous.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray, ordered_sum
from multispin_env.checks import check_integer, check_real, checked_field
from multispin_env.controllers.base import ContinuousController, Option, Tunable, check_option, per_state
from multispin_env.controllers.continuous.groups import (
    batch_decision,
    fit_lengths,
    length_for_others,
    price_of_delay,
)
from multispin_env.controllers.continuous.under_way import Background, not_awaited
from multispin_env.physics.chains import sending_time
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Phase

_USUAL_LENGTH = 6  # tokens of a draft, assumed for the verification time before lengths are known


@dataclass(frozen=True, eq=False)
class Prices(ContinuousController):
    """Batches as in `Groups`, but each free device chooses the batch with the highest value to all devices.

    The value of batch j, which can start D_j seconds from now, is the expected tokens of the longest draft that arrives
    by then, minus costs: λ for its air time, μ for its part of the server time, the longer pass for the other devices,
    ν_k for the time of the device, ρ for the delay if even the shortest draft is late, and a penalty above the usual
    batch size. Devices choose one after the other, the slowest first. Then `fit` finds the lengths, batch by batch.

    Parameters
    ----------
    ahead
        Latest batch J ≥ 1 that may be chosen, counted from the next one, which is 0.
    size
        Usual batch size n̄ as a fraction of K, in (0, 1].
    server_price
        Price μ of a second of the server as a fraction of ρ, in [0, 1].
    penalty
        Tokens ≥ 0 for each device above n̄.
    queue
        Duration κ ≥ 1 of an upload relative to its time with the whole band.
    delay_weight
        Factor > 0 on ρ in the search for lengths (`fit`).
    air_price
        Price λ ≥ 0 of a second of the whole band, in tokens.
    rho
        Price ρ of a second of delay, as in `Groups`.

    Options of `tunable` may be arrays with the batch shape of the states. If the verification time depends on tokens,
    devices choose as if all drafts had `_USUAL_LENGTH` tokens; `fit` uses the exact time. Among 24 random choices, the
    defaults had the best mean over sixteen systems (``python -m benchmarks.tune controllers``).
    """

    tunable: ClassVar[Mapping[str, Tunable]] = {
        "size": Tunable(0.2, 0.9),
        "server_price": Tunable(0.0, 1.0),
        "penalty": Tunable(0.0, 8.0),
        "queue": Tunable(1.0, 8.0),
        "delay_weight": Tunable(0.25, 4.0),
    }

    ahead: int = checked_field(2, check_integer, 1)
    size: Option = checked_field(0.5, check_option, 0.0, 1.0, open_low=True)
    server_price: Option = checked_field(0.2, check_option, 0.0, 1.0)
    penalty: Option = checked_field(3.0, check_option, 0.0)
    queue: Option = checked_field(3.0, check_option, 1.0)
    delay_weight: Option = checked_field(1.0, check_option, 0.0, open_low=True)
    air_price: float = checked_field(20.0, check_real, 0.0)
    rho: FloatArray | float | None = checked_field(None, check_option, 0.0, open_low=True)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        free, faded = state.phase == Phase.FREE, not_awaited(self.scenario, state)
        work = Background.of(self.scenario, state, faded)
        usual = self._column("size", state)
        groups = np.maximum(np.rint(1.0 / usual), 1.0).astype(np.int64)
        rho = price_of_delay(self.scenario, state, self.rho, groups)
        picked = self._pick(state, work, free & ~faded, rho)
        turn = np.arange(self.scenario.num_users) % groups  # initial batches
        position = np.where(state.batch[:, None] == 0, turn, picked)
        aim = np.where(state.starting, state.batch[:, None] + np.where(free, position, 1), state.aim)
        price = rho * per_state("delay_weight", self.delay_weight, len(rho))
        length = fit_lengths(state, work, free, faded, position, price, air_price=self.air_price)
        return batch_decision(state, length_for_others(self.scenario, state, length), aim, faded, work.always)

    def _column(self, name: str, state: ContinuousState) -> FloatArray:
        return per_state(name, getattr(self, name), len(state.batch))[:, None]

    def _pick(self, state: ContinuousState, work: Background, starts: BoolArray, rho: FloatArray) -> IntArray:
        from multispin_env.controllers.continuous.search import Market, pick_batches  # late: Numba takes long to import

        scenario = self.scenario
        usual = self._column("size", state) * scenario.num_users
        server_price, queue = self._column("server_price", state) * rho[:, None], self._column("queue", state)
        send_time, gain, own_price = self._drafts(state, usual, server_price, queue)
        inside = [work.members(position) for position in range(self.ahead + 1)]
        market = Market(
            *self._batches(state, usual, server_price),
            send_time,
            gain,
            own_price,
            scenario.min_draft_length,
            rho,
            np.stack([work.sent(position) for position in range(self.ahead + 1)], -1),
            np.stack([members.sum(-1) for members in inside], -1),
            np.stack([ordered_sum(own_price * members) for members in inside], -1),
        )
        pace = state.draft_time + queue * scenario.uplink.token_time(state.spectral_efficiency)
        order = np.argsort(-np.where(starts, pace, -1.0), -1, kind="stable")
        return np.asarray(pick_batches(market, order, starts.sum(-1)))

    def _verification_time(self, size: FloatArray) -> FloatArray:
        return np.where(size > 0.0, self.scenario.law.time(size, size * (_USUAL_LENGTH + 1)), 0.0)

    def _batches(
        self, state: ContinuousState, usual: FloatArray, server_price: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return the first four fields of `Market`, times and fees by the number of devices in a batch."""
        size = np.arange(self.scenario.num_users + 2.0)
        full = np.maximum(size, usual)
        server = self._verification_time(full)
        fee = server_price * server / full + self._column("penalty", state) * np.maximum(size - usual, 0.0)
        one_more = self._verification_time(usual + 1.0) - self._verification_time(usual)
        return self._verification_time(size), server, fee, one_more[:, 0]

    def _drafts(
        self, state: ContinuousState, usual: FloatArray, server_price: FloatArray, queue: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the next three fields of `Market`; the own price ν of a device is its maximum net gain per second."""
        from multispin_env.controllers.continuous.search import gain_table  # late: Numba takes long to import

        scenario = self.scenario
        length, low = np.arange(scenario.max_draft_length + 1.0), scenario.min_draft_length
        air = scenario.uplink.token_time(state.spectral_efficiency)
        queued = (queue * air)[..., None]
        alpha, price = state.acceptance_rate.ravel(), self.air_price * air.ravel()
        gain = gain_table(np.ones(air.size), alpha, price, scenario.max_draft_length).reshape(*air.shape, -1)
        server = self._verification_time(usual)
        part = (server_price * server / usual)[..., None]
        pace = state.draft_time[..., None]
        cycle = length[low:] * (pace + queued)
        cycle += scenario.uplink.fixed_wait + server[..., None]
        sending = sending_time(scenario, length, pace, queued, state.head_start[..., None])
        cycle = scenario.uplink.with_wait(cycle, length[low:, None], np.transpose)
        sending = scenario.uplink.with_wait(sending, length[:, None], np.transpose)
        own_price = np.maximum(((gain[..., low:] - part) / cycle).max(-1), 0.0)
        return scenario.uplink.fixed_wait + sending, gain, own_price
