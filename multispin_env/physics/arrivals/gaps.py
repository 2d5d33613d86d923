"""Arrivals whose requests get their lengths elsewhere."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.physics.arrivals.base import Arrivals, Arriving, Source
from multispin_env.physics.lengths.base import Lengths

GapSource = Callable[[int], FloatArray]
"""Gives the next rows of gaps (rows, K) in s; asking for a + b rows equals asking for a, then for b."""


@dataclass(frozen=True)
class GapArrivals(Arrivals):
    """An arrival process that is gaps alone: derive, and write `gaps`."""

    closed: ClassVar[bool] = False
    own_rate: ClassVar[float | None] = None
    own_output: ClassVar[float | None] = None

    @abstractmethod
    def gaps(self, rng: np.random.Generator, rate: FloatArray) -> GapSource:
        """Gaps of one episode, as an object that can be copied, for devices with these requests/s (K,)."""

    @override
    def open(self, rng: np.random.Generator, rate: FloatArray, lengths: Lengths | None) -> Source:
        if lengths is None:
            raise ValueError("lengths: expected a law of lengths, as these arrivals have none of their own, got None")
        times, sizes = rng.spawn(2)
        return WithLengths(self.gaps(times, rate), lengths, sizes, len(rate))


@dataclass
class WithLengths:
    """A source of gaps, and of lengths that a law draws."""

    gaps: GapSource
    lengths: Lengths
    rng: np.random.Generator
    num_users: int

    def __call__(self, rows: int) -> Arriving:
        """The next rows."""
        return Arriving(self.gaps(rows), *self.lengths.draw(self.rng, rows, self.num_users))
