"""What it is worth to put a device into one of the coming batches (ours; docs/continuous.md)."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.controllers.continuous.background import Background
from multispin_env.controllers.continuous.launch import all_sent, in_order
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.physics.tokens import TokenLaw
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.scenario import Scenario

USUAL_LENGTH = 6
"""Tokens of a draft, where a law of verification by tokens needs some before lengths are known."""


@dataclass(frozen=True, eq=False)
class Tariff:
    """Prices, and what is usual; see `Prices`."""

    scenario: Scenario
    ahead: int
    usual: FloatArray  # (n, 1) n̄ devices
    penalty: FloatArray  # (n, 1) tokens a device
    queue: FloatArray  # (n, 1) κ
    air_price: float  # λ tokens/s

    def server_time(self, size: FloatArray | float) -> FloatArray:
        """Seconds that a batch of so many devices (...) takes; none for nobody."""
        size = np.asarray(size, dtype=np.float64)
        return np.where(size > 0.0, self.scenario.pass_time(size, size * (USUAL_LENGTH + 1)), 0.0)

    @property
    def one_more(self) -> FloatArray:
        """Seconds (n, 1) by which one more device makes a usual batch longer."""
        return self.server_time(self.usual + 1.0) - self.server_time(self.usual)


def own_prices(tariff: Tariff, state: ContinuousState, server_price: FloatArray) -> FloatArray:
    """ν (n, K): most tokens for a second of the device's own time, after its part of a usual batch is paid."""
    scenario = tariff.scenario
    length = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1.0)
    token_air = full_share_token_time(scenario, state.spectral_efficiency)[..., None]
    server = tariff.server_time(tariff.usual)
    tokens = TokenLaw.of(state.acceptance_rate[..., None]).expected(length)
    part = (server_price[:, None] * server / tariff.usual)[..., None]
    gain = tokens - tariff.air_price * length * token_air - part
    pace = state.draft_time[..., None] + tariff.queue[..., None] * token_air
    cycle = scenario.round_trip_time + length * pace + server[..., None]
    price: FloatArray = np.maximum((gain / cycle).max(-1), 0.0)
    return price


@dataclass(eq=False)
class Market:
    """The coming batches of n copies while devices pick theirs, one of each copy after the other."""

    tariff: Tariff
    state: ContinuousState
    price: FloatArray  # (n,) ρ
    server_price: FloatArray  # (n,) μ
    own_price: FloatArray  # (n, K) ν
    sent: FloatArray  # (n, J + 1) s, when the work under way for each batch and those before has been uploaded
    size: FloatArray  # (n, J + 1) devices
    owned: FloatArray  # (n, J + 1) tokens/s, Σ ν of them

    @classmethod
    def of(cls, tariff: Tariff, state: ContinuousState, work: Background, price: FloatArray, share: FloatArray) -> Self:
        """With the drafts under way; ``share`` (n,) is μ / ρ."""
        own = own_prices(tariff, state, share * price)
        places = range(tariff.ahead + 1)
        inside = [work.place == place for place in places]
        sent = np.stack([all_sent(*work.up_to(place)) for place in places], -1)
        size = np.stack([among.sum(-1) for among in inside], -1).astype(np.float64)
        owned = np.stack([in_order(own * among) for among in inside], -1)
        return cls(tariff, state, price, share * price, own, sent, size, owned)

    def pick(self, device: IntArray, choosing: BoolArray) -> IntArray:
        """Places (n,) that these devices (n,) pick, by which those that are ``choosing`` change the market."""
        rows = np.arange(len(device))
        place: IntArray = self._worth(rows, device).argmax(-1)
        self.size[rows, place] += choosing
        self.owned[rows, place] += self.own_price[rows, device] * choosing
        return place

    def _worth(self, rows: IntArray, device: IntArray) -> FloatArray:
        """Tokens (n, J + 1) of the batches to a device, less all prices."""
        tariff, scenario = self.tariff, self.tariff.scenario
        one = self.state.system[rows, device]
        token_air = full_share_token_time(scenario, one.spectral_efficiency)[:, None]
        pace = one.draft_time[:, None] + tariff.queue * token_air
        due, after = self._due(), self.size + 1.0
        fitting = np.floor((due - scenario.round_trip_time) / pace)
        length = np.clip(fitting, scenario.min_draft_length, scenario.max_draft_length)
        tokens = TokenLaw.of(one.acceptance_rate[:, None]).expected(length) - tariff.air_price * length * token_air
        late = np.maximum(scenario.round_trip_time + length * pace - due, 0.0)
        server = tariff.server_time(np.maximum(after, tariff.usual))
        part = self.server_price[:, None] * server / np.maximum(after, tariff.usual)
        others = tariff.one_more * self.owned
        own = self.own_price[rows, device][:, None] * (due + server)
        crowd = tariff.penalty * np.maximum(after - tariff.usual, 0.0)
        return tokens - part - others - own - self.price[:, None] * late - crowd

    def _due(self) -> FloatArray:
        """When the server is free for each batch, (n, J + 1) s, if the later ones become as large as usual."""
        due = np.zeros_like(self.sent)
        for place in range(1, due.shape[-1]):
            size, usual = self.size[:, place - 1], self.tariff.usual[:, 0]
            size = size if place == 1 else np.maximum(size, usual)
            due[:, place] = np.maximum(due[:, place - 1], self.sent[:, place - 1]) + self.tariff.server_time(size)
        return due
