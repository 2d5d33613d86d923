"""State to observation and back: the one place where observations without the barrier are scaled."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.controllers.estimators.filter import Filter
from multispin_env.envs.continuous.entries import ENTRIES, PARTIAL, with_partial
from multispin_env.envs.engine import Observation
from multispin_env.envs.observations import MIDDLE, SHARED, SHARED_BOUND, Entry, Scales, Words, in_order
from multispin_env.physics.continuous.types import ContinuousObserved, ContinuousState, Demand, Phase
from multispin_env.physics.types import Observed
from multispin_env.physics.uplink import full_share_token_time

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
    shown
        Which entries there are beside ``shared``, in their order; by default the whole state.
    belief
        Says what acceptance may be where it is hidden.
    """

    table: ClassVar[Mapping[str, Entry]] = with_partial(ENTRIES)
    """All entries that can be shown beside ``shared``."""
    shared_words: ClassVar[Words] = SHARED_WORDS
    changing: ClassVar[int] = 1
    """Numbers of ``shared`` that change from step to step; they are the last ones."""

    rho: float
    shown: tuple[str, ...] = tuple(ENTRIES)
    belief: Filter | None = None

    def __post_init__(self) -> None:
        if not (np.abs(self.common) < SHARED_BOUND).all():
            raise ValueError(
                f"scenario: expected magnitudes below {SHARED_BOUND:g} of log10 of T_ver/T̄, K, K Q/(B r̄ T̄), V(1)/T̄, "
                f"ρ T_ver/K, got {self.common.tolist()}"
            )

    @property
    def entries(self) -> dict[str, Entry]:
        """Entries beside ``shared``."""
        return {key: self.table[key] for key in self.shown}

    @cached_property  # asked for at every step
    def partial(self) -> bool:
        """Whether something is hidden, so that what is seen is a `ContinuousObserved`, not a state."""
        return not PARTIAL.keys().isdisjoint(self.shown)

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

    def encode(self, observed: ContinuousState | ContinuousObserved) -> Observation:
        """Observations of what is seen (..., K)."""
        state = observed.state if isinstance(observed, ContinuousObserved) else observed
        seen = {key: self.encode_entry(key, field) for key, field in self.fields(observed).items()}
        return in_order({**seen, SHARED: self.encode_shared(state)})

    def fields(self, observed: ContinuousState | ContinuousObserved) -> dict[str, NDArray[Any]]:
        """What the entries show, arrays (..., K) in physical units."""
        if not isinstance(observed, ContinuousObserved):
            return self.fields_of(observed)
        fields = self.fields_of(observed.state)
        partial = {key: getattr(observed.system, entry.field) for key, entry in PARTIAL.items()}
        return {key: {**fields, **partial}[key] for key in self.shown}

    def fields_of(self, state: ContinuousState) -> dict[str, NDArray[Any]]:
        """Fields of the entries of a whole state."""
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
        return self.table[key].encode(self, array).astype(np.float32)

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

    def decode(self, observation: Mapping[str, NDArray[np.float32]]) -> ContinuousState | ContinuousObserved:
        """What an observation shows, to the precision of float32; batches and time count from now."""
        seen = self.seen(observation)
        if not self.partial:
            return self.state_of(seen, seen["acceptance"])
        past = {entry.field: seen.get(key) for key, entry in PARTIAL.items()}
        known = Observed(seen["compute"], seen["channel"], seen.get("acceptance"), **past)
        return ContinuousObserved(self.state_of(seen, self.believed(known)), known)

    def believed(self, observed: Observed) -> FloatArray:
        """Acceptance (..., K) where it is known, else what the counts let one believe."""
        if observed.acceptance_rate is not None:
            return observed.acceptance_rate
        assert self.belief is not None  # as it is hidden
        assert observed.hits is not None
        assert observed.misses is not None
        return self.belief.given(observed.hits, observed.misses, observed.task)

    def state_of(self, seen: Mapping[str, NDArray[Any]], acceptance: FloatArray) -> ContinuousState:
        """State (..., K) of what was seen, as `seen` gives it, and acceptance."""
        phase, length, ready = seen["phase"], seen["draft"], seen["ready"]
        upload = length * full_share_token_time(self.scenario, seen["channel"])
        drafting = phase == Phase.DRAFTING
        batch = phase.shape[:-1]
        return ContinuousState(
            seen["compute"],
            seen["channel"],
            acceptance,
            phase,
            length,
            np.where(drafting, np.maximum(ready - upload, 0.0), 0.0),
            np.where(drafting, upload, np.where(phase == Phase.UPLOADING, ready, 0.0)),
            seen["cycle"],
            seen["aim"],
            np.zeros(batch, dtype=np.int64),
            np.zeros(batch),
            Demand.endless(phase.shape),
        )
