"""The doors: states and decisions of users are checked once, here; code behind works on clean arrays."""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_array, require
from multispin_env.physics.types import Decision, SystemState
from multispin_env.scenario import Scenario

BUDGET_TOLERANCE = 1e-6  # Relative amount by which bandwidths may exceed the budget, for rounding


def _users_last(field: str, array: FloatArray, num_users: int) -> None:
    if array.ndim == 0 or array.shape[-1] != num_users:
        raise ValueError(f"{field}: expected shape (..., {num_users}), one entry a user, got {array.shape}")


def _common_shape(arrays: dict[str, FloatArray]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{field} {array.shape}" for field, array in arrays.items())
        raise ValueError(f"shapes: expected shapes that broadcast together, got {shapes}") from None


def checked_state(scenario: Scenario, state: SystemState) -> SystemState:
    """Return the state as float64 arrays of one common shape (..., K).

    ``ValueError`` for NaN, infinite, wrongly shaped or out-of-range entries, naming the field, what is expected and the
    value.
    """
    arrays = {
        "draft_time": check_array("draft_time", state.draft_time),
        "spectral_efficiency": check_array("spectral_efficiency", state.spectral_efficiency),
        "acceptance_rate": check_array("acceptance_rate", state.acceptance_rate),
    }
    for field, array in arrays.items():
        _users_last(field, array, scenario.num_users)
    for field in ("draft_time", "spectral_efficiency"):
        require(field, arrays[field], arrays[field] > 0.0, "numbers > 0")
    alpha = arrays["acceptance_rate"]
    require("acceptance_rate", alpha, (alpha >= 0.0) & (alpha <= 1.0), "numbers in [0, 1]")
    shape = _common_shape(arrays)
    return SystemState(*(np.ascontiguousarray(np.broadcast_to(array, shape)) for array in arrays.values()))


def checked_weights(weights: object, shape: tuple[int, ...]) -> FloatArray | None:
    """Return weights ω ≥ 0 of shape (..., K), broadcast to ``shape``; ``None`` stays ``None``, meaning 1."""
    if weights is None:
        return None
    array = check_array("weights", weights)
    require("weights", array, array >= 0.0, "numbers ≥ 0")
    try:
        return np.ascontiguousarray(np.broadcast_to(array, shape))
    except ValueError:
        raise ValueError(f"weights: expected a shape that broadcasts to {shape}, got {array.shape}") from None


def checked_decision(scenario: Scenario, decision: Decision) -> Decision:
    """Return the decision as int64 and float64 arrays of one common shape (..., K).

    ``ValueError`` for lengths that are no integers in the range of the scenario, bandwidths that are not above zero
    (zero is allowed for a device that drafts nothing) or exceed the budget by more than `BUDGET_TOLERANCE`.
    """
    length = check_array("draft_length", decision.draft_length)
    bandwidth = check_array("bandwidth", decision.bandwidth)
    for field, array in (("draft_length", length), ("bandwidth", bandwidth)):
        _users_last(field, array, scenario.num_users)
    low, high = scenario.min_draft_length, scenario.max_draft_length
    good = (length == np.round(length)) & (length >= low) & (length <= high)
    require("draft_length", length, good, f"integers in {low}..{high}")
    shape = _common_shape({"draft_length": length, "bandwidth": bandwidth})
    length, bandwidth = np.broadcast_to(length, shape), np.broadcast_to(bandwidth, shape)
    require("bandwidth", bandwidth, (bandwidth > 0.0) | ((length == 0) & (bandwidth == 0.0)), "numbers > 0 Hz")
    total = np.asarray(bandwidth.sum(-1))
    budget = scenario.total_bandwidth
    require("sum of bandwidth", total, total <= budget * (1.0 + BUDGET_TOLERANCE), f"at most {budget:g} Hz")
    return Decision(length.astype(np.int64), bandwidth)
