"""State, decision and outcome of a round, and the checks of what users hand in; batch axes (...) lead, users K last."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_array, check_instance, require
from multispin_env.scenario import Scenario


@dataclass(frozen=True, slots=True, eq=False)
class Batched:
    """Base of what is made of arrays with the same leading batch axes; where a field is ``None``, it stays so."""

    unbatched: ClassVar[tuple[str, ...]] = ()
    """Fields without batch axes: one value for the whole batch."""

    def __getitem__(self, index: Any) -> Self:
        return self.mapped(lambda array: array[index])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return batches (n_1, ...), (n_2, ...), ... as one, (n_1 + n_2 + ..., ...); other fields are the first's."""
        values: list[Any] = []
        for name, batched in _fields(cls):  # type: ignore[arg-type]  # mypy takes no class for hashable
            own = [getattr(part, name) for part in parts]
            if not batched or own[0] is None:
                values.append(own[0])
            else:
                values.append(type(own[0]).joined(own) if isinstance(own[0], Batched) else np.concatenate(own))
        return cls(*values)

    def copy(self) -> Self:
        """Return the same numbers in memory of their own."""
        return self.mapped(lambda array: array.copy())

    def changed(self, **values: Any) -> Self:
        """Return the same with other values of these fields: `dataclasses.replace`, without its checks and its time."""
        read, positions = _reader(type(self))  # type: ignore[arg-type]  # mypy takes no class for hashable
        own = [*read(self)]
        for name, value in values.items():
            own[positions[name]] = value
        return type(self)(*own)

    def mapped(self, function: Callable[[Any], Any]) -> Self:
        """Return what a function makes of each array that has batch axes, in parts too that are made of arrays."""
        values = []
        for name, batched in _fields(type(self)):  # type: ignore[arg-type]  # mypy takes no class for hashable
            value = getattr(self, name)
            if batched and value is not None:
                value = value.mapped(function) if isinstance(value, Batched) else function(value)
            values.append(value)
        return type(self)(*values)


@cache
def _fields(kind: type[Batched]) -> tuple[tuple[str, bool], ...]:
    """Names of the fields, and whether each has batch axes; kept, because `dataclasses.fields` takes its time."""
    return tuple((field.name, field.name not in kind.unbatched) for field in fields(kind))


@cache
def _reader(kind: type[Batched]) -> tuple[Callable[[Batched], tuple[Any, ...]], dict[str, int]]:
    """Read all fields at once, in a fraction of the time of one after the other; and the position of each."""
    names = [name for name, _ in _fields(kind)]  # type: ignore[arg-type]
    return attrgetter(*names), {name: position for position, name in enumerate(names)}


def fill_head_start(state: Any) -> None:
    """Replace a field ``head_start`` that was not given by zeros of the shape of ``draft_time``."""
    if state.head_start is None:
        object.__setattr__(state, "head_start", np.zeros(np.shape(state.draft_time)))


@dataclass(frozen=True, slots=True, eq=False)
class SystemState(Batched):
    """All that a round depends on besides the decision.

    Parameters
    ----------
    draft_time
        SLM time per drafted token T_k, (..., K) s/token.
    spectral_efficiency
        Uplink bits per second and hertz r_k, (..., K) bit/s/Hz.
    acceptance_rate
        Probability α_k that a drafted token is accepted, (..., K).
    head_start
        Tokens A_k that its chain holds already, (..., K), not whole numbers; by default zeros.
    """

    draft_time: FloatArray
    spectral_efficiency: FloatArray
    acceptance_rate: FloatArray
    head_start: FloatArray = None  # type: ignore[assignment]  # zeros

    def __post_init__(self) -> None:
        fill_head_start(self)


