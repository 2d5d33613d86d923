"""Observations of both families: the table of entries, and the codec that scales them to order one and back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import Array, FloatArray
from multispin_env.controllers.estimators import Filter
from multispin_env.physics.continuous.types import ContinuousObserved, ContinuousState, Demand, Phase
from multispin_env.physics.radio import channel_gain, spectral_efficiency
from multispin_env.physics.types import Observed, SystemState, named_arrays, with_batteries
from multispin_env.scenario import Scenario

Observation = dict[str, NDArray[np.float32]]
"""Arrays by entry, (...) for a single environment or (n, ...) for a batch."""

LARGEST_FADE = 64.0
"""Upper limit of H / H̄; NumPy draws no standard exponential variable above 45."""

_SHARED_BOUND = 20.0
"""Upper limit of |log10| of the shared quantities."""

_ROUNDING = 1e-6
"""Margin of the bounds for rounding to float32."""

SHARED = "shared"

ROUNDS, TOKENS = 16.0, 64.0
"""Steps and tokens of a request that are encoded as 0.5."""

_PROMPT, _REQUESTS, _BATCHES = 256.0, 4.0, 4.0
"""Prompt tokens, waiting requests, and batches from the next to the target batch that are encoded as 0.5."""

SLACK = 16.0
"""Time until a deadline that is encoded as 0.5, in units of T_ver."""

TYPICAL_LENGTH = 4
"""Draft length for which ``shared`` also holds the verification time, if it depends on draft lengths."""

_NEARLY_ONE = 1.0 - 2.0**-24
"""Largest float32 below 1; larger values decode to infinity."""


@dataclass(frozen=True)
class Entry:
    """Entry of the observation: a field scaled to order one; the pages of environments have the formulas."""

    field: str  # key of `fields_of`
    encode: Callable[["ObservationCodec", Array], Array]
    decode: Callable[["ObservationCodec", FloatArray], Array]
    bounds: Callable[["ObservationCodec"], tuple[float, float]] = lambda codec: (0.0, 1.0)
    numbers: Callable[["ObservationCodec"], int] = lambda codec: 1  # for each user, user by user


def _scaled(
    field: str,
    unit: Callable[["ObservationCodec"], float],
    bounds: Callable[["ObservationCodec"], tuple[float, float]] = lambda codec: (0.0, 1.0),
) -> Entry:
    return Entry(field, lambda codec, x: x / unit(codec), lambda codec, x: x * unit(codec), bounds)


def _efficiency(field: str) -> Entry:
    return _scaled(field, lambda codec: codec.reference_efficiency, lambda codec: (0.0, codec.best_channel))


def _tokens(field: str) -> Entry:
    return Entry(
        field,
        lambda codec, x: x / codec.scenario.max_draft_length,
        lambda codec, x: np.rint(x * codec.scenario.max_draft_length).astype(np.int64),
    )


def _count(field: str, half: float) -> Entry:
    # x / (x + half), for integers x ≥ 0 without an upper limit; exact up to 500 times `half`
    return Entry(
        field,
        lambda codec, x: x / (x + half),
        lambda codec, x: np.rint(half * x / (1.0 - np.minimum(x, _NEARLY_ONE))).astype(np.int64),
    )


def _saturating(field: str, half: Callable[["ObservationCodec"], float]) -> Entry:
    return Entry(
        field,
        lambda codec, x: x / (x + half(codec)),
        lambda codec, x: half(codec) * x / (1.0 - np.minimum(x, _NEARLY_ONE)),
    )


def _fraction(field: str) -> Entry:
    return Entry(field, lambda codec, x: x, lambda codec, x: x)


def _one_hot(field: str, size: Callable[["ObservationCodec"], int]) -> Entry:
    return Entry(
        field,
        lambda codec, x: np.eye((n := size(codec)) + 1, n).take(x, 0, mode="clip").reshape(*x.shape[:-1], -1),
        lambda codec, x: x.reshape(*x.shape[:-1], -1, size(codec)).argmax(-1),
        numbers=size,
    )


def _time(field: str) -> Entry:
    def decode(codec: "ObservationCodec", x: FloatArray) -> FloatArray:
        time: FloatArray = codec.scenario.verification_time / (1.0 / np.clip(x, 1e-300, _NEARLY_ONE) - 1.0)
        return np.where(x > 0.0, time, 0.0)

    def encode(codec: "ObservationCodec", x: Array) -> Array:
        return np.asarray(x / (x + codec.scenario.verification_time))

    return Entry(field, encode, decode)


def _until(field: str) -> Entry:
    def encode(codec: "ObservationCodec", x: Array) -> Array:
        half = SLACK * codec.scenario.verification_time
        return np.copysign(1.0 - half / (np.abs(x) + half), x)  # 1 for infinity

    def decode(codec: "ObservationCodec", x: FloatArray) -> FloatArray:
        size = np.minimum(np.abs(x), _NEARLY_ONE)
        time = SLACK * codec.scenario.verification_time * size / (1.0 - size)
        return np.where(x >= 1.0, np.inf, np.copysign(time, x))

    return Entry(field, encode, decode, lambda codec: (-1.0, 1.0))


_PHASE = _one_hot("phase", lambda codec: Phase.IDLE)  # without IDLE: with endless requests no device is idle
_PHASE_OR_IDLE = _one_hot("phase", lambda codec: Phase.IDLE + 1)

ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        "phase": _PHASE,
        "compute": _scaled(
            "draft_time",
            lambda codec: codec.scenario.mean_draft_time,
            lambda codec: codec.compute_range,
        ),
        "channel": _efficiency("spectral_efficiency"),
        "mean_channel": Entry(
            "mean_gain",
            lambda codec, x: spectral_efficiency(codec.scenario, x) / codec.reference_efficiency,
            lambda codec, x: channel_gain(codec.scenario, x * codec.reference_efficiency),
            lambda codec: (0.0, codec.best_channel),
        ),
        "head_start": _scaled("head_start", lambda codec: codec.scenario.max_draft_length),
        "planned_channel": _efficiency("planned_efficiency"),
        "acceptance": _fraction("acceptance_rate"),
        # batteries
        "affordable": _tokens("affordable"),
        "level": _fraction("level"),
        "capacity": _saturating(
            "capacity", lambda codec: codec.scenario.max_draft_length * codec.scenario.draft_energy
        ),
        "charge": _saturating("charge", lambda codec: codec.scenario.draft_energy / codec.scenario.verification_time),
        "time_left": _fraction("time_left"),
        # hidden acceptance; without the barrier a verification counts as a round
        "task": _one_hot("task", lambda codec: len(codec.scenario.tasks)),
        "drafted": _tokens("drafted"),
        "accepted": _tokens("accepted"),
        "age": _count("age", ROUNDS),
        "hits": _count("hits", TOKENS),
        "misses": _count("misses", ROUNDS),
        # fairness
        "throughput": _saturating("throughput", lambda codec: 1.0 / codec.scenario.verification_time),
        # devices without the barrier
        "draft": _tokens("draft_length"),
        "ready": _time("ready_in"),
        "cycle": _time("cycle_age"),
        "aim": Entry(
            "batches_to_aim",
            lambda codec, x: x / (np.abs(x) + _BATCHES),
            lambda codec, x: np.rint(_BATCHES * x / (1.0 - np.minimum(np.abs(x), _NEARLY_ONE))).astype(np.int64),
            lambda codec: (-1.0, 1.0),
        ),
        # finite requests
        "wanted": _count("wanted", TOKENS),
        "answer": _count("output", TOKENS),
        "prompt": _count("prompt", _PROMPT),
        "waited": _time("waited"),
        "first_due": _until("first_due_in"),
        "due": _until("due_in"),
        "queue": _count("queue", _REQUESTS),
        "reading": _time("reading_left"),
    }
)

ROUND_STATE = ("compute", "channel", "acceptance")
"""Entries of environments of rounds with a known state."""

BATTERY_STATE = (*ROUND_STATE, "affordable", "level", "capacity", "charge")
"""Entries of rounds with batteries; with a budget, ``time_left`` replaces ``charge``."""

AHEAD_STATE = (*ROUND_STATE, "head_start")
"""Entries of rounds in which devices draft ahead."""

CONTINUOUS_STATE = ("phase", *ROUND_STATE, "draft", "ready", "cycle", "aim")
"""Entries without the barrier, with endless requests and a known state."""

SERVING_STATE = (*CONTINUOUS_STATE, "wanted", "answer", "prompt", "waited", "first_due", "due", "queue")
"""Entries without the barrier, with finite requests and a known state."""

COUNTED = ("task", "drafted", "accepted", "age", "hits", "misses")
"""Entries that replace ``acceptance`` if it is hidden."""


def _shared_numbers(codec: "ObservationCodec") -> dict[str, float]:
    scenario, users, shown = codec.scenario, codec.scenario.num_users, codec.shown

    def verification_time(drafts: int, tokens: int) -> float:  # with the round-trip time, over T̄
        return (float(scenario.law.time(drafts, tokens)) + scenario.uplink.fixed_wait) / scenario.mean_draft_time

    upload = users * float(scenario.uplink.token_time(np.array(codec.reference_efficiency)))
    numbers = {"T_ver/T̄": verification_time(users, users), "K": users, "K Q/(B r̄ T̄)": upload / scenario.mean_draft_time}
    if "phase" in shown:
        numbers["V(1)/T̄"] = verification_time(1, 1)
    if not {"phase", "head_start", "level"}.isdisjoint(shown):
        numbers["ρ T_ver/K"] = float(codec.rho * scenario.verification_time / users)
    if scenario.verification_pieces:  # the time of a pass depends on draft lengths
        for name, length in (("T_ver(4)/T̄", TYPICAL_LENGTH), ("T_ver(L_max)/T̄", scenario.max_draft_length)):
            numbers[name] = verification_time(users, users * (length + 1))
    return numbers


_Seen = Observed | SystemState | ContinuousState | ContinuousObserved


def fields_of(seen: _Seen, requests: bool = True) -> dict[str, Array]:
    """Return the fields of all entries, arrays (..., K) in physical units, with or without those of ``requests``."""
    if isinstance(seen, ContinuousObserved):
        return fields_of(seen.system) | fields_of(seen.state, requests)
    if not isinstance(seen, ContinuousState):
        return named_arrays(seen)
    fields: dict[str, Any] = {
        "phase": seen.phase,
        "draft_time": seen.draft_time,
        "spectral_efficiency": seen.spectral_efficiency,
        "acceptance_rate": seen.acceptance_rate,
        "draft_length": seen.draft_length,
        "ready_in": seen.drafting_left + seen.air_left,
        "cycle_age": seen.age,
        "batches_to_aim": seen.aim - np.asarray(seen.batch)[..., None],
        "head_start": seen.head_start,
    }
    if not requests:
        return fields
    demand, now = seen.demand, np.asarray(seen.time)[..., None]
    return fields | {
        "wanted": demand.wanted,
        "output": demand.output,
        "prompt": demand.prompt,
        "waited": np.where(seen.phase == Phase.IDLE, 0.0, now - demand.arrived),
        "first_due_in": demand.first_due - now,
        "due_in": demand.due - now,
        "queue": demand.queue,
        "reading_left": seen.reading_left,
    }


@dataclass(frozen=True)
class ObservationCodec:
    """Codec between states and dimensionless observations of order one.

    r̄ is the spectral efficiency at the middle of the mean gains. The upper bound of the channel is r at H = 64 H̄ for
    the largest H̄, which is never drawn.
    """

    scenario: Scenario
    shown: tuple[str, ...] = ROUND_STATE  # keys of `ENTRIES`, in their order
    rho: float = 1.0  # price of a second in tokens, shown in ``shared`` if the reward has one
    belief: Filter | None = None  # estimator of hidden acceptance without the barrier

    def __post_init__(self) -> None:
        if not (np.abs(self.constants) < _SHARED_BOUND).all():
            quantities = f"log10 of {', '.join(_shared_numbers(self))}"
            raise ValueError(
                f"scenario: expected magnitudes below {_SHARED_BOUND:g} of {quantities}, got {self.constants.tolist()}"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle only the fields: functions in the entries cannot be pickled."""
        return type(self), (self.scenario, self.shown, self.rho, self.belief)

    @cached_property
    def num_changing(self) -> int:
        """Number of entries of ``shared`` that change from step to step."""
        return ("phase" in self.shown) + 2 * ("wanted" in self.shown)

    @cached_property  # read at every step
    def entries(self) -> dict[str, Entry]:
        """All entries except ``shared``."""
        entries = {key: ENTRIES[key] for key in self.shown}
        if "wanted" in self.shown:
            entries["phase"] = _PHASE_OR_IDLE
        return entries

    @cached_property
    def hides(self) -> bool:
        """Whether parts of a state without the barrier are hidden; then observations decode to `ContinuousObserved`."""
        return not {*COUNTED, "mean_channel"}.isdisjoint(self.shown)

    @property
    def compute_range(self) -> tuple[float, float]:
        """Smallest and largest T_k / T̄."""
        low, high = self.scenario.devices.draft_time_range(ends="wanted" in self.shown)
        return low - _ROUNDING, high + _ROUNDING

    @cached_property
    def reference_efficiency(self) -> float:
        """r̄ in bit/s/Hz."""
        return float(spectral_efficiency(self.scenario, np.array(self.scenario.devices.middle_gain)))

    @property
    def best_channel(self) -> float:
        """Largest r_k / r̄."""
        best_gain = np.array(self.scenario.mean_gain_high * LARGEST_FADE)
        return float(spectral_efficiency(self.scenario, best_gain)) / self.reference_efficiency * (1.0 + _ROUNDING)

    @cached_property  # read at every step
    def constants(self) -> FloatArray:
        """Constant numbers of ``shared``."""
        return np.log10(list(_shared_numbers(self).values()))

    @property
    def space(self) -> spaces.Dict:
        """Observation space of a single environment."""
        num_users = self.scenario.num_users
        boxes = {
            key: spaces.Box(*entry.bounds(self), (num_users * entry.numbers(self),), np.float32)
            for key, entry in self.entries.items()
        }
        size = len(self.constants) + self.num_changing
        return spaces.Dict({**boxes, SHARED: spaces.Box(-_SHARED_BOUND, _SHARED_BOUND, (size,), np.float32)})

    def encode(self, seen: _Seen) -> Observation:
        """Return the observation (..., numbers) of a state (..., K), with entries in the order of the space."""
        state = seen.state if isinstance(seen, ContinuousObserved) else seen
        return ObservationEncoder(self).encode(fields_of(seen, "wanted" in self.shown), state)

    def encode_shared(self, state: Observed | SystemState | ContinuousState) -> NDArray[np.float32]:
        """Return the entry ``shared``, (..., numbers), of a state (..., K)."""
        constants, changing, users = self.constants, self.num_changing, self.scenario.num_users
        shared = np.empty((*state.draft_time.shape[:-1], len(constants) + changing), dtype=np.float32)
        shared[..., : len(constants)] = constants
        if changing:
            assert isinstance(state, ContinuousState)
            pending = np.add.reduce(state.air_left, -1)
            shared[..., len(constants)] = pending / (pending + self.scenario.verification_time)
            if changing > 1:
                waiting = np.add.reduce(state.demand.queue, -1)
                shared[..., -2] = np.add.reduce(state.busy, -1) / users
                shared[..., -1] = waiting / (waiting + users)
        return shared

    def decode(self, observation: Mapping[str, NDArray[np.float32]]) -> _Seen:
        """Return the state of an observation, with the precision of float32; counts are exact.

        For rounds it is an `Observed`. Without the barrier it is a `ContinuousState`, or a `ContinuousObserved` if some
        parts of the state are hidden; its batches and times count from the current step. Observations hold no joules:
        with a fleet, the decoded ``draft_energy`` is ``None``, so that a controller prices those of the scenario.
        """
        fields = {
            entry.field: entry.decode(self, np.asarray(observation[key], dtype=np.float64))
            for key, entry in self.entries.items()
        }
        if "phase" not in fields:
            return Observed(**with_batteries(fields))
        if not self.hides:
            return _state_of(self.scenario, fields)
        known = Observed(**with_batteries({name: fields[name] for name in Observed.__slots__ if name in fields}))
        state = _state_of(self.scenario, fields | {"acceptance_rate": self.acceptance_estimate(known)})
        return ContinuousObserved(state, known)

    def acceptance_estimate(self, observed: Observed) -> FloatArray:
        """Return acceptance rates (..., K), estimated from counts if they are hidden."""
        if observed.acceptance_rate is not None:
            return observed.acceptance_rate
        assert self.belief is not None
        assert observed.hits is not None
        assert observed.misses is not None
        return self.belief.posterior_moment(observed.hits, observed.misses, observed.task)


