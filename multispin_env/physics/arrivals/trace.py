"""Requests as they were recorded."""

from dataclasses import dataclass, field
from os import PathLike
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_integer
from multispin_env.physics.arrivals.base import Arrivals, Arriving, Source
from multispin_env.physics.arrivals.gaps import WithLengths
from multispin_env.physics.lengths.base import Lengths
from multispin_env.physics.traces import RequestTrace, load_trace


@dataclass(frozen=True)
class TraceArrivals(Arrivals):
    """Recorded requests, each at exactly one device, drawn by the shares of the devices (ours).

    All times are stretched by one factor, so that the rate is that of the workload; without a rate there, the trace
    keeps its own pace. It goes round: a mean gap after its last request comes the first again. If the workload has no
    lengths, requests have their own.

    Parameters
    ----------
    trace
        As for `load_trace`; kept as a `RequestTrace`. Default ``"azure-chat"``.
    start
        Number of the request, from 0, that comes at time 0: with 0 the file is replayed from its beginning.
        ``None``, the default: an episode begins at a time of the record that is drawn uniformly.
    """

    closed: ClassVar[bool] = False

    trace: str | PathLike[str] | RequestTrace = "azure-chat"
    start: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "trace", load_trace(self.trace))
        self.record.period  # noqa: B018 -- refuses a record without a rate
        if self.start is not None:
            check_integer("start", self.start, 0, len(self.record.output) - 1)

    @property
    def record(self) -> RequestTrace:
        """The requests."""
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
        replay = _Replay(devices, self.record, rate, *self._begin(devices))
        return replay if lengths is None else WithLengths(replay.gaps, lengths, sizes, len(rate))

    def _begin(self, rng: np.random.Generator) -> tuple[int, float]:
        """The first request of an episode, and the time of the record when that begins, in s."""
        if self.start is not None:
            return self.start, float(self.record.arrived_at[self.start])
        begin = rng.random() * self.record.period
        return int(np.searchsorted(self.record.arrived_at, begin)), begin


@dataclass
class _Replay:
    """Reads on in the trace until every device has its requests; what others got meanwhile waits."""

    rng: np.random.Generator
    trace: RequestTrace
    rate: FloatArray  # (K,)
    next: int  # number of the next request to read, on and on where the trace goes round
    begin: float  # s
    request: IntArray = field(default_factory=lambda: np.empty(0, np.int64))  # read, and not given yet
    device: IntArray = field(default_factory=lambda: np.empty(0, np.int64))  # their devices
    last: FloatArray = field(init=False)  # time of the last request of each device, in s

    def __post_init__(self) -> None:
        self.last = np.zeros(len(self.rate))

    def __call__(self, rows: int) -> Arriving:
        gap, place = self._give(rows)
        return Arriving(gap, self.trace.prompt[place], self.trace.output[place])

    def gaps(self, rows: int) -> FloatArray:
        return self._give(rows)[0]

    def _give(self, rows: int) -> tuple[FloatArray, IntArray]:
        """Gaps of the next requests (rows, K), and their places in the trace."""
        count = self._read(rows)
        order = np.argsort(self.device, kind="stable")
        given = order[np.cumsum(count) - count + np.arange(rows)[:, None]]
        request = self.request[given]
        left = np.ones(len(self.request), bool)
        left[given] = False
        self.request, self.device = self.request[left], self.device[left]
        whole, place = np.divmod(request, len(self.trace.output))
        times = np.concatenate([self.last[None], self._times(whole, place)])
        self.last = times[-1]
        return np.diff(times, axis=0), place

    def _read(self, rows: int) -> IntArray:
        """Read until every device has so many requests; how many each has, (K,)."""
        users = len(self.rate)
        bounds = np.cumsum(self.rate)
        while True:
            count = np.bincount(self.device, minlength=users)
            short = float((np.maximum(rows - count, 0) / self.rate).max()) * bounds[-1]  # read in the mean until then
            if short == 0.0:
                return count
            more = min(int(1.5 * short) + users, 1_000_000)
            device = np.searchsorted(bounds[:-1], self.rng.random(more) * bounds[-1], side="right")
            self.device = np.concatenate([self.device, device])
            self.request = np.concatenate([self.request, np.arange(self.next, self.next + more)])
            self.next += more

    def _times(self, whole: IntArray, place: IntArray) -> FloatArray:
        """Times on the clock of the episode in s; whole microseconds where nothing is stretched."""
        recorded = whole * self.trace.period + (self.trace.arrived_at[place] - self.begin)
        return recorded * (self.trace.rate / self.rate.sum())
