"""Tables of lengths that were found once and are kept in the package (ours)."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.types import SystemState
from multispin_env.physics.uplink import full_share_token_time
from multispin_env.scenario import Scenario

FILE = "plans.npz"
"""Beside this module; ``python -m benchmarks.plans`` makes it."""

DIGITS = 8
"""Of the numbers that devices are recognised by: the last ones differ between processors."""


def key_of(scenario: Scenario, devices: SystemState) -> bytes:
    """Recognise devices (K,) and all of a scenario that a table depends on."""
    numbers = np.concatenate(
        (devices.draft_time, devices.acceptance_rate, full_share_token_time(scenario, devices.spectral_efficiency))
    )
    law = (
        scenario.verification_fixed_time,
        scenario.verification_time_per_draft,
        scenario.verification_pieces,
        scenario.padded_verification,
        scenario.round_trip_time,
        scenario.max_draft_length,
    )
    return sha256(repr((_rounded(numbers), law)).encode()).digest()


def _rounded(numbers: FloatArray) -> list[str]:
    return [f"{number:.{DIGITS - 1}e}" for number in numbers.tolist()]


@dataclass(frozen=True)
class StoredTables:
    """Tables (P, K) by the keys of their devices."""

    tables: dict[bytes, IntArray]

    @classmethod
    @cache
    def load(cls) -> Self:
        """Those of the package."""
        with files(__package__).joinpath(FILE).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return cls({bytes.fromhex(name): arrays[name].astype(np.int64) for name in arrays.files})
