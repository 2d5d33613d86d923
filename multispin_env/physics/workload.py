"""Requests that arrive at devices, how long they are, and when their tokens are due (ours; docs/serving.md)."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np

import multispin_env.registry as tables
from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_real


@dataclass(frozen=True, kw_only=True)
class ServiceLevel:
    """Limits that a request is within or not, in the words of vLLM and DistServe; infinite means no limit.

    TTFT, the time to first token, counts from the arrival at the device. TPOT is the time per token after the first,
    (E2EL − TTFT) / (n − 1) of n tokens, 0 where n = 1. E2EL, the end-to-end latency, is the time to the last token.

    Parameters
    ----------
    ttft, tpot, e2el
        Limits in seconds, > 0.
    e2el_per_token
        Seconds ≥ 0 that each token of the answer adds to the limit of E2EL.

    Examples
    --------
    >>> from multispin_env.physics.workload import ServiceLevel
    >>> level = ServiceLevel(e2el=0.5, e2el_per_token=0.08)
    >>> level.due(10.0, 100)
    np.float64(18.5)
    """

    ttft: float = np.inf
    tpot: float = np.inf
    e2el: float = np.inf
    e2el_per_token: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value != np.inf or field.name == "e2el_per_token":
                check_real(field.name, value, 0.0, open_low=field.name != "e2el_per_token")

    def first_due(self, arrived: FloatArray | float) -> FloatArray:
        """When the first token of requests (...) is due, in s on the clock of the arrivals."""
        return np.asarray(arrived + self.ttft)[()]

    def due(self, arrived: FloatArray | float, output: IntArray | int) -> FloatArray:
        """When the last of ``output`` tokens is due, if the first comes when it is due, (...) s."""
        return self._last(self.first_due(arrived), arrived, output)

    def due_after_first(self, first: FloatArray, arrived: FloatArray, output: IntArray) -> FloatArray:
        """When the last token is due, (...) s, if the first came at ``first``; if that was late, when it was due."""
        late = first > self.first_due(arrived)
        return np.where(late, self.first_due(arrived), self._last(first, arrived, output))

    def met(self, ttft: FloatArray, tpot: FloatArray, e2el: FloatArray, output: IntArray) -> BoolArray:
        """Whether requests (...) with these times were within all limits."""
        limit = self.e2el + self.e2el_per_token * output
        within: BoolArray = (ttft <= self.ttft) & (tpot <= self.tpot) & (e2el <= limit)
        return within

    def _last(self, first: FloatArray, arrived: FloatArray | float, output: IntArray | int) -> FloatArray:
        after = np.maximum(np.subtract(output, 1), 0)
        paced = first + (self.tpot * after if self.tpot < np.inf else np.where(after > 0, np.inf, 0.0))
        return np.minimum(paced, arrived + (self.e2el + self.e2el_per_token * np.asarray(output)))


class Arriving(NamedTuple):
    """The next requests of each device, arrays (rows, K)."""

    gap: FloatArray  # s since the device's request before arrived or, of closed arrivals, since it ended; ≥ 0
    prompt: IntArray  # tokens ≥ 0
    output: IntArray  # tokens ≥ 1


Source = Callable[[int], Arriving]
"""Gives the next rows of one episode; asking for a + b rows equals asking for a, then for b."""


class Arrivals(Protocol):
    """When requests arrive."""

    @property
    def closed(self) -> bool:
        """Whether the gap to the next request of a device starts when its last one ends (a person waits and asks)."""
        ...


ARRIVALS: tables.Registry[type[Arrivals]] = tables.ARRIVALS
"""The arrival processes."""
