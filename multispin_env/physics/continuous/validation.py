"""Checks of decisions and states without the barrier."""

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_instance, require
from multispin_env.physics.continuous.passes import UplinkDiscipline, serial
from multispin_env.physics.continuous.types import ENDLESS, ContinuousDecision, ContinuousState, Demand, Phase
from multispin_env.physics.types import BUDGET_TOLERANCE, checked_state
from multispin_env.scenario import Scenario


def checked_continuous_decision(
    scenario: Scenario, uplink: UplinkDiscipline, decision: ContinuousDecision, num_envs: int
) -> ContinuousDecision:
    """Return the decision as arrays (n, K) and (n,), with the priorities or shares that the uplink requires.

    ``ValueError`` for NaN, a wrong shape, lengths out of the scenario's range, shares that sum to more than one, a
    negative timeout, or a batch without devices.
    """
    check_instance("decision", decision, ContinuousDecision)
    shape, batch = (num_envs, scenario.num_users), (num_envs,)
    low, high = scenario.min_draft_length, scenario.max_draft_length
    length = _whole("draft_length", decision.draft_length, shape, low, high)
    join = _whole("join", decision.join, shape, 0, 2)
    require("join", join, join.max(-1, keepdims=True) > 0, "1 or 2 for at least one device")
    priority = share = None
    if uplink is serial and decision.priority is None:
        priority = np.zeros(shape)
    elif uplink is serial:
        priority = _array("priority", decision.priority, shape)
        require("priority", priority, np.isfinite(priority), "finite numbers")
    elif decision.share is None:
        share = np.full(shape, 1.0 / shape[1])
    else:
        share = _array("share", decision.share, shape)
        require("share", share, share >= 0.0, "numbers ≥ 0")
        require("sum of share", total := share.sum(-1), total <= 1.0 + BUDGET_TOLERANCE, "at most 1")
    timeout = decision.timeout
    if timeout is not None:
        timeout = _array("timeout", timeout, batch)
        require("timeout", timeout, timeout >= 0.0, "seconds ≥ 0")
    fewest = None if decision.least_batch is None else _whole("least_batch", decision.least_batch, batch, 1, shape[1])
    aim = None if decision.aim is None else _array("aim", decision.aim, shape).astype(np.int64)
    drop = None if decision.drop is None else _whole("drop", decision.drop, shape, 0, 1).astype(np.bool_)
    return ContinuousDecision(length, join, priority, share, timeout, fewest, aim, drop)


def check_drop(decision: ContinuousDecision, state: ContinuousState, over: BoolArray | None = None) -> None:
    """Raise ``ValueError`` if a decision (n, K) drops a request that does not exist or never ends, unless ``over``."""
    if decision.drop is None:
        return
    allowed = state.busy & ~state.demand.never_ends
    if over is not None:
        allowed = allowed | over[:, None]
    require("drop", decision.drop, allowed | ~decision.drop, "False for a device without a request that can end")


def _array(field: str, value: object, shape: tuple[int, ...]) -> FloatArray:
    array: NDArray[np.float64] = np.asarray(value, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{field}: expected shape {shape}, got {array.shape}")
    require(field, array, ~np.isnan(array), "numbers")
    return array


def _whole(field: str, value: object, shape: tuple[int, ...], low: int, high: int) -> IntArray:
    integers = value if isinstance(value, np.ndarray) and value.dtype == np.int64 and value.shape == shape else None
    if integers is not None and low <= integers.min(initial=low) <= integers.max(initial=low) <= high:
        return integers.copy()
    array = _array(field, value, shape)
    require(field, array, (array == np.round(array)) & (array >= low) & (array <= high), f"integers in {low}..{high}")
    return array.astype(np.int64)


def checked_continuous_state(scenario: Scenario, state: ContinuousState) -> ContinuousState:
    """Return the state as arrays (..., K) and (...) of one shape; ``ValueError`` for a bad entry or shape."""
    system = checked_state(scenario, state.system)
    shape = system.draft_time.shape
    phase = _whole("phase", state.phase, shape, Phase.FREE, Phase.IDLE)
    length = _whole("draft_length", state.draft_length, shape, 0, scenario.max_draft_length)
    aim = _array("aim", state.aim, shape).astype(np.int64)
    batch = _array("batch", state.batch, shape[:-1]).astype(np.int64)
    time = _array("time", state.time, shape[:-1])
    left, air, age = (_seconds(name, getattr(state, name), shape) for name in ("drafting_left", "air_left", "age"))
    reading = None if state.reading_left is None else _seconds("reading_left", state.reading_left, shape)
    return system.into(
        ContinuousState,
        phase=phase,
        draft_length=length,
        drafting_left=left,
        air_left=air,
        age=age,
        aim=aim,
        batch=batch,
        time=time,
        demand=_checked_demand(state.demand, shape),
        reading_left=reading,
    )


def _checked_demand(demand: Demand, shape: tuple[int, ...]) -> Demand:
    check_instance("demand", demand, Demand, f"a Demand, such as Demand.endless({shape})")
    endless = demand.never_ends
    if endless.shape == shape and endless.all():  # other fields do not matter
        return Demand.endless(shape)
    wanted, output, prompt, queue, drafted, accepted = (
        _whole(name, getattr(demand, name), shape, 0, ENDLESS)
        for name in ("wanted", "output", "prompt", "queue", "drafted", "accepted")
    )
    arrived, first_due, due = (_array(name, getattr(demand, name), shape) for name in ("arrived", "first_due", "due"))
    return Demand(wanted, output, prompt, arrived, first_due, due, queue, drafted, accepted)


def _seconds(field: str, value: object, shape: tuple[int, ...]) -> FloatArray:
    array = _array(field, value, shape)
    require(field, array, (array >= 0.0) & np.isfinite(array), "seconds ≥ 0")
    return array
