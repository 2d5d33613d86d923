"""What may be seen to observation and back: the one place where observations are scaled."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.envs.engine import Observation
from multispin_env.envs.observations import (
    DEVICE_ENTRIES,
    MEAN_CHANNEL,
    MIDDLE,
    SHARED,
    SHARED_BOUND,
    Entry,
    Scales,
    Words,
    efficiency_entry,
    in_order,
    past_entries,
)
from multispin_env.physics.types import Observed, SystemState
from multispin_env.physics.uplink import full_share_token_time

ENTRIES = {
    **DEVICE_ENTRIES,
    **past_entries("round"),
    "mean_channel": MEAN_CHANNEL,
    "planned_channel": efficiency_entry(
        "planned_efficiency", "r / r̄", "r = spectral efficiency that encodings plan with"
    ),
    "throughput": Entry(
        "throughput",
        Words("x / (1 + x)", "x = R_k T_ver, R_k = discounted throughput", "tokens/s"),
        lambda codec: (0.0, 1.0),
        lambda codec, x: x / (x + 1.0 / codec.scenario.verification_time),
        lambda codec, x: x / (1.0 - x) / codec.scenario.verification_time,
    ),
}
"""Entries beside ``shared``, in the order of the tables."""

SHARED_WORDS = Words(
    "log10 of T_ver / T̄, K, K Q / (B r̄ T̄)",
    "verification time, users, upload time of a token at an equal share",
    "1",
    "(3,)",
)


SHOWN = ("compute", "channel", "acceptance")
"""Entries where everything is known."""


@dataclass(frozen=True)
class ObservationCodec(Scales):
    """Dimensionless observations of order one.

    Its entries are those of `ENTRIES` that are shown, and ``shared``. r̄ is the spectral efficiency at the middle of the
    mean gains, and no draw reaches the upper bound of the channel, which is r at H = 64 H̄ for the largest H̄.

    Parameters
    ----------
    scenario
        The system.
    shown
        Which entries there are beside ``shared``.
    """

    shown: tuple[str, ...] = SHOWN

    def __post_init__(self) -> None:
        if not (np.abs(self.shared) < SHARED_BOUND).all():
            raise ValueError(
                f"scenario: expected magnitudes below {SHARED_BOUND:g} of log10 of T_ver/T̄, K, K Q/(B r̄ T̄), "
                f"got {self.shared.tolist()}"
            )

    @property
    def entries(self) -> dict[str, Entry]:
        """Entries beside ``shared``."""
        return {key: ENTRIES[key] for key in self.shown}

    @property
    def words(self) -> dict[str, Words]:
        """What each entry is, ``shared`` too."""
        return {**{key: entry.words for key, entry in self.entries.items()}, SHARED: SHARED_WORDS}

    @cached_property  # read at every step, and the same at all of them
    def shared(self) -> FloatArray:
        """What all users share, (3,); (5,) where verification costs tokens."""
        scenario = self.scenario
        upload = scenario.num_users * full_share_token_time(scenario, np.array(self.reference_efficiency))
        draft, users = scenario.mean_draft_time, scenario.num_users
        rest = scenario.verification_time + scenario.round_trip_time
        numbers = [rest / draft, users, float(upload) / draft]
        if scenario.verification_pieces:
            passes = users * (np.array([MIDDLE, scenario.max_draft_length]) + 1)
            numbers += list(np.asarray(scenario.pass_time(users, passes) + scenario.round_trip_time) / draft)
        return np.log10(numbers)

    @property
    def space(self) -> spaces.Dict:
        """The observation space of one environment."""
        num_users = self.scenario.num_users
        boxes = {
            key: spaces.Box(*entry.bounds(self), (num_users * entry.numbers(self),), np.float32)
            for key, entry in self.entries.items()
        }
        return spaces.Dict({**boxes, SHARED: spaces.Box(-SHARED_BOUND, SHARED_BOUND, self.shared.shape, np.float32)})

    def encode(self, observed: Observed | SystemState) -> Observation:
        """Observation arrays (..., K), ``task`` (..., K · tasks), ``shared`` (..., 3 or 5) of what is seen (..., K)."""
        batch = observed.draft_time.shape[:-1]
        arrays = {key: self.encode_entry(key, getattr(observed, entry.field)) for key, entry in self.entries.items()}
        return in_order({**arrays, SHARED: self.encode_shared(batch)})

    def encode_entry(self, key: str, array: NDArray[Any]) -> NDArray[np.float32]:
        """One entry of the observation, from its field of `Observed` (..., K)."""
        return ENTRIES[key].encode(self, array).astype(np.float32)

    def encode_shared(self, batch: tuple[int, ...]) -> NDArray[np.float32]:
        """What all users share, (..., 3 or 5)."""
        return np.broadcast_to(self.shared, (*batch, len(self.shared))).astype(np.float32)

    def decode(self, observation: Mapping[str, NDArray[np.float32]]) -> Observed:
        """What is seen in an observation, to the precision of float32; counts are exact."""
        return Observed(
            **{
                entry.field: entry.decode(self, np.asarray(observation[key], dtype=np.float64))
                for key, entry in self.entries.items()
            }
        )
