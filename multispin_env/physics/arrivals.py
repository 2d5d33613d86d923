"""Arrival processes of requests."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_fields, check_integer, check_real, checked_field
from multispin_env.physics.lengths import Lengths
from multispin_env.physics.traces import RequestTrace, load_trace
from multispin_env.registry import ARRIVALS, make_part


class Arriving(NamedTuple):
    """Next requests of each device, arrays (rows, K)."""

    gap: FloatArray  # s ≥ 0 since the arrival of the device's previous request or, in a closed loop, since its end
    prompt: IntArray  # tokens ≥ 0
    output: IntArray  # tokens ≥ 1


Source = Callable[[int], Arriving]
"""Function that returns the next rows of one episode; m + n rows equal m rows followed by n rows."""


@runtime_checkable
class Arrivals(Protocol):
    """Interface of arrival processes, which must be hashable; `GapArrivals` is a base class for those given by gaps."""

    @property
    def closed(self) -> bool:
        """Whether the gap to the next request of a device starts when the last request ends (closed loop)."""

    @property
    def own_rate(self) -> float | None:
        """Default requests/s of all devices together; None if a rate must be given."""

    @property
    def own_output(self) -> float | None:
        """Mean tokens of an answer if the process defines lengths; None otherwise."""

    def open(self, rng: np.random.Generator, rate: FloatArray, lengths: Lengths | None) -> Source:
        """Return the source of one episode for devices with these mean requests/s (K,).

        If ``lengths`` is ``None``, the process defines them. The source reads ``rng``, or children of it, on demand.
        """


def make_arrivals(name: str, **options: Any) -> Arrivals:
    """Make an arrival process from its name.

    ``ValueError`` or ``TypeError`` for an unknown name or option (the nearest is suggested), or a bad value.

    Parameters
    ----------
    name
        One of ``ARRIVALS.names()``: ``"poisson"``, ``"gamma"``, ``"think"``, ``"ramp"`` or ``"trace"``.
    **options
        Fields of the class, e.g. ``burstiness=0.25`` for ``"gamma"``.

    Examples
    --------
    >>> import multispin_env as ms
    >>> ms.requests.make_arrivals("gamma", burstiness=0.25).closed, ms.requests.make_arrivals("think").closed
    (False, True)
    """
    return make_part(ARRIVALS, name, options)


_GapSource = Callable[[int], FloatArray]
"""Function that returns the next gaps (rows, K) in s; m + n rows equal m rows followed by n rows."""


@dataclass(frozen=True)
class GapArrivals(Arrivals):
    """Base class of arrival processes that are defined by their gaps; derived classes implement `gaps`."""

    closed: ClassVar[bool] = False
    own_rate: ClassVar[float | None] = None
    own_output: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        check_fields(self)

    @abstractmethod
    def gaps(self, rng: np.random.Generator, rate: FloatArray) -> _GapSource:
        """Return the gaps of one episode, a copyable object, for devices with these requests/s (K,)."""

    @override
    def open(self, rng: np.random.Generator, rate: FloatArray, lengths: Lengths | None) -> Source:
        assert lengths is not None  # as `own_output` is None
        times, sizes = rng.spawn(2)
        return _WithLengths(self.gaps(times, rate), lengths, sizes, len(rate))


@dataclass
class _WithLengths:
    gaps: _GapSource
    lengths: Lengths
    rng: np.random.Generator
    num_users: int

    def __call__(self, rows: int) -> Arriving:
        return Arriving(self.gaps(rows), *self.lengths.draw(self.rng, rows, self.num_users))


@dataclass(frozen=True)
class Gamma(GapArrivals):
    """Gamma-distributed gaps, as in the benchmark of vLLM.

    The shape sets the variation of the gaps, std / mean = 1 / sqrt(shape), and leaves the mean unchanged. The process
    is stationary from time 0 on: the first gap is the remainder of a gap around a random time, so that the expected
    number of requests until t is rate · t for every t.

    Parameters
    ----------
    burstiness
        Shape of the law, ≥ 0.001, called burstiness in vLLM: 1 is `Poisson`, lower is burstier; default 0.25.
    """

    burstiness: float = checked_field(0.25, check_real, 1e-3, 1e6)  # below 1e-3, nearly all gaps are 0 in float64

    @override
    def gaps(self, rng: np.random.Generator, rate: FloatArray) -> _GapSource:
        # the gap around a fixed time has the size-biased law, and the time is uniform within the gap
        users = len(rate)
        first = rng.random((1, users)) * rng.standard_gamma(self.burstiness + 1.0, (1, users))
        return _GammaGaps(rng, rate, self.burstiness, first)


@dataclass
class _GammaGaps:
    rng: np.random.Generator
    rate: FloatArray
    shape: float
    first: FloatArray  # (1, K), later (0, K)

    def __call__(self, rows: int) -> FloatArray:
        first, self.first = self.first[:rows], self.first[rows:]
        drawn = self.rng.standard_gamma(self.shape, (rows - len(first), len(self.rate)))
        return np.concatenate([first, drawn]) / (self.shape * self.rate)


@dataclass(frozen=True)
class Poisson(GapArrivals):
    """Poisson arrivals: independent requests with exponential gaps."""

    @override
    def gaps(self, rng: np.random.Generator, rate: FloatArray) -> _GapSource:
        return partial(_exponential, rng, rate)


def _exponential(rng: np.random.Generator, rate: FloatArray, rows: int) -> FloatArray:
    return rng.standard_exponential((rows, len(rate))) / rate


@dataclass(frozen=True)
class Ramp(GapArrivals):
    """Poisson arrivals with a rate that rises and falls linearly in every period.

    The rate of a device is rate · m(t); m rises from ``low`` / c to ``high`` / c in half a period and falls back in the
    other half. With c = (``low`` + ``high``) / 2 the mean of m is 1, so that the mean rate is that of the workload.
    The law is exact: the inverse of M(t) = ∫ m maps the times of a Poisson process with constant rate.

    Parameters
    ----------
    low, high
        Lowest and highest rate, relative to their mean: 0 ≤ low ≤ high, high > 0; default 0.5 and 1.5.
    period
        Duration of a rise and a fall together, in seconds; default 60.
    phase
        Start of an episode within a period, in [0, 1): 0, the default, starts at ``low``, 0.5 at ``high``. ``None``:
        drawn uniformly for each episode.
    """

    low: float = checked_field(0.5, check_real, 0.0, 1e6)
    high: float = checked_field(1.5, check_real, lambda ramp: max(ramp.low, 1e-6), 1e6)
    period: float = checked_field(60.0, check_real, 1e-3, 1e9)
    phase: float | None = checked_field(0.0, check_real, 0.0, 1.0, open_high=True, optional=True)

    @override
    def gaps(self, rng: np.random.Generator, rate: FloatArray) -> _GapSource:
        phase = rng.random() if self.phase is None else self.phase
        begin = np.full(len(rate), phase * self.period)
        return _RampGaps(rng, rate, self, self.integrated(begin), begin)

    def integrated(self, time: FloatArray) -> FloatArray:
        """Return M(t) in s: at a rate of 1/s, the expected requests until t (...) s after the start of a period."""
        whole, inside = np.divmod(time, self.period)
        half = self.period / 2.0
        short, (start, slope) = np.minimum(inside, self.period - inside), self._start_and_slope
        up = start * short + slope * short**2 / 2.0
        return whole * self.period + np.where(inside <= half, up, self.period - up)

    def inverse(self, area: FloatArray) -> FloatArray:
        """Return the time t (...) with M(t) = ``area``."""
        whole, inside = np.divmod(area, self.period)
        below = np.minimum(inside, self.period - inside)
        start, slope = self._start_and_slope
        # root of start · t + slope · t² / 2 = below, in a form without cancellation
        root = start + np.sqrt(start**2 + 2.0 * slope * below)
        up = 2.0 * below / np.where(root > 0.0, root, 1.0)
        return whole * self.period + np.where(inside <= self.period / 2.0, up, self.period - up)

    @property
    def _start_and_slope(self) -> tuple[float, float]:
        centre = (self.low + self.high) / 2.0
        return self.low / centre, (self.high - self.low) / centre / (self.period / 2.0)


@dataclass
class _RampGaps:
    rng: np.random.Generator
    rate: FloatArray
    ramp: Ramp
    used: FloatArray  # M at the last request of each device
    last: FloatArray  # time of that request, in s from the start of a period

    def __call__(self, rows: int) -> FloatArray:
        steps = self.rng.standard_exponential((rows, len(self.rate))) / self.rate
        used = np.cumsum(np.concatenate([self.used[None], steps]), axis=0)
        times = np.concatenate([self.last[None], self.ramp.inverse(used[1:])])
        self.used, self.last = used[-1], times[-1]
        return np.maximum(np.diff(times, axis=0), 0.0)  # rounding may give negative gaps


@dataclass(frozen=True)
class Think(Poisson):
    """Closed loop: after each answer the user thinks for an exponentially distributed time, then sends a request.

    The mean think time is 1 / rate of the device. So ``rate`` is the rate for instant answers; slower answers reduce
    the arrivals, and queues do not grow.
    """

    closed: ClassVar[bool] = True


@dataclass(frozen=True)
class TraceArrivals(Arrivals):
    """Recorded requests, each assigned to a random device with probabilities given by the devices' shares.

    All times are scaled by one factor to match the rate of the workload; without a rate they are unchanged. The trace
    repeats, with a mean gap between the last request and the first. If the workload has no length law, the recorded
    lengths are used.

    Parameters
    ----------
    trace
        As for `load_trace`; kept as a `RequestTrace`. Default ``"azure-chat"``.
    start
        Index of the request that arrives at time 0; 0 replays the file from its beginning. ``None``, the default: an
        episode begins at a uniformly drawn time of the record.
    """

    closed: ClassVar[bool] = False

    trace: str | PathLike[str] | RequestTrace = "azure-chat"
    start: int | None = checked_field(None, check_integer, 0, lambda arrivals: len(arrivals.record.output) - 1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trace", load_trace(self.trace))
        self.record.period  # noqa: B018 -- raises for a record without a rate
        check_fields(self)

    @property
    def record(self) -> RequestTrace:
        """Recorded requests."""
        return load_trace(self.trace)

    @property
    @override
    def own_rate(self) -> float | None:
        return self.record.rate

    @property
    @override
    def own_output(self) -> float | None:
        return float(self.record.output.mean())

    @override
    def open(self, rng: np.random.Generator, rate: FloatArray, lengths: Lengths | None) -> Source:
        devices, sizes = rng.spawn(2)
        times = self.record.arrived_at
        begin = devices.random() * self.record.period if self.start is None else float(times[self.start])
        first = int(np.searchsorted(times, begin)) if self.start is None else self.start
        replay = _Replay(devices, self.record, rate, first, begin, np.zeros(len(rate)))
        return replay if lengths is None else _WithLengths(replay.gaps, lengths, sizes, len(rate))


@dataclass
class _Replay:
    rng: np.random.Generator
    trace: RequestTrace
    rate: FloatArray  # (K,)
    next: int  # index of the next request to read; continues to count when the trace repeats
    begin: float  # s
    last: FloatArray  # time of the last request of each device, in s
    request: IntArray = field(default_factory=lambda: np.empty(0, np.int64))  # read, not yet returned
    device: IntArray = field(default_factory=lambda: np.empty(0, np.int64))  # of these requests

    def __call__(self, rows: int) -> Arriving:
        gap, position = self._next_rows(rows)
        return Arriving(gap, self.trace.prompt[position], self.trace.output[position])

    def gaps(self, rows: int) -> FloatArray:
        return self._next_rows(rows)[0]

    def _next_rows(self, rows: int) -> tuple[FloatArray, IntArray]:
        count = self._read_ahead(rows)
        order = np.argsort(self.device, kind="stable")
        returned = order[np.cumsum(count) - count + np.arange(rows)[:, None]]
        request = self.request[returned]
        self.request, self.device = np.delete(self.request, returned), np.delete(self.device, returned)
        whole, position = np.divmod(request, len(self.trace.output))
        recorded = whole * self.trace.period + (self.trace.arrived_at[position] - self.begin)
        times = np.concatenate([self.last[None], recorded * (self.trace.rate / self.rate.sum())])
        self.last = times[-1]
        return np.diff(times, axis=0), position

    def _read_ahead(self, rows: int) -> IntArray:
        users = len(self.rate)
        bounds = np.cumsum(self.rate)
        while True:
            count = np.bincount(self.device, minlength=users)
            short = float((np.maximum(rows - count, 0) / self.rate).max()) * bounds[-1]  # expected reads
            if short == 0.0:
                return count
            more = min(int(1.5 * short) + users, 1_000_000)
            device = np.searchsorted(bounds[:-1], self.rng.random(more) * bounds[-1], side="right")
            self.device = np.concatenate([self.device, device])
            self.request = np.concatenate([self.request, np.arange(self.next, self.next + more)])
            self.next += more
