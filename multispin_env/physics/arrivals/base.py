"""Protocol of arrival processes."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.lengths.base import Lengths


class Arriving(NamedTuple):
    """The next requests of each device, arrays (rows, K)."""

    gap: FloatArray  # s since the device's request before arrived or, of closed arrivals, since it ended; ≥ 0
    prompt: IntArray  # tokens ≥ 0
    output: IntArray  # tokens ≥ 1


Source = Callable[[int], Arriving]
"""Gives the next rows of one episode; asking for a + b rows equals asking for a, then for b."""


@runtime_checkable
class Arrivals(Protocol):
    """When requests arrive; hashable. One that is gaps alone derives from `GapArrivals`."""

    @property
    def closed(self) -> bool:
        """Whether the gap to the next request of a device starts when its last one ends (a person waits and asks)."""

    @property
    def own_rate(self) -> float | None:
        """Requests/s of all devices at a pace of its own; None if it has none."""

    @property
    def own_output(self) -> float | None:
        """Mean tokens of an answer, if it knows the lengths of its requests; None if not."""

    def open(self, rng: np.random.Generator, rate: FloatArray, lengths: Lengths | None) -> Source:
        """Requests of one episode, for devices with these mean requests/s (K,); ``lengths`` ``None``: its own.

        The source reads ``rng``, or children spawned from it, as it is asked.
        """
