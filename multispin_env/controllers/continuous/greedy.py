"""Rules without batches planned ahead, and a modifier for deadlines (not in the paper; docs/evidence/serving.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray, dense_rank, ordered_sum
from multispin_env.checks import check_integer, check_real, checked_field
from multispin_env.controllers.base import (
    ContinuousController,
    Modifier,
    Option,
    Tunable,
    check_option,
    max_length,
    min_length,
    per_device,
)
from multispin_env.controllers.continuous.cycle import SHORTEST_CYCLE, TYPICAL_CYCLE, Cycle, longest_profitable
from multispin_env.draft import expected_tokens
from multispin_env.physics.chains import chain_left, drafting_time, hit_probability, longest_sent, sending_time
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join, Phase
from multispin_env.scenario import Scenario


def present(state: ContinuousState) -> FloatArray:
    """Return the weights (n, K) of devices in estimates of the load: 1 with a request, 0 without.

    If no device has a request, the next request may come from any of them, and each weight is 1 / K.
    """
    busy = state.busy
    return np.where(busy.any(-1, keepdims=True), busy, 1.0 / busy.shape[-1])


_SECANT_STEPS = 4  # error of rates: 2e-4 if the uplink is nearly full, at most 1e-6 otherwise


def estimated_rates(scenario: Scenario, state: ContinuousState, lengths: IntArray, weight: FloatArray) -> FloatArray:
    """Estimate the total rate (n, C) in tokens/s for draft lengths (C,) or (n, C, K), without a simulation.

    A device drafts, uploads, waits for half a pass and is verified. The server is always busy, so a batch holds the
    devices that return during the pass before it, at most all of them. The secant method finds the batch size. An
    upload of w seconds takes w / (1 − ρ), where ρ is the load of shorter uploads, which go first. After a hit, a device
    that drafts ahead has the head start that it drafts in half of the time in which it waits and is verified. The
    ``weight`` (n, K) of a device is in [0, 1] (`present`). Prompts are ignored.
    """
    token_time = scenario.uplink.token_time(state.spectral_efficiency)
    count = ordered_sum(weight)[:, None]
    drafted: IntArray | FloatArray = lengths
    drafts = lengths if lengths.ndim > 1 else lengths[None, :, None]
    order = np.argsort(token_time, -1, kind="stable")[:, None]
    if lengths.ndim > 1:
        drafted = lengths.max(-1) if scenario.law.padded else ordered_sum(weight[:, None] * lengths) / count
        order = np.argsort(lengths * token_time[:, None], -1, kind="stable")
        lengths = _by_upload(lengths, order)
    counted, pace, air, alpha = (
        _by_upload(array[:, None], order) for array in (weight, state.draft_time, token_time, state.acceptance_rate)
    )
    need = lengths * air
    work = counted * need
    whole = scenario.uplink.fixed_wait + lengths * pace
    whole = scenario.uplink.with_wait(whole, drafts, partial(_by_upload, order=order))
    hit = hit_probability(scenario, lengths, alpha) if scenario.draft_ahead else None
    frequency, cycles = np.empty_like(need), np.empty_like(need)  # drafts/s and cycle times in s of each device

    def returning(size: FloatArray) -> FloatArray:
        """Return the number of devices that return during a pass of ``size`` devices."""
        server = scenario.law.time(size, size * (drafted + 1))
        np.add(whole, 1.5 * server, out=cycles)
        room = np.ones_like(server)  # part of the uplink that shorter uploads do not use
        for device in range(len(need)):
            cycle = cycles[device]
            cycle += need[device] / np.maximum(room, 0.03)
            if hit is not None:
                length = lengths if lengths.ndim == 1 else lengths[device]
                left = chain_left(scenario, length, pace[device], np.zeros(1), cycle - 0.75 * server)
                cycle -= hit[device] * (length * pace[device] - drafting_time(scenario, length, pace[device], left))
            np.divide(1.0, cycle, out=frequency[device])
            room -= work[device] * frequency[device]
        back = np.multiply(counted, frequency, out=cycles).sum(0)
        return np.clip(server * back, 1.0, most)

    most = np.maximum(count, 1.0)
    before = count / 2 + np.zeros(need.shape[1:])
    size = back = returning(before)
    for _ in range(_SECANT_STEPS):
        now = returning(size)
        moved = size - before
        slope = np.divide(now - back, moved, out=np.zeros_like(moved), where=moved != 0.0)
        before, back = size, now
        size = np.clip(size + (now - size) / (1.0 - np.minimum(slope, 0.9)), 1.0, most)
    returning(size)
    return (counted * frequency * expected_tokens(lengths, alpha)).sum(0)


def _by_upload(array: FloatArray | IntArray, order: IntArray) -> Any:
    return np.ascontiguousarray(np.moveaxis(np.take_along_axis(array, order, -1), -1, 0))


def best_common_length(scenario: Scenario, state: ContinuousState) -> IntArray:
    """Return the common length (n, K) with the highest estimated rate of the devices with a request."""
    lengths = np.arange(scenario.min_draft_length, scenario.max_draft_length + 1)
    best = lengths[estimated_rates(scenario, state, lengths, present(state)).argmax(-1)]
    return np.repeat(best[:, None], state.phase.shape[-1], -1)


@dataclass(frozen=True, eq=False)
class Greedy(ContinuousController):
    """Rule by which the server takes all uploaded drafts as soon as it is free.

    Parameters
    ----------
    draft_length
        L of all drafts. ``None``: with endless requests, the common length with the highest estimated rate in each
        state (`estimated_rates`); with requests that end, the longest draft within the budget.
    budget
        Time > 0 for a draft, as a fraction of T_ver of all devices. A draft has the largest L with (L − A_k)^+ T_k + 2
        L u_k within this time whose last token is accepted with probability 0.1 or more. The budget may be an array
        that broadcasts to the states (..., K).
    """

    tunable: ClassVar[Mapping[str, Tunable]] = {"budget": Tunable(0.1, 1.5, by_device=True)}

    draft_length: int | None = checked_field(None, check_integer, min_length, max_length)
    budget: Option = checked_field(0.6, check_option, 0.0, open_low=True)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        shape = state.phase.shape
        if self.draft_length is not None:
            return take_all(np.full(shape, self.draft_length))
        if state.demand.never_ends.all():
            return take_all(best_common_length(self.scenario, state))
        scenario = self.scenario
        room = per_device("budget", self.budget, shape) * scenario.verification_time
        air = 2.0 * scenario.uplink.token_time(state.spectral_efficiency)
        most = np.floor(longest_sent(scenario, room, state.draft_time, air, state.head_start)).astype(np.int64)
        likely = longest_profitable(scenario, state.acceptance_rate, np.full(shape, 0.1))
        return take_all(np.clip(most, scenario.min_draft_length, likely))


def take_all(length: IntArray) -> ContinuousDecision:
    """Return the decision (n, K) with which the server takes all uploaded drafts; the shortest upload goes first."""
    return ContinuousDecision(length, np.full(length.shape, Join.TAKE), priority=np.zeros(length.shape))


MAX_LAXITY = 1e6  # s, laxity without a deadline; laxities are clipped to this absolute value


@dataclass(frozen=True, eq=False)
class Deadlines(Modifier):
    """Modifier that orders uploads by least laxity and drops requests that cannot be in time.

    The laxity of a request is the time until it is due minus the time that its tokens need. Before the first token it
    is at most the time until that token is due minus the shortest time in which it can arrive (`min_time_to_tokens`).
    If the decision has different priorities, for example by batch, laxity only orders uploads of equal priority. An
    uplink that is not serial has no order, so requests are only dropped (docs/evidence/serving.md).

    Parameters
    ----------
    need
        Assumed seconds per token, > 0. ``None``: the time per token in the shortest cycle of the device
        (`SHORTEST_CYCLE`), with the length of the decision.
    haste
        Factor > 0 on that time: with a larger factor, requests get priority and are dropped earlier. It may be an array
        that broadcasts to the states (..., K).
    """

    tunable: ClassVar[Mapping[str, Tunable]] = {"haste": Tunable(0.25, 2.5, by_device=True)}

    need: float | None = checked_field(None, check_real, 0.0, open_low=True)
    haste: Option = checked_field(1.0, check_option, 0.0, open_low=True)

    @override
    def modify(self, state: ContinuousState, decision: ContinuousDecision) -> ContinuousDecision:
        cycle = Cycle.of(self.scenario, state, SHORTEST_CYCLE)
        need = cycle.time_per_token(decision.draft_length) if self.need is None else self.need
        token_time = need * per_device("haste", self.haste, state.phase.shape)
        now, demand = state.time[:, None], state.demand
        last = demand.due - now - cycle.time_to_tokens(demand.wanted, token_time)
        first = demand.first_due - now - min_time_to_tokens(self.scenario, state)
        laxity = np.clip(np.minimum(last, first), -MAX_LAXITY, MAX_LAXITY)
        drop = state.busy & (laxity < 0.0)
        if decision.drop is not None:
            drop = drop | decision.drop
        if decision.share is not None:
            return decision.changed(drop=drop)
        position = 0.0 if decision.priority is None else 2.0 * MAX_LAXITY * dense_rank(decision.priority)
        return decision.changed(priority=position + laxity, drop=drop)


def min_time_to_tokens(scenario: Scenario, state: ContinuousState) -> FloatArray:
    """Return the seconds (n, K) until the next tokens if the device alone used the band and the server."""
    low, token_time = scenario.min_draft_length, scenario.uplink.token_time(state.spectral_efficiency)
    begun = state.busy & (state.phase != Phase.FREE)
    under_way = state.drafting_left + state.air_left + scenario.law.time(1, 1 + state.draft_length)
    sending = sending_time(scenario, low, state.draft_time, token_time, state.head_start)
    sending = scenario.uplink.with_access(sending, low)
    if state.reading_left is not None:
        sending = sending + low * state.reading_left
    return np.where(begun, under_way, sending + (scenario.law.time(1, 1 + low) + scenario.uplink.fixed_wait))


@dataclass(frozen=True, eq=False)
class OwnPace(ContinuousController):
    """Rule by which each device maximises its own tokens per second, and the server takes all uploaded drafts.

    With more busy devices the cycle (`Cycle`) is longer, so drafts are longer under load. Options may be arrays that
    broadcast to the states (..., K).

    Parameters
    ----------
    queue
        Duration κ ≥ 0 of an upload relative to its time with the whole band.
    passes
        Number m ≥ 0 of passes, each of half of the busy devices, in a cycle.
    air_price
        Price λ ≥ 0 of a second of the whole band, in tokens.
    value_weight
        Weight w ≥ 0: uploads are ordered by decreasing ⌊w E[N]⌋, then by increasing duration.
    """

    tunable: ClassVar[Mapping[str, Tunable]] = {
        "queue": Tunable(0.5, 8.0, by_device=True),
        "passes": Tunable(0.5, 5.0, by_device=True),
        "air_price": Tunable(0.0, 160.0, by_device=True),
        "value_weight": Tunable(0.0, 2.0, by_device=True),
    }

    queue: Option = checked_field(TYPICAL_CYCLE[0], check_option, 0.0)
    passes: Option = checked_field(TYPICAL_CYCLE[1], check_option, 0.0)
    air_price: Option = checked_field(0.0, check_option, 0.0)
    value_weight: Option = checked_field(0.0, check_option, 0.0)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        queue, passes, air_price, weight = (
            per_device(name, getattr(self, name), state.phase.shape) for name in self.tunable
        )
        token_time = self.scenario.uplink.token_time(state.spectral_efficiency)
        length = Cycle.of(self.scenario, state, (queue, passes)).best_length(air_price * token_time)
        drafts = np.where(state.draft_length > 0, state.draft_length, length)
        value = weight * expected_tokens(drafts, state.acceptance_rate)
        return take_all(length).changed(priority=-np.floor(value))


def load_aware(scenario: Scenario, need: float | None = None, haste: Option = 1.0) -> Deadlines:
    """Make `OwnPace` with `Deadlines`: longer drafts and earlier drops under load, without tuned constants."""
    return Deadlines(scenario, OwnPace(scenario), need, haste)
