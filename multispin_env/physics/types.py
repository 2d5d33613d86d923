"""State, decision and outcome of a round, and checks of arguments; arrays have batch axes first and users K last."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from operator import attrgetter, itemgetter, methodcaller
from typing import Any, ClassVar, Self, TypeVar

import numpy as np

from multispin_env.arrays import FloatArray, IntArray, Rows, replace_rows
from multispin_env.checks import broadcast, check_array, check_instance, require
from multispin_env.scenario import Scenario

_Kind = TypeVar("_Kind", bound="Batched")


@dataclass(frozen=True, slots=True, eq=False)
class Batched:
    """Base class of dataclasses whose fields are arrays with common leading batch axes, or ``None``."""

    unbatched: ClassVar[tuple[str, ...]] = ()  # fields with one value for the whole batch

    def __getitem__(self, index: Any) -> Self:
        return self.mapped(itemgetter(index))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Concatenate batches (n_1, ...), (n_2, ...), ...; fields without batch axes are taken from the first."""
        values: list[Any] = []
        for name, batched in _fields(cls):  # type: ignore[arg-type]  # mypy takes no class for hashable
            arrays = [getattr(part, name) for part in parts]
            if not batched or arrays[0] is None:
                values.append(arrays[0])
            else:
                join = type(arrays[0]).joined if isinstance(arrays[0], Batched) else np.concatenate
                values.append(join(arrays))
        return cls(*values)

    def copy(self) -> Self:
        """Return a copy; no array shares memory with the original."""
        return self.mapped(methodcaller("copy"))

    def changed(self, **values: Any) -> Self:
        """Return a copy in which some fields have new values; faster than `dataclasses.replace`."""
        read, positions = _reader(type(self))  # type: ignore[arg-type]  # mypy takes no class for hashable
        arguments = [*read(self)]
        for name, value in values.items():
            arguments[positions[name]] = value
        return type(self)(*arguments)

    def into(self, kind: type[_Kind], **changes: Any) -> _Kind:
        """Return a record of another kind with all fields that both have, by name, except for ``changes``."""
        # the fields of `shared`, without a dict of their own: this is in every step
        for name in _common_names(type(self), kind):  # type: ignore[arg-type]  # mypy takes no class for hashable
            changes.setdefault(name, getattr(self, name))
        return kind(**changes)

    def shared(self, kind: type["Batched"]) -> dict[str, Any]:
        """Return the fields that another kind of record has as well, by name."""
        names = _common_names(type(self), kind)  # type: ignore[arg-type]  # mypy takes no class for hashable
        return {name: getattr(self, name) for name in names}

    def replaced(self, rows: Rows, new: Self) -> Self:
        """Return a copy with ``rows`` of the first axis from a record of these rows; see `arrays.replace_rows`."""
        read, _ = _reader(type(self))  # type: ignore[arg-type]  # mypy takes no class for hashable
        pairs = zip(read(self), read(new), strict=True)
        return type(self)(*(old if old is None else replace_rows(old, rows, values) for old, values in pairs))

    def mapped(self, function: Callable[[Any], Any]) -> Self:
        """Return a copy with a function applied to each array with batch axes, also in nested dataclasses."""
        values = []
        for name, batched in _fields(type(self)):  # type: ignore[arg-type]  # mypy takes no class for hashable
            value = getattr(self, name)
            if batched and value is not None:
                value = value.mapped(function) if isinstance(value, Batched) else function(value)
            values.append(value)
        return type(self)(*values)


@cache  # `dataclasses.fields` is slow
def _fields(kind: type[Batched]) -> tuple[tuple[str, bool], ...]:
    return tuple((field.name, field.name not in kind.unbatched) for field in fields(kind))


@cache  # one `attrgetter` is faster than a `getattr` for each field
def _reader(kind: type[Batched]) -> tuple[Callable[[Batched], tuple[Any, ...]], dict[str, int]]:
    names = [name for name, _ in _fields(kind)]  # type: ignore[arg-type]
    return attrgetter(*names), {name: position for position, name in enumerate(names)}


@cache
def _common_names(kind: type[Batched], other: type[Batched]) -> tuple[str, ...]:
    names = {field.name for field in fields(other)}
    return tuple(field.name for field in fields(kind) if field.name in names)


def fill_head_start(state: Any) -> None:
    """Set a missing field ``head_start`` to zeros with the shape of ``draft_time``."""
    if state.head_start is None:
        object.__setattr__(state, "head_start", np.zeros(np.shape(state.draft_time)))


