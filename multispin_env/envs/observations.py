"""What observations of every family have in common: entries, their scales, and what pages say of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.envs.engine import Observation
from multispin_env.physics.uplink import channel_gain, spectral_efficiency
from multispin_env.scenario import Scenario

LARGEST_FADE = 64.0
"""H / H̄ never exceeds it: the largest standard exponential that NumPy can draw is below 45."""

SHARED_BOUND = 20.0
"""|log10| of the shared quantities must stay below it."""

ROUNDING = 1e-6
"""Slack of the bounds for the rounding to float32."""

SHARED = "shared"
"""Entry of what all users share."""

ROUNDS = 16.0
"""Age of a request, and refusals, that count as one half."""

TOKENS = 64.0
"""Accepted tokens of a request that count as one half."""

MIDDLE = 4
"""Draft length at which ``shared`` also says how long a pass takes, where that depends on it."""


@dataclass(frozen=True)
class Words:
    """What the pages of environments say of an entry, beside its range."""

    symbol: str
    meaning: str
    unit: str  # before scaling
    shape: str = "(K,)"


@dataclass(frozen=True)
class Entry:
    """One entry of the observation: a field of what is seen, scaled to order one, and back."""

    field: str
    words: Words
    bounds: Callable[[Any], tuple[float, float]]
    encode: Callable[[Any, NDArray[Any]], NDArray[Any]]
    decode: Callable[[Any, FloatArray], NDArray[Any]]
    numbers: Callable[[Any], int] = lambda codec: 1  # of each user, one user behind the other


def efficiency_entry(field: str, symbol: str, meaning: str) -> Entry:
    """Spectral efficiency over r̄."""
    return Entry(
        field,
        Words(symbol, meaning, "bit/s/Hz"),
        lambda codec: (0.0, codec.best_channel),
        lambda codec, x: x / codec.reference_efficiency,
        lambda codec, x: x * codec.reference_efficiency,
    )


DEVICE_ENTRIES = {
    "compute": Entry(
        "draft_time",
        Words("T_k / T̄", "draft time of a token", "s/token"),
        lambda codec: (1.0 - codec.spread, 1.0 + codec.spread),
        lambda codec, x: x / codec.scenario.mean_draft_time,
        lambda codec, x: x * codec.scenario.mean_draft_time,
    ),
    "channel": efficiency_entry("spectral_efficiency", "r_k / r̄", "spectral efficiency"),
    "acceptance": Entry(
        "acceptance_rate",
        Words("α_k", "acceptance rate", "1"),
        lambda codec: (0.0, 1.0),
        lambda codec, x: x,
        lambda codec, x: x,
    ),
}
"""What is known of a device where nothing is hidden."""

MEAN_CHANNEL = Entry(
    "mean_gain",
    Words("r(H̄_k) / r̄", "spectral efficiency at the mean gain H̄_k", "bit/s/Hz"),
    lambda codec: (0.0, codec.best_channel),
    lambda codec, x: spectral_efficiency(codec.scenario, x) / codec.reference_efficiency,
    lambda codec, x: channel_gain(codec.scenario, x * codec.reference_efficiency),
)
"""What is known of a channel whose reports are old."""


def past_entries(step: str) -> dict[str, Entry]:
    """What is seen of acceptance where it is hidden: the task, and counts of the steps of a family.

    Parameters
    ----------
    step
        What a step is: ``"round"`` or ``"verification"``.
    """
    return {
        "task": Entry(
            "task",
            Words("0 or 1", "for each user a 1 at its task", "1", "(K · tasks,)"),
            lambda codec: (0.0, 1.0),
            lambda codec, x: (np.arange(codec.num_tasks) == x[..., None]).reshape(*x.shape[:-1], -1),
            lambda codec, x: x.reshape(*x.shape[:-1], -1, codec.num_tasks).argmax(-1),
            lambda codec: codec.num_tasks,
        ),
        "drafted": Entry("drafted", **_tokens(f"tokens drafted in the last {step}")),
        "accepted": Entry("accepted", **_tokens("of these accepted")),
        "age": Entry("age", **_saturating(ROUNDS, f"{step}s since the request began", f"{step}s")),
        "hits": Entry("hits", **_saturating(TOKENS, "tokens accepted since then", "tokens")),
        "misses": Entry(
            "misses", **_saturating(ROUNDS, f"{step}s since then in which a token was refused", f"{step}s")
        ),
    }


def _saturating(scale: float, meaning: str, unit: str) -> dict[str, Any]:
    """x / (x + scale), for whole numbers x ≥ 0 without a largest one; exact up to 500 times ``scale``."""
    return {
        "words": Words(f"x / (x + {scale:g})", f"x = {meaning}", unit),
        "bounds": lambda codec: (0.0, 1.0),
        "encode": lambda codec, x: x / (x + scale),
        "decode": lambda codec, x: np.rint(scale * x / (1.0 - x)).astype(np.int64),
    }


def _tokens(meaning: str) -> dict[str, Any]:
    """Tokens of one draft over L_max."""
    return {
        "words": Words("x / L_max", f"x = {meaning}", "tokens"),
        "bounds": lambda codec: (0.0, 1.0),
        "encode": lambda codec, x: x / codec.scenario.max_draft_length,
        "decode": lambda codec, x: np.rint(x * codec.scenario.max_draft_length).astype(np.int64),
    }


def in_order(entries: Observation) -> Observation:
    """An observation in the order of its space, which Gymnasium sorts by name."""
    return dict(sorted(entries.items()))


@dataclass(frozen=True)
class Scales:
    """Scales of a scenario; r̄ is the spectral efficiency at the middle of the mean gains.

    Parameters
    ----------
    scenario
        The system.
    """

    scenario: Scenario

    @property
    def num_tasks(self) -> int:
        """Tasks of the scenario."""
        return len(self.scenario.tasks)

    @property
    def spread(self) -> float:
        """Largest |T_k / T̄ − 1|."""
        return self.scenario.draft_time_spread + ROUNDING

    @cached_property
    def reference_efficiency(self) -> float:
        """r̄ in bit/s/Hz."""
        middle = 0.5 * (self.scenario.mean_gain_low + self.scenario.mean_gain_high)
        return float(spectral_efficiency(self.scenario, np.array(middle)))

    @property
    def best_channel(self) -> float:
        """Largest r_k / r̄."""
        best_gain = np.array(self.scenario.mean_gain_high * LARGEST_FADE)
        return float(spectral_efficiency(self.scenario, best_gain)) / self.reference_efficiency * (1.0 + ROUNDING)


class Documented(Protocol):
    """What a page needs of a codec."""

    @property
    def space(self) -> spaces.Dict:
        """Bounds of the entries."""
        ...

    @property
    def words(self) -> Mapping[str, Words]:
        """What each entry is, in the order of the table."""
        ...
