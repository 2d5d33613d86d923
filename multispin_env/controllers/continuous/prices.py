"""Batches by prices: each free device weighs server, uplink and its own time (ours; docs/evidence/continuous.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray, ordered_sum
from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.base import ContinuousController, Option, Tunable, check_option, per_copy
from multispin_env.controllers.continuous.groups import (
    decision_of_batches,
    length_for_idle,
    price_of_delay,
    start_drafts,
)
from multispin_env.controllers.continuous.under_way import Background, aside
from multispin_env.physics.chains import longest_sent, sending_time
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Phase
from multispin_env.physics.radio import full_share_token_time
from multispin_env.scenario import Scenario

USUAL_LENGTH = 6  # tokens of a draft, where a law of verification by tokens needs some before lengths are known


@dataclass(frozen=True, eq=False)
class Tariff:
    """What a device pays, and what is usual; see `Prices`."""

    scenario: Scenario
    ahead: int
    usual: FloatArray  # (n, 1) n̄ devices
    penalty: FloatArray  # (n, 1) tokens a device
    queue: FloatArray  # (n, 1) κ
    air_price: float  # λ tokens/s

    def server_time(self, size: FloatArray) -> FloatArray:
        """Seconds that a batch of so many devices (...) takes; none for nobody."""
        return np.where(size > 0.0, self.scenario.pass_time(size, size * (USUAL_LENGTH + 1)), 0.0)


@dataclass(frozen=True, eq=False)
class Sizes:
    """What depends on the number of devices in a batch alone, of all numbers 0..K + 1."""

    early: FloatArray  # (K + 2,) s that the server takes for so many
    server: FloatArray  # (n, K + 2) s, if as many join as usual
    part: FloatArray  # (n, K + 2) tokens, what each device pays for that
    crowd: FloatArray  # (n, K + 2) tokens, the penalty for more than are usual
    one_more: FloatArray  # (n, 1) s by which one more device makes a usual batch longer

    @classmethod
    def of(cls, tariff: Tariff, server_price: FloatArray) -> Self:
        """``server_price`` (n, 1) is μ."""
        size = np.arange(tariff.scenario.num_users + 2.0)
        full = np.maximum(size, tariff.usual)
        server = tariff.server_time(full)
        crowd = tariff.penalty * np.maximum(size - tariff.usual, 0.0)
        one_more = tariff.server_time(tariff.usual + 1.0) - tariff.server_time(tariff.usual)
        return cls(tariff.server_time(size), server, server_price * server / full, crowd, one_more)


@dataclass(frozen=True, eq=False)
class Drafts:
    """What depends on a device and the length of its draft alone."""

    draft_time: FloatArray  # (n, K) s, T_k
    air: FloatArray  # (n, K) s that the upload of a token takes, with the wait for the uplink
    head_start: FloatArray | None  # (n, K) tokens; None: none
    gain: FloatArray  # (n, K, lengths) expected tokens less the price of their air, of lengths from the least on
    own_price: FloatArray  # (n, K) ν, see `of`

    @classmethod
    def of(cls, tariff: Tariff, state: ContinuousState, server_price: FloatArray) -> Self:
        """ν is the most tokens for a second of the device's own time, after its part of a usual batch is paid."""
        from multispin_env.controllers.continuous.search import gain_table  # late: Numba takes long to import

        scenario = tariff.scenario
        length = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1.0)
        air = full_share_token_time(scenario, state.spectral_efficiency)
        queued = tariff.queue * air
        one = np.ones(air.size)
        table = gain_table(
            one, state.acceptance_rate.ravel(), tariff.air_price * air.ravel(), scenario.max_draft_length
        )
        gain = table.reshape(*air.shape, -1)[..., scenario.min_draft_length :]
        server = tariff.server_time(tariff.usual)
        part = (server_price * server / tariff.usual)[..., None]
        pace = (state.draft_time + queued)[..., None]
        cycle = scenario.round_trip_time + length * pace + server[..., None]
        own = np.maximum(((gain - part) / cycle).max(-1), 0.0)
        return cls(state.draft_time, queued, state.head_start, gain, own)


@dataclass(eq=False)
class Market:
    """The coming batches of n copies while devices pick theirs, one of each copy after the other."""

    scenario: Scenario
    sizes: Sizes
    drafts: Drafts
    price: FloatArray  # (n, 1) ρ
    sent: FloatArray  # (n, J + 1) s, when the work under way for each batch and those before has been uploaded
    size: IntArray  # (n, J + 1) devices
    owned: FloatArray  # (n, J + 1) tokens/s, Σ ν of them

    @classmethod
    def of(cls, tariff: Tariff, state: ContinuousState, work: Background, price: FloatArray, share: FloatArray) -> Self:
        """With the drafts under way; ``share`` (n,) is μ / ρ."""
        server_price = (share * price)[:, None]
        drafts = Drafts.of(tariff, state, server_price)
        places = range(tariff.ahead + 1)
        inside = [work.place == place for place in places]
        sent = np.stack([work.sent(place) for place in places], -1)
        size = np.stack([among.sum(-1) for among in inside], -1)
        owned = np.stack([ordered_sum(drafts.own_price * among) for among in inside], -1)
        return cls(tariff.scenario, Sizes.of(tariff, server_price), drafts, price[:, None], sent, size, owned)

    def pick(self, device: IntArray, choosing: BoolArray) -> IntArray:
        """Places (n,) that these devices (n,) pick, by which those that are ``choosing`` change the market."""
        rows = np.arange(len(device))
        place: IntArray = self._worth(rows, device).argmax(-1)
        self.size[rows, place] += choosing
        self.owned[rows, place] += self.drafts.own_price[rows, device] * choosing
        return place

    def _worth(self, rows: IntArray, device: IntArray) -> FloatArray:
        """Tokens (n, J + 1) of the batches to a device, less all prices."""
        scenario, sizes, drafts = self.scenario, self.sizes, self.drafts
        low, high, trip = scenario.min_draft_length, scenario.max_draft_length, scenario.round_trip_time
        draft_time, air = drafts.draft_time[rows, device][:, None], drafts.air[rows, device][:, None]
        chain = None if drafts.head_start is None else drafts.head_start[rows, device][:, None]
        each = rows[:, None]
        due, after = self._due(rows), self.size + 1
        length = np.minimum(np.maximum(np.floor(longest_sent(due - trip, draft_time, air, chain)), low), high)
        tokens = drafts.gain[each, device[:, None], (length - low).astype(np.int64)]
        late = np.maximum(trip + sending_time(length, draft_time, air, chain) - due, 0.0)
        others = sizes.one_more * self.owned
        own = drafts.own_price[rows, device][:, None] * (due + sizes.server[each, after])
        return tokens - sizes.part[each, after] - others - own - self.price * late - sizes.crowd[each, after]

    def _due(self, rows: IntArray) -> FloatArray:
        """When the server is free for each batch, (n, J + 1) s, if the later ones become as large as usual."""
        due = np.zeros_like(self.sent)
        server = self.sizes.early[self.size[:, 0]]
        for place in range(1, due.shape[-1]):
            np.maximum(due[:, place - 1], self.sent[:, place - 1], out=due[:, place])
            due[:, place] += server
            server = self.sizes.server[rows, self.size[:, place]]
        return due


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
    drafts of `USUAL_LENGTH` where devices pick, and as it is where `fit` finds the lengths. The defaults are the best
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
