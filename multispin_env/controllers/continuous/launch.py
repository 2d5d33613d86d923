"""Drafts that start together for one batch: what any lengths of theirs bring and cost (ours; docs/continuous.md)."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import batch_time
from multispin_env.scenario import Scenario

ALL: Any = (slice(None), None)
"""Arrays (n, ...) to go with candidates (n, C, ...) of all copies."""


@dataclass(frozen=True, eq=False)
class Launch:
    """Devices that start drafts now for one batch, of n copies."""

    scenario: Scenario
    starts: BoolArray  # (n, K), who starts a draft for the batch
    draft_time: FloatArray  # (n, K) s a token; 0 for others
    token_air: FloatArray  # (n, K) s of the whole band a token; 0 for others
    acceptance_rate: FloatArray  # (n, K) α
    gain: FloatArray  # (n, K, L_max + 1), what drafts of 0, 1 .. tokens are expected to gain, weighted; 0 for others
    release: FloatArray  # (n, K) s, when a draft without tokens would end, or, of others, the draft under way does
    air: FloatArray  # (n, K) s of the whole band that uploads of others need, which this batch has to wait for
    due: FloatArray  # (n,) s, when the server is free for the batch
    delay_price: FloatArray  # (n,) tokens/s, ρ > 0, what a second of delay costs
    air_price: float = 0.0  # λ ≥ 0, tokens a second of the whole band

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        state: ContinuousState,
        starts: BoolArray,
        background: tuple[FloatArray, FloatArray],
        due: FloatArray,
        delay_price: FloatArray,
        *,
        air_price: float = 0.0,
        weight: FloatArray | float = 1.0,
    ) -> Self:
        """From a state (n, K); ``background`` are release and air times (n, K) of others, 0 where nothing is sent."""
        release, air = background
        return cls(
            scenario,
            starts,
            state.draft_time * starts,
            full_share_token_time(scenario, state.spectral_efficiency) * starts,
            state.acceptance_rate,
            _gains(scenario, state.acceptance_rate, np.where(starts, weight, 0.0)),
            np.where(starts, scenario.round_trip_time, release),
            np.where(starts, 0.0, air),
            due,
            delay_price,
            air_price,
        )

    def __getitem__(self, rows: BoolArray | IntArray) -> Self:
        """Some of the copies."""
        arrays = {
            field.name: getattr(self, field.name)[rows]
            for field in fields(self)
            if field.name not in ("scenario", "air_price")
        }
        return replace(self, **arrays)

    def ready(self, lengths: IntArray, at: Any = ALL) -> FloatArray:
        """When all uploads have ended, (...) s, for lengths (..., K) (docs/continuous.md, 1).

        Here and below, ``at`` says of which copies: what turns arrays (n, K) into such that go with the lengths.
        """
        count = lengths.astype(np.float64)  # once, not for each product
        release = count * self.draft_time[at]
        release += self.release[at]
        count *= self.token_air[at]
        count += self.air[at]
        return all_sent(release, count)

    def server_time(self, lengths: IntArray, at: Any = ALL) -> FloatArray:
        """How long the batch is verified, (...) s, for lengths (..., K)."""
        return batch_time(self.scenario, lengths, np.broadcast_to(self.starts[at], lengths.shape))

    def gains(self, lengths: IntArray) -> FloatArray:
        """What each draft is expected to gain, weighted, less the price of its air, for lengths (n, ..., K)."""
        first = np.arange(0, self.gain.size, self.gain.shape[-1]).reshape(self.starts.shape)
        between = (slice(None), *(None,) * (lengths.ndim - 2))
        gain: FloatArray = self.gain.take(lengths + first[between])
        if self.air_price:
            gain -= self.air_price * (lengths * self.token_air[between])
        return gain

    def cost(self, lengths: IntArray, at: Any = ALL) -> FloatArray:
        """What delay, and the server's time where tokens change it, cost (...), for lengths (..., K)."""
        late = np.maximum(self.ready(lengths, at) - self.due[at], 0.0)
        if not self.scenario.law.flat:  # a flat law costs all lengths alike
            late += self.server_time(lengths, at)
        return late * self.delay_price[at]

    def value(self, lengths: IntArray) -> FloatArray:
        """Gains less costs, (n, C), for lengths (n, C, K)."""
        return ordered_sum(self.gains(lengths)) - self.cost(lengths)


def _gains(scenario: Scenario, acceptance_rate: FloatArray, weight: FloatArray) -> FloatArray:
    """Weighted E[N | L] of L = 0..L_max, (n, K, L_max + 1): sums of powers of α, as [MS] (12) has them."""
    powers = np.repeat(acceptance_rate[..., None], scenario.max_draft_length + 1, -1)
    powers[..., 0] = weight
    np.multiply.accumulate(powers, -1, out=powers)
    return np.add.accumulate(powers, -1, out=powers)


def longest_paying(scenario: Scenario, acceptance_rate: FloatArray, price: FloatArray) -> IntArray:
    """The longest draft of which every token is accepted with a probability ≥ price: α^L ≥ price (...), L in range."""
    decay = np.minimum(np.log(np.maximum(acceptance_rate, 1e-300)), -1e-12)
    count = np.log(np.maximum(price, 1e-12)) / decay
    return np.clip(np.floor(count), scenario.min_draft_length, scenario.max_draft_length).astype(np.int64)


def all_sent(release: FloatArray, air: FloatArray) -> FloatArray:
    """When a work-conserving uplink has served uploads (..., K) of ``air`` seconds that start at ``release``, (...) s.

    The greatest of: the start of an upload, plus all that starts then or later.
    """
    users = release.shape[-1]
    order = release.argsort(-1).reshape(-1, users)
    order += np.arange(0, release.size, users)[:, None]
    if len(order) <= 64:  # faster along the last axis for few rows, else by columns; the bits are the same
        work = np.add.accumulate(air.take(order[:, ::-1]), -1)
        work += release.take(order[:, ::-1])
        return np.asarray(work.max(-1).reshape(release.shape[:-1]))
    columns = np.ascontiguousarray(order.T)
    start, work = release.take(columns), air.take(columns)
    for i in range(users - 1, 0, -1):
        work[i - 1] += work[i]
    start += work
    return np.asarray(start.max(0).reshape(release.shape[:-1]))


def ordered_sum(array: FloatArray) -> FloatArray:
    """Sums (...) over the last axis from left to right, to the same bits in any batch."""
    total: FloatArray = np.add.accumulate(array, -1)[..., -1]
    return total
