"""Estimated goodput of drafts of some lengths, from the cycles of devices, without simulation (ours)."""

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.continuous.launch import ordered_sum
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import TokenLaw
from multispin_env.scenario import Scenario


def present(state: ContinuousState) -> FloatArray:
    """How much each device (n, K) counts in estimates of the load: 1 with a request, 0 without.

    Where nobody has one, the next request comes from any device: each counts 1 / K.
    """
    has = state.busy
    return np.where(has.any(-1, keepdims=True), has, 1.0 / has.shape[-1])


def estimated_rates(
    scenario: Scenario, state: ContinuousState, lengths: IntArray, weight: FloatArray | None = None
) -> FloatArray:
    """Tokens/s (n, C) of all devices together if drafts have these lengths, without simulation.

    A device drafts, uploads, waits for half a batch, and is verified; the server is always busy, so that a batch holds
    the devices that come back while the last one is verified, those that count at most. The size is found by
    repetition. An upload takes as long as one of a queue in which the shorter ones go first, w / (1 − load of these).
    Lengths are (C,), of all drafts, or (n, C, K); ``weight`` (n, K) in [0, 1] is how much each device counts
    (`present`), ``None``: all alike. Prompts are not counted.
    """
    copies, users = state.phase.shape
    if lengths.ndim == 1:
        lengths = np.broadcast_to(lengths[:, None], (copies, len(lengths), users))
    token_air = full_share_token_time(scenario, state.spectral_efficiency)
    counted = np.broadcast_to((np.ones_like(token_air) if weight is None else weight)[:, None], lengths.shape)
    count = ordered_sum(counted)
    drafted = lengths.max(-1) if scenario.law.padded else ordered_sum(counted * lengths) / count
    order = np.argsort(lengths * token_air[:, None], -1, kind="stable")  # devices by the length of their upload
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
    for _ in range(30):
        server = np.asarray(scenario.pass_time(size, size * (drafted + 1)))  # type: ignore[arg-type]
        cycle = draft + upload
        cycle += 1.5 * server[..., None]
        load = np.add.accumulate(work / cycle, -1)
        np.subtract(1.0, np.minimum(load[..., :-1], 0.97), out=room[..., 1:])
        upload = 0.5 * (upload + need / room)
        size = 0.5 * (size + np.clip(server * ordered_sum(counted / cycle), 1.0, np.maximum(count, 1.0)))
    return ordered_sum(counted * (TokenLaw.of(alpha).expected(length) / cycle))