class ObservationEncoder:
    """Encoder of observations (..., numbers), which reuses an entry while its field is the same array."""

    def __init__(self, codec: ObservationCodec) -> None:
        self._codec = codec
        names = sorted([*codec.entries, SHARED])  # in the order of the space
        self._encoded: dict[str, Array] = dict.fromkeys(names, np.empty(0))
        self._source: dict[str, Array] = {}  # field of each entry

    def encode(self, fields: Mapping[str, Array], state: Observed | SystemState | ContinuousState) -> Observation:
        """Return the observation of fields (..., K), with ``shared`` from a state (..., K)."""
        codec, encoded, source = self._codec, self._encoded, self._source
        if codec.num_changing or not source:
            encoded[SHARED] = codec.encode_shared(state)
        for key, entry in codec.entries.items():
            field = fields[entry.field]
            if source.get(key) is not field:
                source[key], encoded[key] = field, entry.encode(codec, field).astype(np.float32)
        return dict(encoded)


def _state_of(scenario: Scenario, fields: Mapping[str, Array]) -> ContinuousState:
    phase, length, ready = fields["phase"], fields["draft_length"], fields["ready_in"]
    drafting, uploading = phase == Phase.DRAFTING, phase == Phase.UPLOADING
    upload = length * scenario.uplink.token_time(fields["spectral_efficiency"])
    batch = phase.shape[:-1]
    return ContinuousState(
        draft_time=fields["draft_time"],
        spectral_efficiency=fields["spectral_efficiency"],
        acceptance_rate=fields["acceptance_rate"],
        phase=phase,
        draft_length=length,
        drafting_left=np.where(drafting, np.maximum(ready - upload, 0.0), 0.0),
        air_left=np.where(drafting, upload, np.where(uploading, ready, 0.0)),
        age=fields["cycle_age"],
        aim=fields["batches_to_aim"],
        batch=np.zeros(batch, dtype=np.int64),
        time=np.zeros(batch),
        demand=_demand_of(fields) if "wanted" in fields else Demand.endless(phase.shape),
        head_start=fields.get("head_start", np.zeros(phase.shape)),
        reading_left=fields.get("reading_left"),
    )


def _demand_of(fields: Mapping[str, Array]) -> Demand:
    return Demand(
        wanted=fields["wanted"],
        output=fields["output"],
        prompt=fields["prompt"],
        arrived=-fields["waited"],
        first_due=fields["first_due_in"],
        due=fields["due_in"],
        queue=fields["queue"],
        drafted=np.zeros_like(fields["wanted"]),  # tokens of the last verification are not observed
        accepted=np.zeros_like(fields["wanted"]),
    )
