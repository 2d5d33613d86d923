"""Requests of an episode: as a workload has them until it is over, and few after it.

A decision may be so bad that a verification ends long after the episode should, say with next to no share of the
uplink. Requests would come all that time, and each takes memory.
"""

from dataclasses import dataclass, field

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.workload import Arriving, ServiceLevel, Source, Workload

MOST_DOUBLINGS = 500
"""Of a gap, so that it stays finite."""


@dataclass(frozen=True)
class Ebbing:
    """A workload in which, after a time, each gap of a device is doubled once more than the one before.

    So requests still come, and a batch that waits for one starts; but in a time T there are about log2(T) of them.

    Parameters
    ----------
    workload
        Until then.
    after
        Seconds.
    """

    workload: Workload
    after: float

    @property
    def level(self) -> ServiceLevel:
        """Limits of the requests."""
        return self.workload.level

    @property
    def closed(self) -> bool:
        """Whether the next request of a device waits for the end of its last: then there are never many."""
        return self.workload.closed

    def open(self, rng: np.random.Generator, num_users: int) -> Source:
        """The requests of one episode."""
        source = self.workload.open(rng, num_users)
        return source if self.closed else _Source(source, self.after, np.zeros(num_users))


@dataclass
class _Source:
    source: Source
    after: float
    last: FloatArray  # (K,) s, when the last request came, if no gap were doubled
    doubled: IntArray = field(init=False)  # (K,) requests since then

    def __post_init__(self) -> None:
        self.doubled = np.zeros(len(self.last), dtype=np.int64)

    def __call__(self, rows: int) -> Arriving:
        """The next rows."""
        gap, prompt, output = self.source(rows)
        times = np.add.accumulate(np.concatenate([self.last[None], gap]), 0)
        doubled = np.add.accumulate(np.concatenate([self.doubled[None], times[1:] > self.after]), 0)
        self.last, self.doubled = times[-1], doubled[-1]
        return Arriving(np.ldexp(gap, np.minimum(doubled[:-1], MOST_DOUBLINGS)), prompt, output)