@dataclass(frozen=True, slots=True, eq=False)
class BatteryState(Batched):
    """Batteries of the devices in a round.

    Parameters
    ----------
    affordable
        Longest draft that the battery allows, (..., K) tokens.
    level
        Charge relative to the capacity, (..., K).
    capacity
        Capacity C_k, (..., K) J.
    charge
        Power P_k that charges the battery, (..., K) W; ``None`` in observations with ``budget_time``.
    time_left
        Part of ``budget_time`` that is left, (..., K), the same for all devices; ``None`` if batteries are charged.
    """

    affordable: IntArray
    level: FloatArray
    capacity: FloatArray
    charge: FloatArray | None = None
    time_left: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SystemState(Batched):
    """State of the devices in a round.

    Parameters
    ----------
    draft_time
        SLM time per drafted token T_k, (..., K) s/token, after the ``context`` of the scenario.
    spectral_efficiency
        Uplink spectral efficiency r_k, (..., K) bit/s/Hz.
    acceptance_rate
        Probability α_k that a drafted token is accepted, (..., K).
    head_start
        Tokens A_k already in the chain of the device, real numbers (..., K); default zeros.
    batteries
        State of the batteries; ``None`` without batteries.
    draft_energy
        Energy to draft a token, (..., K) J; ``None`` for that of the scenario.
    fleet_row
        Row of the scenario's fleet, integers (..., K), by which draft times grow with the context of requests that
        end; ``None`` for growth as that of the scenario.
    """

    draft_time: FloatArray
    spectral_efficiency: FloatArray
    acceptance_rate: FloatArray
    head_start: FloatArray = None  # type: ignore[assignment]  # zeros
    batteries: BatteryState | None = None
    draft_energy: FloatArray | None = None
    fleet_row: IntArray | None = None

    def __post_init__(self) -> None:
        fill_head_start(self)


@dataclass(frozen=True, slots=True, eq=False)
class Observed(Batched):
    """Observation before a round in physical units, with or without a batch axis; hidden fields are ``None``.

    Parameters
    ----------
    draft_time
        SLM time per drafted token T_k, (n, K) s/token.
    spectral_efficiency
        Last reported uplink spectral efficiency r_k, possibly some rounds old, (n, K) bit/s/Hz.
    acceptance_rate
        Probability α_k that a drafted token is accepted, (n, K).
    task
        Index into ``scenario.tasks``, (n, K).
    drafted, accepted
        Tokens drafted in the last round, and how many of them were accepted, (n, K); both are 0 before the first round.
    age
        Age of the current request in rounds, (n, K); at 0, ``drafted`` and ``accepted`` belong to the previous request.
    mean_gain
        Mean power gain H̄_k, (n, K).
    throughput
        Discounted average of the throughput, (n, K) tokens/s.
    hits, misses
        Tokens accepted and rounds with a rejection since the current request began, (n, K).
    planned_efficiency
        Spectral efficiency with which the action encoding plans, (n, K) bit/s/Hz.
    head_start
        Tokens A_k already in the chain of the device, (n, K); default zeros.
    batteries, draft_energy, fleet_row
        As in `SystemState`.
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
    batteries: BatteryState | None = None
    draft_energy: FloatArray | None = None
    fleet_row: IntArray | None = None

    def __post_init__(self) -> None:
        fill_head_start(self)


def named_arrays(seen: SystemState | Observed) -> dict[str, Any]:
    """Return the arrays of a state or observation by their names, also those of its batteries."""
    arrays = {name: array for name in type(seen).__slots__ if (array := getattr(seen, name)) is not None}
    batteries = arrays.pop("batteries", None)
    return arrays if batteries is None else arrays | {name: getattr(batteries, name) for name in BatteryState.__slots__}


def with_batteries(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments of a state or observation for `named_arrays`."""
    batteries = {name: array for name, array in arrays.items() if name in BatteryState.__slots__}
    if not batteries:
        return dict(arrays)
    others = {name: array for name, array in arrays.items() if name not in batteries}
    return {**others, "batteries": BatteryState(**batteries)}


