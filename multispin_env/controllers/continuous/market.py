"""Value of putting a device into one of the coming batches (ours; docs/continuous.md)."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.controllers.continuous.background import Background
from multispin_env.controllers.continuous.launch import all_sent, ordered_sum
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import TokenLaw
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

    pace: FloatArray  # (n, K) s a token, with the wait for the uplink
    gain: FloatArray  # (n, K, lengths) expected tokens less the price of their air, of lengths from the least on
    own_price: FloatArray  # (n, K) ν, see `of`

    @classmethod
    def of(cls, tariff: Tariff, state: ContinuousState, server_price: FloatArray) -> Self:
        """ν is the most tokens for a second of the device's own time, after its part of a usual batch is paid."""
        scenario = tariff.scenario
        length = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1.0)
        air = full_share_token_time(scenario, state.spectral_efficiency)
        pace = state.draft_time + tariff.queue * air
        gain = TokenLaw.of(state.acceptance_rate[..., None]).expected(length)
        gain -= tariff.air_price * length * air[..., None]
        server = tariff.server_time(tariff.usual)
        part = (server_price * server / tariff.usual)[..., None]
        cycle = scenario.round_trip_time + length * pace[..., None] + server[..., None]
        return cls(pace, gain, np.maximum(((gain - part) / cycle).max(-1), 0.0))


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
        sent = np.stack([all_sent(*work.up_to(place)) for place in places], -1)
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
        pace, each = drafts.pace[rows, device][:, None], rows[:, None]
        due, after = self._due(rows), self.size + 1
        length = np.minimum(np.maximum(np.floor((due - trip) / pace), low), high)
        tokens = drafts.gain[each, device[:, None], (length - low).astype(np.int64)]
        late = np.maximum(trip + length * pace - due, 0.0)
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
