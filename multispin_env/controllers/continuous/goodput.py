"""Estimated goodput of drafts of some lengths, from the cycles of devices, without simulation (ours)."""

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.continuous.launch import ordered_sum
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.physics.tokens import TokenLaw
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.scenario import Scenario

MOST_LOAD = 0.97
"""Of an uplink, beyond which a queue does not grow here."""

ROUNDS = 30
"""Steps towards the size of a batch."""


def present(state: ContinuousState) -> FloatArray:
    """How much each device (n, K) counts in estimates of the load: 1 with a request, 0 without.

    Where nobody has one, the next request comes from any device: each counts 1 / K.
    """
    has = state.busy
    return np.where(has.any(-1, keepdims=True), has, 1.0 / has.shape[-1])


def estimated_rates(
    scenario: Scenario, state: ContinuousState, lengths: IntArray, weight: FloatArray | None = None
) -> FloatArray:
    """Tokens/s (n, C) of all devices together, as `device_rates` has them.

    Parameters
    ----------
    scenario, state, weight
        As there.
    lengths
        (C,), of all drafts, or (n, C, K).
    """
    rates, order = _rates_by_upload(scenario, state, _for_all(lengths, state), weight)
    return ordered_sum(
        rates if weight is None else np.take_along_axis(_of_candidates(weight, order), order, -1) * rates
    )


def device_rates(
    scenario: Scenario, state: ContinuousState, lengths: IntArray, weight: FloatArray | None = None
) -> FloatArray:
    """Tokens/s (n, C, K) of each device if drafts have these lengths (n, C, K), without simulation.

    A device drafts, uploads, waits for half a batch, and is verified; the server is always busy, so that a batch holds
    the devices that come back while the last one is verified, those that count at most. The size is found by
    repetition. An upload takes as long as one of a queue in which the shorter ones go first, w / (1 − load of these).

    Parameters
    ----------
    scenario
        Law of verification; prompts are not counted.
    state
        (n, K), of which draft times, channels and acceptance are read.
    lengths
        Tokens.
    weight
        (n, K) in [0, 1], how much each device counts as a load for the others (`present`); ``None``: all alike.
    """
    rates, order = _rates_by_upload(scenario, state, lengths, weight)
    by_device = np.empty_like(rates)
    np.put_along_axis(by_device, order, rates, -1)
    return by_device


def _for_all(lengths: IntArray, state: ContinuousState) -> IntArray:
    if lengths.ndim > 1:
        return lengths
    return np.broadcast_to(lengths[:, None], (len(state.phase), len(lengths), state.phase.shape[-1]))


def _of_candidates(weight: FloatArray, decision: IntArray) -> FloatArray:
    return np.broadcast_to(weight[:, None], decision.shape)


def _rates_by_upload(
    scenario: Scenario, state: ContinuousState, lengths: IntArray, weight: FloatArray | None
) -> tuple[FloatArray, IntArray]:
    """Rates (n, C, K), devices by the length of their upload, and that decision."""
    token_air = full_share_token_time(scenario, state.spectral_efficiency)
    counted = _of_candidates(np.ones_like(token_air) if weight is None else weight, lengths)
    count = ordered_sum(counted)
    drafted = lengths.max(-1) if scenario.law.padded else ordered_sum(counted * lengths) / count
    order = np.argsort(lengths * token_air[:, None], -1, kind="stable")
    counted = np.take_along_axis(counted, order, -1)
    length: IntArray = np.take_along_axis(lengths, order, -1)
    pace, air, alpha = (
        np.take_along_axis(np.broadcast_to(array[:, None], order.shape), order, -1)
        for array in (state.draft_time, token_air, state.acceptance_rate)
    )
    draft, need = scenario.round_trip_time + length * pace, length * air
    work = counted * need
    size: FloatArray = count / 2
    upload: FloatArray = need
    room = np.ones_like(need)  # what shorter uploads leave of the uplink
    for _ in range(ROUNDS):
        server = np.asarray(scenario.pass_time(size, size * (drafted + 1)))  # type: ignore[arg-type]
        cycle = draft + upload
        cycle += 1.5 * server[..., None]
        load = np.add.accumulate(work / cycle, -1)
        np.subtract(1.0, np.minimum(load[..., :-1], MOST_LOAD), out=room[..., 1:])
        upload = 0.5 * (upload + need / room)
        size = 0.5 * (size + np.clip(server * ordered_sum(counted / cycle), 1.0, np.maximum(count, 1.0)))
    return TokenLaw.of(alpha).expected(length) / cycle, order