@dataclass(frozen=True, slots=True, eq=False)
class Decision(Batched):
    """Decision of a controller for one round.

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
    """Decision with real-valued draft lengths (..., K) in tokens and bandwidths (..., K) in Hz."""

    draft_length: FloatArray
    bandwidth: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Outcome(Batched):
    """Outcome of one round.

    Parameters
    ----------
    total_tokens, tokens
        Tokens Σ N_k, (...), and N_k, expected or drawn, (..., K).
    round_latency
        Time of the round, T_e2e = T_ma + T_ver + T_rtt, (...) s.
    draft_time, upload_time
        Times of drafting, L_k T_k, and of uploading, L_k Q / (B_k r_k), (..., K) s.
    ready_time
        Time from the start of the round until the draft of each device is uploaded, with its access delay, (..., K) s.
    verification_time
        Time T_ver of the whole batch, (...) s.
    stored
        Change of the charge of each battery, (..., K) J; ``None`` without batteries.
    """

    total_tokens: FloatArray
    tokens: FloatArray
    round_latency: FloatArray
    draft_time: FloatArray
    upload_time: FloatArray
    ready_time: FloatArray
    verification_time: FloatArray
    stored: FloatArray | None = None

    @property
    def goodput(self) -> FloatArray:
        """Sum token goodput G = Σ N_k / T_e2e ([MS] 13), (...) tokens/s."""
        return self.total_tokens / self.round_latency

    @property
    def duration(self) -> FloatArray:
        """Alias of `round_latency`, (...) s, as outcomes without the barrier name it."""
        return self.round_latency


_BATTERY_LIMITS = {"affordable": np.inf, "level": 1.0, "charge": np.inf, "time_left": 1.0}
BUDGET_TOLERANCE = 1e-6  # Relative excess of the sum of bandwidths that is accepted as rounding


def _users_last(field: str, array: FloatArray, num_users: int) -> None:
    if array.ndim == 0 or array.shape[-1] != num_users:
        raise ValueError(f"{field}: expected shape (..., {num_users}), one entry per user, got {array.shape}")


def _common_shape(arrays: dict[str, FloatArray]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{field} {array.shape}" for field, array in arrays.items())
        raise ValueError(f"shapes: expected shapes that broadcast together, got {shapes}") from None


def checked_state(scenario: Scenario, state: SystemState) -> SystemState:
    """Return the state as float64 arrays of one common shape (..., K).

    ``ValueError`` for a wrong shape, or an entry that is NaN, infinite or out of range.
    """
    check_instance("scenario", scenario, Scenario)
    check_instance("state", state, SystemState)
    if state.batteries is not None:
        check_instance("batteries", state.batteries, BatteryState)
    arrays = {name: check_array(name, array) for name, array in named_arrays(state).items() if array is not None}
    for field, array in arrays.items():
        _users_last(field, array, scenario.num_users)
    for field in filter(arrays.__contains__, ("draft_time", "spectral_efficiency", "capacity", "draft_energy")):
        require(field, arrays[field], arrays[field] > 0.0, "numbers > 0")
    alpha = arrays["acceptance_rate"]
    require("acceptance_rate", alpha, (alpha >= 0.0) & (alpha <= 1.0), "numbers in [0, 1]")
    chain, most = arrays["head_start"], scenario.max_draft_length if scenario.draft_ahead else 0
    expected = f"numbers in [0, {most}]" if scenario.draft_ahead else "zeros where draft_ahead is False"
    require("head_start", chain, (chain >= 0.0) & (chain <= most), expected)
    for field, highest in _BATTERY_LIMITS.items():
        if field in arrays:
            valid = (arrays[field] >= 0.0) & (arrays[field] <= highest)
            require(field, arrays[field], valid, f"numbers in [0, {highest:g}]")
    scenario.devices.check_rows(arrays.get("fleet_row"))
    shape = _common_shape(arrays)
    full = {
        name: np.ascontiguousarray(array if array.shape == shape else np.broadcast_to(array, shape))
        for name, array in arrays.items()
    }
    return SystemState(**with_batteries(full))


def checked_weights(weights: object, shape: tuple[int, ...]) -> FloatArray | None:
    """Return weights ω ≥ 0 (..., K), broadcast to ``shape``; ``None``, weights of 1, is returned unchanged."""
    if weights is None:
        return None
    array = check_array("weights", weights)
    require("weights", array, array >= 0.0, "numbers ≥ 0")
    return np.ascontiguousarray(broadcast("weights", array, shape))


def checked_decision(scenario: Scenario, decision: Decision) -> Decision:
    """Return the decision as int64 and float64 arrays of one common shape (..., K).

    ``ValueError`` for lengths that are not integers in the range of the scenario, bandwidths that are not positive
    (zero is allowed for a device that drafts nothing), or a sum above the budget by more than `BUDGET_TOLERANCE`.
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
