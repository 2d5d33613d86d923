"""How a device's channel changes from one of its cycles to the next (ours; docs/continuous.md).

A gain is drawn when a cycle starts and holds for the cycle, as that of the paper does for a round.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_name, check_real
from multispin_env.physics.channels.gauss_markov import GaussMarkov, gauss_markov_step
from multispin_env.physics.channels.rayleigh import RAYLEIGH


class CycleChannel(Protocol):
    """A law of gains by cycle; ``fresh`` are variables that `draw` gives for each cycle and device."""

    @property
    def changes(self) -> bool:
        """Whether gains ever change; if not, `next_gain` is not called."""
        ...

    def draw(self, rng: np.random.Generator, cycles: int) -> FloatArray:
        """Fresh randomness of one device, (cycles, m); drawing 1 + 1 cycles equals drawing 2."""
        ...

    def first_gain(self, mean_gain: FloatArray, fresh: FloatArray) -> FloatArray:
        """Gains H (...) of first cycles, from means H̄ (...) and fresh variables (..., m)."""
        ...

    def next_gain(self, gain: FloatArray, mean_gain: FloatArray, elapsed: FloatArray, fresh: FloatArray) -> FloatArray:
        """Gains of cycles that start ``elapsed`` seconds (...) after the last ones did."""
        ...


@dataclass(frozen=True)
class Independent:
    """Rayleigh fading, drawn anew for every cycle ([MS] §VI for a round)."""

    changes: ClassVar[bool] = True

    def draw(self, rng: np.random.Generator, cycles: int) -> FloatArray:
        """Standard exponential variables (cycles, 1)."""
        return RAYLEIGH.draw(rng, cycles, 1)

    def first_gain(self, mean_gain: FloatArray, fresh: FloatArray) -> FloatArray:
        """Scale fresh variables to the means."""
        return RAYLEIGH.first_gain(mean_gain, fresh[..., 0])

    def next_gain(self, gain: FloatArray, mean_gain: FloatArray, elapsed: FloatArray, fresh: FloatArray) -> FloatArray:
        """As `first_gain`."""
        return self.first_gain(mean_gain, fresh)


@dataclass(frozen=True)
class Static(Independent):
    """Rayleigh fading, drawn once; the gain then stays as it is."""

    changes: ClassVar[bool] = False


@dataclass(frozen=True)
class GaussMarkovInTime:
    """Gauss–Markov fading in elapsed time: ρ = exp(−Δt / τ) of the amplitudes of cycles that start Δt apart (ours).

    Parameters
    ----------
    coherence_time
        τ in seconds, > 0.
    """

    changes: ClassVar[bool] = True
    coherence_time: float = 0.5

    def __post_init__(self) -> None:
        check_real("coherence_time", self.coherence_time, 0.0, open_low=True)

    def draw(self, rng: np.random.Generator, cycles: int) -> FloatArray:
        """Standard normal variables (cycles, 2)."""
        return GaussMarkov().draw(rng, cycles, 1)[..., 0]

    def first_gain(self, mean_gain: FloatArray, fresh: FloatArray) -> FloatArray:
        """Exponential with means H̄."""
        return GaussMarkov().first_gain(mean_gain, np.moveaxis(fresh, -1, -2))

    def next_gain(self, gain: FloatArray, mean_gain: FloatArray, elapsed: FloatArray, fresh: FloatArray) -> FloatArray:
        """One step of the chain, with the correlation that the elapsed time leaves."""
        correlation = np.exp(-elapsed / self.coherence_time)
        return gauss_markov_step(gain, mean_gain, correlation, fresh[..., 0], fresh[..., 1])


CHANNEL_LAWS = ("independent", "gauss-markov", "static")
"""Laws of channels by cycle."""


def channel_law(name: str, coherence_time: float = GaussMarkovInTime.coherence_time) -> CycleChannel:
    """Return the law of a name; ``ValueError`` for an unknown one suggests the nearest."""
    check_name("channel_law", name, CHANNEL_LAWS)
    if name == "gauss-markov":
        return GaussMarkovInTime(coherence_time)
    return Independent() if name == "independent" else Static()
