"""Observations where requests end: besides, what is still wanted, until when, and what waits behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.envs.continuous.entries import ENTRIES, NEARLY_ONE, phase_entry, time_entry, with_partial
from multispin_env.envs.continuous.observations import SHARED_WORDS, ContinuousObservations
from multispin_env.envs.observations import Entry, Words
from multispin_env.physics.continuous.types import ContinuousState, Demand, Phase

SLACK = 16.0
"""Verifications of all, T_ver each, after which a time until something is due counts as one half."""

TOKENS, PROMPT, REQUESTS = 64.0, 256.0, 4.0
"""Tokens of an answer and of a prompt, and requests, that count as one half."""


def _count(field: str, half: float, meaning: str, unit: str) -> Entry:
    """x / (x + half) of a whole number x ≥ 0."""
    return Entry(
        field,
        Words(f"x / (x + {half:g})", f"x = {meaning}", unit),
        lambda codec: (0.0, 1.0),
        lambda codec, x: x / (x + half),
        lambda codec, x: np.rint(half * x / (1.0 - np.minimum(x, NEARLY_ONE))).astype(np.int64),
    )


def _until(field: str, meaning: str) -> Entry:
    """x / (|x| + 16 T_ver) of a time x, which may be infinite."""

    def encode(codec: Any, x: NDArray[Any]) -> NDArray[Any]:
        half = SLACK * codec.scenario.verification_time
        return np.copysign(1.0 - half / (np.abs(x) + half), x)  # 1 where it is infinite

    def decode(codec: Any, x: FloatArray) -> FloatArray:
        size = np.minimum(np.abs(x), NEARLY_ONE)
        time = SLACK * codec.scenario.verification_time * size / (1.0 - size)
        return np.where(x >= 1.0, np.inf, np.copysign(time, x))

    return Entry(
        field,
        Words(f"x / (|x| + {SLACK:g} T_ver)", f"x = {meaning}; 1 for no limit", "s"),
        lambda codec: (-1.0, 1.0),
        encode,
        decode,
    )


SERVING_ENTRIES: dict[str, Entry] = {
    **ENTRIES,
    "phase": phase_entry(len(Phase), "free, drafting, uploading, ready or idle", "(K · 5,)"),
    "wanted": _count("wanted", TOKENS, "tokens still to come", "tokens"),
    "answer": _count("output", TOKENS, "tokens of the whole answer", "tokens"),
    "prompt": _count("prompt", PROMPT, "prompt tokens of the next verification", "tokens"),
    "waited": time_entry("waited", "time since the request arrived"),
    "first_due": _until("first_due", "time until the first token is due"),
    "due": _until("due", "time until the last token is due"),
    "queue": _count("queue", REQUESTS, "requests that wait behind it", "requests"),
}
"""Entries beside ``shared`` where everything is known, in the order of the observation."""


@dataclass(frozen=True)
class ServingObservations(ContinuousObservations):
    """Dimensionless observations of order one of states with `Demand`; parameters as of `ContinuousObservations`."""

    table: ClassVar[Mapping[str, Entry]] = with_partial(SERVING_ENTRIES)
    shared_words: ClassVar[Words] = Words(
        f"{SHARED_WORDS.symbol}; busy users / K; y / (y + K)",
        f"{SHARED_WORDS.meaning}; users that have a request; y = requests that wait behind others",
        "1",
        "(8,)",
    )
    changing: ClassVar[int] = 3

    shown: tuple[str, ...] = tuple(SERVING_ENTRIES)

    def fields_of(self, state: ContinuousState) -> dict[str, NDArray[Any]]:
        """Fields of the entries of a whole state."""
        demand, now = state.demand, np.asarray(state.time)[..., None]
        return {
            **super().fields_of(state),
            "wanted": demand.wanted,
            "answer": demand.output,
            "prompt": demand.prompt,
            "waited": np.where(state.phase == Phase.IDLE, 0.0, now - demand.arrived),
            "first_due": demand.first_due - now,
            "due": demand.due - now,
            "queue": demand.queue,
        }

    def changing_now(self, state: ContinuousState) -> list[FloatArray]:
        """The last numbers of ``shared``, (...) each."""
        busy = np.add.reduce(state.busy, -1) / self.scenario.num_users
        waiting = np.add.reduce(state.demand.queue, -1)
        return [*super().changing_now(state), busy, waiting / (waiting + self.scenario.num_users)]

    def state_of(self, seen: Mapping[str, NDArray[Any]], acceptance: FloatArray) -> ContinuousState:
        """State (..., K) of what was seen and acceptance; what the last verification accepted is left out, and 0."""
        nothing = np.zeros_like(seen["wanted"])
        demand = Demand(
            seen["wanted"],
            seen["answer"],
            seen["prompt"],
            -seen["waited"],
            seen["first_due"],
            seen["due"],
            seen["queue"],
            nothing,
            nothing.copy(),
        )
        return super().state_of(seen, acceptance).changed(demand=demand)
