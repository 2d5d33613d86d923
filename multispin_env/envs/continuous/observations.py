"""State to observation and back: the one place where observations without the barrier are scaled."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.envs.engine import Observation
from multispin_env.envs.observations import DEVICE_ENTRIES, MIDDLE, SHARED, SHARED_BOUND, Entry, Scales, Words
from multispin_env.physics.continuous.types import ContinuousState, Phase
from multispin_env.physics.uplink import full_share_token_time

BATCHES = 4.0
"""Batches from the next to the aim that count as one half."""

NEARLY_ONE = 1.0 - 2.0**-24
"""The largest float32 below 1; more is for ever."""

TINY = 1e-300


def phase_entry(phases: int, meaning: str, shape: str = "(K · phases,)") -> Entry:
    """The first ``phases`` of `Phase`, one-hot."""
    return Entry(
        "phase",
        Words("0 or 1", f"for each user a 1 at {meaning}", "1", shape),
        lambda codec: (0.0, 1.0),
        lambda codec, x: (x[..., None] == np.arange(phases)).reshape(*x.shape[:-1], -1),
        lambda codec, x: x.reshape(*x.shape[:-1], -1, phases).argmax(-1),
        lambda codec: phases,
    )


def time_entry(field: str, meaning: str) -> Entry:
    """x / (x + T_ver) of a time x ≥ 0."""

    def decode(codec: Any, x: FloatArray) -> FloatArray:
        time: FloatArray = codec.scenario.verification_time / (1.0 / np.clip(x, TINY, NEARLY_ONE) - 1.0)
        return np.where(x > 0.0, time, 0.0)

    return Entry(
        field,
        Words("x / (x + T_ver)", f"x = {meaning}", "s"),
        lambda codec: (0.0, 1.0),
        lambda codec, x: x / (x + codec.scenario.verification_time),
        decode,
    )


ENTRIES = {
    # a device is never idle where requests are endless
    "phase": phase_entry(len(Phase) - 1, "free, drafting, uploading or ready"),
    **DEVICE_ENTRIES,
    "draft": Entry(
        "draft_length",
        Words("L_k / L_max", "tokens of the draft under way", "tokens"),
        lambda codec: (0.0, 1.0),
        lambda codec, x: x / codec.scenario.max_draft_length,
        lambda codec, x: np.rint(x * codec.scenario.max_draft_length).astype(np.int64),
    ),
    "ready": time_entry("ready_in", "time until the draft is ready if it has the band alone"),
    "cycle": time_entry("age", "time since the cycle started"),
    "aim": Entry(
        "aim",
        Words("x / (|x| + 4)", "x = batches from the next one to the one aimed at", "batches"),
        lambda codec: (-1.0, 1.0),
        lambda codec, x: x / (np.abs(x) + BATCHES),
        lambda codec, x: np.rint(BATCHES * x / (1.0 - np.minimum(np.abs(x), NEARLY_ONE))).astype(np.int64),
    ),
}
"""Entries beside ``shared``, in the order of the observation."""

SHARED_WORDS = Words(
    "log10 of T_ver / T̄, K, K Q / (B r̄ T̄), V(1) / T̄, ρ T_ver / K; x / (x + T_ver)",
    "verification of all and of one, users, upload time of a token at an equal share, ρ; x = air time pending",
    "1",
    "(6,)",
)


@dataclass(frozen=True)
class ContinuousObservations(Scales):
    """Dimensionless observations of order one.

    Parameters
    ----------
    scenario
        The system.
    rho
        Price of a second in tokens.
    """

    entries: ClassVar[Mapping[str, Entry]] = MappingProxyType(ENTRIES)
    """Entries beside ``shared``, in their order."""
    shared_words: ClassVar[Words] = SHARED_WORDS
    changing: ClassVar[int] = 1
    """Numbers of ``shared`` that change from step to step; they are the last ones."""

    rho: float

    def __post_init__(self) -> None:
        if not (np.abs(self.common) < SHARED_BOUND).all():
            raise ValueError(
                f"scenario: expected magnitudes below {SHARED_BOUND:g} of log10 of T_ver/T̄, K, K Q/(B r̄ T̄), V(1)/T̄, "
                f"ρ T_ver/K, got {self.common.tolist()}"
            )

    @property
    def words(self) -> dict[str, Words]:
        """What each entry is, ``shared`` too."""
        return {**{key: entry.words for key, entry in self.entries.items()}, SHARED: self.shared_words}

    @cached_property
    def common(self) -> FloatArray:
        """What all users share and what does not change, (5,); (7,) where verification costs tokens."""
        scenario, users = self.scenario, self.scenario.num_users
        upload = users * float(full_share_token_time(scenario, np.array(self.reference_efficiency)))
        passes = [scenario.pass_time(users, users), scenario.pass_time(1, 1)]
        if scenario.verification_pieces:
            longest = (MIDDLE, scenario.max_draft_length)
            passes += [scenario.pass_time(users, users * (tokens + 1)) for tokens in longest]
        times = [(float(time) + scenario.round_trip_time) / scenario.mean_draft_time for time in passes]
        price = self.rho * scenario.verification_time / users
        numbers = [times[0], users, upload / scenario.mean_draft_time, times[1], price, *times[2:]]
        return np.log10(numbers)

    @property
    def space(self) -> spaces.Dict:
        """The observation space of one environment."""
        users = self.scenario.num_users
        boxes = {
            key: spaces.Box(*entry.bounds(self), (users * entry.numbers(self),), np.float32)
            for key, entry in self.entries.items()
        }
        shared = spaces.Box(-SHARED_BOUND, SHARED_BOUND, (len(self.common) + self.changing,), np.float32)
        return spaces.Dict({**boxes, SHARED: shared})

    def encode(self, observed: ContinuousState) -> Observation:
        """Observations of states (..., K)."""
        seen = {key: self.encode_entry(key, field) for key, field in self.fields(observed).items()}
        return {**seen, SHARED: self.encode_shared(observed)}

    def fields(self, state: ContinuousState) -> dict[str, NDArray[Any]]:
        """What the entries show, arrays (..., K) in physical units."""
        return {
            "phase": state.phase,
            "compute": state.draft_time,
            "channel": state.spectral_efficiency,
            "acceptance": state.acceptance_rate,
            "draft": state.draft_length,
            "ready": state.drafting_left + state.air_left,
            "cycle": state.age,
            "aim": state.aim - np.asarray(state.batch)[..., None],
        }

    def encode_entry(self, key: str, array: NDArray[Any]) -> NDArray[np.float32]:
        """One entry of the observation, from its field (..., K)."""
        return self.entries[key].encode(self, array).astype(np.float32)

    def encode_shared(self, state: ContinuousState) -> NDArray[np.float32]:
        """What all users share, (..., numbers)."""
        changing = self.changing_now(state)
        shared = np.empty((*changing[0].shape, len(self.common) + self.changing), dtype=np.float32)
        shared[..., : -self.changing] = self.common
        for place, number in enumerate(changing, start=-self.changing):
            shared[..., place] = number
        return shared

    def changing_now(self, state: ContinuousState) -> list[FloatArray]:
        """The last numbers of ``shared``, (...) each."""
        pending = np.add.reduce(state.air_left, -1)
        return [np.asarray(pending / (pending + self.scenario.verification_time))]

    def seen(self, observation: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        """Inverse of `fields`, to the precision of float32."""
        return {
            key: entry.decode(self, np.asarray(observation[key], dtype=np.float64))
            for key, entry in self.entries.items()
        }

    def decode(self, observation: Mapping[str, NDArray[np.float32]]) -> ContinuousState:
        """State that an observation shows, to the precision of float32; batches and time count from now."""
        seen = self.seen(observation)
        phase, length, ready = seen["phase"], seen["draft"], seen["ready"]
        upload = length * full_share_token_time(self.scenario, seen["channel"])
        drafting = phase == Phase.DRAFTING
        batch = phase.shape[:-1]
        return ContinuousState(
            seen["compute"],
            seen["channel"],
            seen["acceptance"],
            phase,
            length,
            np.where(drafting, np.maximum(ready - upload, 0.0), 0.0),
            np.where(drafting, upload, np.where(phase == Phase.UPLOADING, ready, 0.0)),
            seen["cycle"],
            seen["aim"],
            np.zeros(batch, dtype=np.int64),
            np.zeros(batch),
        )
