"""Entries of observations without the barrier: fields of what is seen, scaled to order one, and back."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.envs.observations import DEVICE_ENTRIES, MEAN_CHANNEL, Entry, Words, past_entries
from multispin_env.physics.continuous.types import Phase

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


ENTRIES: dict[str, Entry] = {
    # a device is never idle where requests are endless
    "phase": phase_entry(Phase.IDLE, "free, drafting, uploading or ready"),
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
"""Entries beside ``shared`` where everything is known, in the order of the observation."""

COUNTED = past_entries("verification")
"""Entries in the place of ``acceptance`` where that is hidden."""

PARTIAL = {"mean_channel": MEAN_CHANNEL, **COUNTED}
"""Entries that are shown only where something is hidden."""


def with_partial(entries: Mapping[str, Entry]) -> Mapping[str, Entry]:
    """These and `PARTIAL`, beside the entries that they have to do with."""
    keys = list(entries)
    keys[keys.index("acceptance") + 1 : keys.index("acceptance") + 1] = COUNTED
    keys.insert(keys.index("channel") + 1, "mean_channel")
    return MappingProxyType({key: {**entries, **PARTIAL}[key] for key in keys})
