"""Batches by prices: each device weighs the server's, the uplink's and its own time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.base import ContinuousController
from multispin_env.controllers.continuous.background import Background, aside
from multispin_env.controllers.continuous.groups import decision_of_batches, length_for_idle, start_drafts
from multispin_env.controllers.continuous.market import Market, Tariff
from multispin_env.controllers.continuous.price import price_of_delay
from multispin_env.controllers.options import Option, Tunable, check_option, per_copy
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Phase
from multispin_env.physics.radio import full_share_token_time


@dataclass(frozen=True, eq=False)
class Prices(ContinuousController):
    """As `Groups`, but a device that is free picks the batch that is worth most to all (ours; docs/continuous.md).

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

    Options of `tunable` may be arrays with the batch shape of the states. The defaults are the best of 24 random
    choices in the mean over sixteen systems (``python -m benchmarks.tune_controllers prices --seconds 4``). A law of
    verification by tokens counts with drafts of `USUAL_LENGTH` where devices pick, and as it is where `fit` finds the
    lengths.
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
        faded = aside(self.scenario, state) | idle
        work = Background.of(self.scenario, state, faded)
        usual = self._common("size", state)
        groups = np.maximum(np.rint(1.0 / usual), 1.0).astype(np.int64)
        rho = price_of_delay(self.scenario, state, self.rho, groups)
        picked = self._picked(state, work, free & ~faded, rho)
        turn = np.arange(self.scenario.num_users) % groups  # batches that devices aim at when everything starts
        place = np.where(state.batch[:, None] == 0, turn, picked)
        aim = np.where(free | idle, state.batch[:, None] + np.where(free, place, 1), state.aim)
        price = rho * per_copy("delay_weight", self.delay_weight, len(rho))
        length = start_drafts(state, work, free, faded, place, price, air_price=self.air_price)
        return decision_of_batches(state, length_for_idle(self.scenario, state, length), aim, faded)

    def _common(self, name: str, state: ContinuousState) -> FloatArray:
        """An option of all devices, (n, 1)."""
        return per_copy(name, getattr(self, name), len(state.batch))[:, None]

    def _picked(self, state: ContinuousState, work: Background, starts: BoolArray, rho: FloatArray) -> IntArray:
        """Places (n, K) of the batches that starting devices pick."""
        usual, penalty, queue = (self._common(name, state) for name in ("size", "penalty", "queue"))
        tariff = Tariff(self.scenario, self.ahead, usual * self.scenario.num_users, penalty, queue, self.air_price)
        market = Market.of(tariff, state, work, rho, per_copy("server_price", self.server_price, len(rho)))
        token_air = full_share_token_time(self.scenario, state.spectral_efficiency)
        pace = np.where(starts, state.draft_time + queue * token_air, -1.0)
        order = np.argsort(-pace, -1, kind="stable")
        place, rows = np.zeros(starts.shape, dtype=np.int64), np.arange(len(order))
        for device in order.T[: starts.sum(-1).max()]:
            choosing = starts[rows, device]  # others come last; how many of them do, depends on the other copies
            place[rows, device] = np.where(choosing, market.pick(device, choosing), 0)
        return place