@dataclass(frozen=True, slots=True, eq=False)
class Observed(Batched):
    """What an agent may see before a round, of n copies or of one, in physical units; ``None`` is hidden (ours).

    Parameters
    ----------
    draft_time
        SLM time per drafted token T_k, (n, K) s/token.
    spectral_efficiency
        Uplink bits per second and hertz r_k as last reported, possibly some rounds old, (n, K) bit/s/Hz.
    acceptance_rate
        Probability α_k that a drafted token is accepted, (n, K).
    task
        Index into ``scenario.tasks``, (n, K).
    drafted, accepted
        Tokens drafted in the last round, and of them accepted, (n, K); the server's own token is not among the
        accepted. Both are 0 before any round.
    age
        Rounds that the present request is old, (n, K); at 0 it is new, and the counts above are the previous one's.
    mean_gain
        Mean power gain H̄_k, (n, K).
    throughput
        Discounted throughput so far, (n, K) tokens/s.
    hits, misses
        Tokens accepted, and rounds that ended with a refusal, since the present request began, (n, K).
    planned_efficiency
        Uplink bits per second and hertz that the encoding of actions plans with, (n, K) bit/s/Hz.
    head_start
        Tokens A_k that its chain holds already, (n, K); by default zeros.
    """

    draft_time: FloatArray
    spectral_efficiency: FloatArray
    acceptance_rate: FloatArray | None = None
    task: IntArray | None = None
    drafted: IntArray | None = None
    accepted: IntArray | None = None
    age: IntArray | None = None
    mean_gain: FloatArray | None = None
    throughput: FloatArray | None = None
    hits: IntArray | None = None
    misses: IntArray | None = None
    planned_efficiency: FloatArray | None = None
    head_start: FloatArray = None  # type: ignore[assignment]  # zeros

    def __post_init__(self) -> None:
        fill_head_start(self)


@dataclass(frozen=True, slots=True, eq=False)
class Decision(Batched):
    """What the controller chooses in every round.

    Parameters
    ----------
    draft_length
        Tokens L_k to draft, (..., K).
    bandwidth
        Uplink bandwidth B_k, Σ B_k ≤ B, (..., K) Hz.
    """

    draft_length: IntArray
    bandwidth: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class RealDecision:
    """A decision with real lengths: tokens (..., K) and Hz (..., K)."""

    draft_length: FloatArray
    bandwidth: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Outcome(Batched):
    """What a round gives.

    Parameters
    ----------
    goodput
        Sum token goodput G ([MS] 13), (...) tokens/s.
    tokens
        Tokens N_k gained, expected or drawn, (..., K).
    round_latency
        Time of the round, T_e2e = T_ma + T_ver + T_rtt, (...) s.
    draft_time, upload_time
        Time of drafting, L_k T_k, and of uploading, L_k Q / (B_k r_k), (..., K) s.
    verification_time
        Time T_ver of the whole batch, (...) s.
    """

    goodput: FloatArray
    tokens: FloatArray
    round_latency: FloatArray
    draft_time: FloatArray
    upload_time: FloatArray
    verification_time: FloatArray

    @property
    def duration(self) -> FloatArray:
        """Time of the round by the name that it has without the barrier, (...) s."""
        return self.round_latency


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
    check_instance("scenario", scenario, Scenario)
    check_instance("state", state, SystemState)
    arrays = {field.name: check_array(field.name, getattr(state, field.name)) for field in fields(state)}
    for field, array in arrays.items():
        _users_last(field, array, scenario.num_users)
    for field in ("draft_time", "spectral_efficiency"):
        require(field, arrays[field], arrays[field] > 0.0, "numbers > 0")
    alpha = arrays["acceptance_rate"]
    require("acceptance_rate", alpha, (alpha >= 0.0) & (alpha <= 1.0), "numbers in [0, 1]")
    chain, most = arrays["head_start"], scenario.max_draft_length if scenario.draft_ahead else 0
    expected = f"numbers in [0, {most}]" if scenario.draft_ahead else "zeros where draft_ahead is False"
    require("head_start", chain, (chain >= 0.0) & (chain <= most), expected)
    shape = _common_shape(arrays)
    found = (array if array.shape == shape else np.broadcast_to(array, shape) for array in arrays.values())
    return SystemState(*map(np.ascontiguousarray, found))


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
    check_instance("decision", decision, Decision)
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
