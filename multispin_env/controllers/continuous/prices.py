"""Batches by prices: each free device weighs server, uplink and its own time (ours; docs/evidence/continuous.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray, ordered_sum
from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.base import ContinuousController, Option, Tunable, check_option, per_state
from multispin_env.controllers.continuous.groups import (
    batch_decision,
    length_for_idle,
    price_of_delay,
    start_drafts,
)
from multispin_env.controllers.continuous.under_way import Background, in_deep_fade
from multispin_env.physics.chains import sending_time
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Phase
from multispin_env.physics.radio import full_share_token_time
from multispin_env.scenario import Scenario

_USUAL_LENGTH = 6  # tokens of a draft, where a law of verification by tokens needs some before lengths are known


@dataclass(frozen=True, eq=False)
class _Tariff:
    scenario: Scenario
    usual: FloatArray  # (n, 1) n̄ devices
    penalty: FloatArray  # (n, 1) tokens a device
    queue: FloatArray  # (n, 1) κ
    air_price: float  # λ tokens/s

    def usual_pass_time(self, size: FloatArray) -> FloatArray:
        return np.where(size > 0.0, self.scenario.pass_time(size, size * (_USUAL_LENGTH + 1)), 0.0)

    def sizes(self, server_price: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Times and fees by the number of devices in a batch, the first four of `Market`, at μ (n, 1)."""
        size = np.arange(self.scenario.num_users + 2.0)
        full = np.maximum(size, self.usual)
        server = self.usual_pass_time(full)
        fee = server_price * server / full + self.penalty * np.maximum(size - self.usual, 0.0)
        one_more = self.usual_pass_time(self.usual + 1.0) - self.usual_pass_time(self.usual)
        return self.usual_pass_time(size), server, fee, one_more[:, 0]

    def drafts(self, state: ContinuousState, server_price: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Times, gains and own prices of drafts by device and length, the next three of `Market`, at μ (n, 1).

        The device's own price ν is the most tokens for a second of its time, after its part of a usual batch is paid.
        """
        from multispin_env.controllers.continuous.search import gain_table  # late: Numba takes long to import

        scenario = self.scenario
        length, low = np.arange(scenario.max_draft_length + 1.0), scenario.min_draft_length
        air = full_share_token_time(scenario, state.spectral_efficiency)
        queued = (self.queue * air)[..., None]
        alpha, price = state.acceptance_rate.ravel(), self.air_price * air.ravel()
        gain = gain_table(np.ones(air.size), alpha, price, scenario.max_draft_length).reshape(*air.shape, -1)
        server = self.usual_pass_time(self.usual)
        part = (server_price * server / self.usual)[..., None]
        pace = state.draft_time[..., None]
        cycle = length[low:] * (pace + queued)
        cycle += scenario.round_trip_time + server[..., None]
        own = np.maximum(((gain[..., low:] - part) / cycle).max(-1), 0.0)
        sending = sending_time(scenario, length, pace, queued, state.head_start[..., None])
        return scenario.round_trip_time + sending, gain, own


@dataclass(frozen=True, eq=False)
class Prices(ContinuousController):
    """As `Groups`, but a device that is free picks the batch that is worth most to all (ours).

    A batch j that can start D_j from now brings the tokens of the draft that fits, less λ for its air, μ for its part
    of the server's time, what the longer pass costs the other devices in it, ν_k for the time of the device, ρ for the
    delay if even the shortest draft is late, and a penalty for a batch above its usual size. Devices pick one after
    the other, the slowest first. Then `fit` finds the lengths, batch by batch.

    Parameters
    ----------
    ahead
        J ≥ 1: the latest batch that may be picked, counted from the next one.
    size
        n̄ as a part of K, in (0, 1]: usual size of a batch.
    server_price
        μ as a part of ρ, in [0, 1].
    penalty
        Tokens ≥ 0 for each device above n̄.
    queue
        κ ≥ 1: seconds that an upload takes for each second of the whole band.
    delay_weight
        > 0, a factor on ρ where `fit` finds lengths.
    air_price
        λ ≥ 0, tokens for a second of the whole band.
    rho
        As in `Groups`.

    Options of `tunable` may be arrays with the batch shape of the states. A law of verification by tokens counts with
    drafts of `_USUAL_LENGTH` where devices pick, and as it is where `fit` finds the lengths. The defaults are the best
    of 24 random choices in the mean over sixteen systems (``python -m benchmarks.tune controllers``).
    """

    tunable: ClassVar[Mapping[str, Tunable]] = {
        "size": Tunable(0.2, 0.9),
        "server_price": Tunable(0.0, 1.0),
        "penalty": Tunable(0.0, 8.0),
        "queue": Tunable(1.0, 8.0),
        "delay_weight": Tunable(0.25, 4.0),
    }

    ahead: int = 2
    size: Option = 0.5
    server_price: Option = 0.2
    penalty: Option = 3.0
    queue: Option = 3.0
    delay_weight: Option = 1.0
    air_price: float = 20.0
    rho: FloatArray | float | None = None

    def __post_init__(self) -> None:
        check_integer("ahead", self.ahead, 1)
        check_option("size", self.size, 0.0, 1.0, open_low=True)
        check_option("server_price", self.server_price, 0.0, 1.0)
        check_option("queue", self.queue, 1.0)
        check_option("delay_weight", self.delay_weight, 0.0, open_low=True)
        check_option("penalty", self.penalty, 0.0)
        check_real("air_price", self.air_price, 0.0)
        if self.rho is not None:
            check_option("rho", self.rho, 0.0, open_low=True)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        free, idle = state.phase == Phase.FREE, state.phase == Phase.IDLE
        faded = in_deep_fade(self.scenario, state) | idle
        work = Background.of(self.scenario, state, faded)
        usual = self._common("size", state)
        groups = np.maximum(np.rint(1.0 / usual), 1.0).astype(np.int64)
        rho = price_of_delay(self.scenario, state, self.rho, groups)
        picked = self._picked(state, work, free & ~faded, rho)
        turn = np.arange(self.scenario.num_users) % groups  # batches that devices aim at when everything starts
        position = np.where(state.batch[:, None] == 0, turn, picked)
        aim = np.where(free | idle, state.batch[:, None] + np.where(free, position, 1), state.aim)
        price = rho * per_state("delay_weight", self.delay_weight, len(rho))
        length = start_drafts(state, work, free, faded, position, price, air_price=self.air_price)
        return batch_decision(state, length_for_idle(self.scenario, state, length), aim, faded)

    def _common(self, name: str, state: ContinuousState) -> FloatArray:
        return per_state(name, getattr(self, name), len(state.batch))[:, None]

    def _picked(self, state: ContinuousState, work: Background, starts: BoolArray, rho: FloatArray) -> IntArray:
        from multispin_env.controllers.continuous.search import Market, pick_batches  # late: Numba takes long to import

        scenario = self.scenario
        usual, penalty, queue = (self._common(name, state) for name in ("size", "penalty", "queue"))
        tariff = _Tariff(scenario, usual * scenario.num_users, penalty, queue, self.air_price)
        server_price = per_state("server_price", self.server_price, len(rho))[:, None] * rho[:, None]
        sends, gain, own = tariff.drafts(state, server_price)
        inside = [work.position == position for position in range(self.ahead + 1)]
        market = Market(
            *tariff.sizes(server_price),
            sends,
            gain,
            own,
            scenario.min_draft_length,
            rho,
            np.stack([work.sent(position) for position in range(self.ahead + 1)], -1),
            np.stack([among.sum(-1) for among in inside], -1),
            np.stack([ordered_sum(own * among) for among in inside], -1),
        )
        pace = np.where(
            starts, state.draft_time + queue * full_share_token_time(scenario, state.spectral_efficiency), -1.0
        )
        order = np.argsort(-pace, -1, kind="stable")
        return np.asarray(pick_batches(market, order, starts.sum(-1)))
