"""Groups of devices that draft and are verified in turn (not in the paper; docs/evidence/continuous.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, check_real, checked_field
from multispin_env.controllers.base import ContinuousController, Option, Tunable, check_option, per_state
from multispin_env.controllers.continuous.cycle import Cycle
from multispin_env.controllers.continuous.under_way import Background, in_every_batch, not_awaited
from multispin_env.draft import expected_tokens
from multispin_env.physics.continuous.averages import long_run_averages, measurement_size
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join, Phase
from multispin_env.physics.rounds import sample_state
from multispin_env.physics.types import checked_weights
from multispin_env.scenario import Scenario


def fluid_rate(scenario: Scenario, state: ContinuousState, groups: IntArray | int) -> FloatArray:
    """Estimate the rate (n,) in tokens/s of ``groups`` G groups of equal size, a number or (n, 1), in a fluid model.

    Every device with a request drafts and sends for a time φ, the server serves the groups in turn, and the uplink is
    shared: the rate is Σ_k E[N_k] / max(φ + V, G V, Σ_k w_k) for the best φ of a grid. Lengths are real numbers, and
    uploads do not wait for each other.
    """
    token_time, busy = scenario.uplink.token_time(state.spectral_efficiency), state.busy
    always = in_every_batch(scenario, state)
    readers = always.sum(-1, keepdims=True)
    size = np.maximum((busy.sum(-1, keepdims=True) - readers) / groups + readers, 1.0)
    window = 1.3 ** np.arange(-8, 9) * scenario.law.time(size, size) + scenario.uplink.fixed_wait
    # devices are the first axis, so that sums over them have the same order in any batch
    arrays = state.acceptance_rate, token_time, state.draft_time + token_time, np.where(always, groups, busy * 1.0)
    rate, air, pace, served = [np.ascontiguousarray(array.T)[..., None] for array in arrays]
    room = scenario.uplink.cycle_room(window, lambda wait: wait[:, None, None])
    length = np.minimum(room / pace, scenario.max_draft_length) * ~state.reading.T[..., None]
    tokens = (expected_tokens(length, rate) * served).sum(0)
    length *= served
    total = length.sum(0)
    length *= air
    server = scenario.law.time(size, size + total / groups)
    rates = tokens / np.maximum(np.maximum(window + server, groups * server), length.sum(0))
    return np.asarray(rates.max(-1))


def price_of_delay(
    scenario: Scenario, state: ContinuousState, rho: FloatArray | float | None, groups: IntArray | int
) -> FloatArray:
    """Return the price of delay (n,) in tokens/s for states (n, K): ``rho``, or `fluid_rate` if it is ``None``."""
    return fluid_rate(scenario, state, groups) if rho is None else per_state("rho", rho, len(state.batch))


_LAST = 1e9  # priority after all batches


@dataclass(frozen=True, eq=False)
class Groups(ContinuousController):
    """Groups that take turns: after batch m, its devices draft for batch m + G, which waits for them.

    Uploads are ordered by batch, and by duration within a batch. A device in a deep fade (`in_deep_fade`) sends drafts
    of the minimum length, last on the uplink, and no batch waits for it.

    Parameters
    ----------
    groups
        Number of groups G ≥ 1; `SYNCHRONOUS` has one group. ``None``: `best_num_groups` of the scenario.
    rho
        Price ρ > 0 of a second of delay, in tokens; the best price is the resulting rate in tokens/s. ``None``: an
        estimate from each state (`fluid_rate`). An array has the batch shape of the states.
    delay_weight
        Factor > 0 on ρ; it may be an array with the batch shape of the states.
    air_price
        Price λ ≥ 0 of a second of the whole band, in tokens.
    weights
        Value ω ≥ 0 of a token of each device, broadcast to the states; ``None`` means 1.
    """

    tunable: ClassVar[Mapping[str, Tunable]] = {"delay_weight": Tunable(0.25, 4.0)}

    groups: int | None = checked_field(None, check_integer, 1)
    rho: FloatArray | float | None = checked_field(None, check_option, 0.0, open_low=True)
    delay_weight: Option = checked_field(1.0, check_option, 0.0, open_low=True)
    air_price: float = checked_field(0.0, check_real, 0.0)
    weights: FloatArray | None = None

    @cached_property
    def num_groups(self) -> int:
        """Number of groups G."""
        return best_num_groups(self.scenario) if self.groups is None else self.groups

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        scenario = self.scenario
        free, faded = state.phase == Phase.FREE, not_awaited(scenario, state, self.num_groups > 1)
        batch = state.batch[:, None]
        turn = np.arange(scenario.num_users) % self.num_groups  # initial batches
        later = np.where(batch == 0, turn, batch - 1 + self.num_groups)
        aim = np.where(state.starting, later, state.aim)
        work = Background.of(scenario, state, faded)
        has_price = self.rho is not None or (free & ~faded).any()  # where no draft starts, none is used
        rho = price_of_delay(scenario, state, self.rho if has_price else 0.0, self.num_groups)
        rho = rho * per_state("delay_weight", self.delay_weight, len(rho))
        position = aim - batch
        by_ratio = self.rho is None and self.num_groups == 1
        weight = None
        if self.weights is not None:
            flat = np.asarray(self.weights, dtype=np.float64)
            weight = checked_weights(flat if flat.ndim < 2 else flat.reshape(-1, flat.shape[-1]), state.phase.shape)
        length = fit_lengths(
            state, work, free, faded, position, rho, air_price=self.air_price, weight=weight, by_ratio=by_ratio
        )
        return batch_decision(state, length_for_others(scenario, state, length), aim, faded, work.always)


@cache
def best_num_groups(scenario: Scenario) -> int:
    """Return the best number of groups, 2, 3 or 1, in a short simulation of a few random systems with static channels.

    The result is cached for each scenario. For specific devices, compare the `long_run` of both. One group is tried too
    if devices draft ahead, since they draft during verification, so that a common batch wastes no time; and if tokens
    lengthen a verification (`VerificationLaw.flat`), as on measured servers, where a common batch saves fixed time.
    """
    num_systems, passes = measurement_size(scenario, 4)
    state = sample_state(scenario, np.random.default_rng(10**9), num_systems)  # a seed not used in evaluations
    options = (2, 3) if scenario.law.flat and not scenario.draft_ahead else (2, 3, 1)
    system = ContinuousSystem.of(scenario.replace(channel="static"), Groups.discipline)
    passes = passes * 3 // 4
    rates = [long_run_averages(Groups(scenario, n).decide, system, state, 1.5, 3.0, passes).rate.sum() for n in options]
    return options[int(np.argmax(rates))]


def fit_lengths(
    state: ContinuousState,
    work: Background,
    free: BoolArray,
    faded: BoolArray,
    position: IntArray,
    rho: FloatArray,
    *,
    air_price: float,
    weight: FloatArray | None = None,
    by_ratio: bool = False,
) -> IntArray:
    """Return draft lengths (n, K), fitted batch by batch for the batches ``position`` (n, K) of free devices.

    A device that is not free keeps its length; a free device in a deep fade gets the minimum.
    """
    from multispin_env.controllers.continuous.launch import Launch, fit, fit_ratio  # late: Numba takes long to import

    low = work.scenario.min_draft_length
    length, starts = np.where(free, low, state.draft_length), free & ~faded
    last = int(np.where(starts, position, -1).max())
    for batch in range(last + 1):
        begin = starts & (position == batch)
        rows = np.flatnonzero(begin.any(-1))
        if rows.size:
            all_rows = rows.size == len(begin)  # always, of a single environment
            part, background = (state, work) if all_rows else (state[rows], work[rows])
            starting = begin[rows]
            launch = Launch.of(
                work.scenario,
                part,
                starting,
                background.up_to(batch),
                background.due(batch),
                rho[rows],
                air_price=air_price,
                weight=1.0 if weight is None else weight[rows],
            )
            fitted = fit_ratio(launch, background.always) if by_ratio else fit(launch)
            length[rows] = np.where(starting, fitted, length[rows])
            if batch < last:
                work = work.add(state, begin, length, batch)
    return length


def length_for_others(scenario: Scenario, state: ContinuousState, length: IntArray) -> IntArray:
    """Return lengths (n, K) in which idle and reading devices have the best length for their own cycle (`Cycle`)."""
    others = (state.phase == Phase.IDLE) | state.reading
    return np.where(others, Cycle.of(scenario, state).best_length(), length) if others.any() else length


def batch_decision(
    state: ContinuousState, length: IntArray, aim: IntArray, faded: BoolArray, always: BoolArray
) -> ContinuousDecision:
    """Return the decision (n, K) by which the next batch waits for its devices, and uploads are ordered by batch.

    Devices ``always`` (n, K) are in every batch, also where no others are.
    """
    if state.reading_left is not None:  # drafts of devices that have read meanwhile are for the next batch
        aim = np.maximum(aim, state.batch[:, None])
    nearest = np.where(always, state.batch[:, None], np.where(faded, _LAST, aim)).min(-1)[:, None]
    join = np.where(faded, Join.TAKE, np.where(aim == nearest, Join.WAIT, Join.LEAVE))
    priority = np.where(faded, _LAST, aim - state.batch[:, None])
    return ContinuousDecision(length, join, priority=priority, aim=aim)


SYNCHRONOUS = partial(Groups, groups=1)
"""`Groups` with one group: all devices are in every batch, and lengths maximise Σ_k E[N_k] / (M(L) + V(L)).

M(L) is the time until all uploads have ended. Without ``rho``, each batch maximises its own ratio, which is optimal in
a static channel. With fading, the best ``rho`` is the long-run rate.
"""
