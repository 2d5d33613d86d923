"""Service statistics of requests: counts, tokens and latencies (not in the paper; docs/evidence/serving.md)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, Rows
from multispin_env.physics.continuous.types import ContinuousOutcome
from multispin_env.physics.types import Batched

QUANTILES = (0.5, 0.95, 0.99)  # Levels of the latency quantiles p50, p95 and p99


@dataclass(frozen=True, slots=True, eq=False)
class Latencies(Batched):
    """Quantiles p50, p95 and p99 of latencies, along the last axis; 0 where nothing was measured.

    Parameters
    ----------
    ttft, e2el
        Time to the first and to the last token of finished requests, (..., 3) s.
    tpot, per_token
        Time per token after the first, and time to the last token divided by the number of tokens, (..., 3) s/token.
    gap
        Time between successive deliveries of tokens of a request, (..., 3) s.
    """

    ttft: FloatArray
    tpot: FloatArray
    e2el: FloatArray
    per_token: FloatArray
    gap: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ServiceRun(Batched):
    """Service statistics of a simulation, by copy (...) and device K.

    A request is in time if it finished within all limits, and missed if it finished late, was dropped, or was overdue
    at the end. A request that is neither finished nor overdue at the end is not counted.

    Parameters
    ----------
    time
        Simulated time after the warm-up, (...) s.
    tokens, timely_tokens
        Tokens delivered, and tokens of requests in time, counted when the request finishes, (..., K).
    arrivals, finished, in_time, dropped, missed, drafted
        Numbers of requests that arrived, finished (in time), were dropped, missed a limit; tokens drafted, (..., K).
    latency, pooled
        `Latencies` of each copy (..., 3) and of all copies together (3,).
    """

    unbatched: ClassVar[tuple[str, ...]] = ("pooled",)

    time: FloatArray
    tokens: FloatArray
    timely_tokens: FloatArray
    arrivals: IntArray
    finished: IntArray
    in_time: IntArray
    dropped: IntArray
    missed: IntArray
    drafted: IntArray
    latency: Latencies
    pooled: Latencies

    @property
    def tokens_in_time(self) -> FloatArray:
        """Tokens/s of requests in time, all devices together, (...)."""
        return _ratio(self.timely_tokens.sum(-1), self.time)

    @property
    def request_goodput(self) -> FloatArray:
        """Requests/s that finish in time, all devices together, (...)."""
        return _ratio(self.in_time.sum(-1), self.time)

    @property
    def share_missed(self) -> FloatArray:
        """Missed requests as a share of all counted ones, in time or missed, (...); 0 without requests."""
        missed = self.missed.sum(-1)
        return _ratio(missed, missed + self.in_time.sum(-1))

    @property
    def least_served(self) -> FloatArray:
        """Tokens/s of requests in time, of the device with the lowest rate, (...)."""
        return _ratio(self.timely_tokens.min(-1), self.time)


def _ratio(part: FloatArray | IntArray, whole: FloatArray | IntArray) -> FloatArray:
    return np.asarray(part / np.where(whole > 0, whole, 1))[()]


class ServiceLog:
    """Accumulator of service statistics for n environments with K devices each.

    Steps that begin at ``warm_up`` (s of the state's time) or later count completely, with all requests that end in
    them.
    """

    def __init__(self, num_envs: int, num_users: int, warm_up: float = 0.0) -> None:
        self._warm_up = warm_up
        self._time = np.zeros(num_envs)
        self._tokens, self._timely_tokens = (np.zeros((num_envs, num_users)) for _ in range(2))
        # arrivals, finished, in time, dropped, overdue, drafted; attributes that are views would be apart in a copy
        self._counts = np.zeros((6, num_envs, num_users), dtype=np.int64)
        self._requests, self._gaps = _EnvLists(4, num_envs), _EnvLists(1, num_envs)

    def reset(self, envs: IntArray | None = None) -> None:
        """Clear the statistics of these environments (default all)."""
        rows: Rows = slice(None) if envs is None else envs
        self._time[rows] = 0.0
        self._tokens[rows], self._timely_tokens[rows] = 0.0, 0.0
        self._counts[:, rows] = 0
        self._requests.length[rows], self._gaps.length[rows] = 0, 0

    def add(self, outcome: ContinuousOutcome, begun: FloatArray, playing: BoolArray | None = None) -> None:
        """Add a step that began at ``begun`` (n,) s, for the environments ``playing`` (n,) (``None``: all)."""
        served = outcome.served
        counted = begun >= self._warm_up
        if playing is not None:
            counted = counted & playing
        devices = counted[:, None]
        self._time += counted * outcome.duration
        ended, timely = devices & served.finished, devices & served.in_time
        self._tokens += devices * outcome.tokens
        self._timely_tokens += timely * served.output
        arrivals, finished, in_time, dropped, _, drafted = self._counts
        arrivals += devices * served.arrivals
        finished += ended
        in_time += timely
        dropped += devices & served.dropped
        drafted += devices * outcome.draft_length
        if ended.any():
            per_token = served.e2el / np.maximum(served.output, 1)
            self._requests.append(ended, served.ttft, served.tpot, served.e2el, per_token)
        self._gaps.append((served.gap > 0.0) & devices, served.gap)

    def close(self, envs: IntArray | BoolArray, overdue: IntArray) -> None:
        """Count ``overdue`` requests (n, K) at the end of episodes as missed; ``envs`` are indices or a mask."""
        counted = self._counts[4]
        counted[envs] += overdue[envs]

    def result(self, envs: IntArray | None = None) -> ServiceRun:
        """Return the statistics of these environments (default all), arrays (n, K) and (n,)."""
        rows = np.arange(len(self._time)) if envs is None else envs  # a slice would give views
        requests, gaps = (lists.padded(rows) for lists in (self._requests, self._gaps))
        latency = Latencies(*_quantiles(requests), *_quantiles(gaps))
        requests, gaps = (table.reshape(len(table), -1) for table in (requests, gaps))  # of all environments together
        return self._run(rows, latency, Latencies(*_quantiles(requests), *_quantiles(gaps)))

    def counts(self) -> ServiceRun:
        """Return the statistics of all environments without latencies (zeros), in less time than `result`."""
        zeros = np.zeros((len(self._time), len(QUANTILES)))
        return self._run(slice(None), Latencies(*[zeros] * 5), Latencies(*[np.zeros(len(QUANTILES))] * 5))

    def _run(self, rows: Rows, latency: Latencies, pooled: Latencies) -> ServiceRun:
        arrivals, finished, in_time, dropped, overdue, drafted = self._counts[:, rows]
        sums = self._time[rows], self._tokens[rows], self._timely_tokens[rows]
        missed = finished - in_time + dropped + overdue
        return ServiceRun(*sums, arrivals, finished, in_time, dropped, missed, drafted, latency, pooled)


class _EnvLists:
    def __init__(self, num_fields: int, num_envs: int) -> None:
        self._table = np.zeros((num_fields, num_envs, 64))
        self.length = np.zeros(num_envs, dtype=np.int64)

    def append(self, mask: BoolArray, *fields: FloatArray) -> None:
        cells = np.flatnonzero(mask)
        if not cells.size:
            return
        envs = cells // mask.shape[1]
        more = np.bincount(envs, minlength=len(self.length))
        positions = np.arange(cells.size) - (np.add.accumulate(more) - more - self.length).take(envs)
        self.length += more
        while self.length.max() > self._table.shape[-1]:
            self._table = np.concatenate([self._table, np.zeros_like(self._table)], -1)
        for row, field in zip(self._table, fields, strict=True):
            row[envs, positions] = field.take(cells)

    def padded(self, rows: Rows) -> FloatArray:
        """Return the lists by field and environment, (fields, n, m), padded with infinity."""
        length = self.length[rows]
        longest = int(length.max(initial=0))
        return np.where(np.arange(longest) < length[:, None], self._table[:, rows, :longest], np.inf)


def _quantiles(rows: FloatArray) -> FloatArray:
    """Return `QUANTILES` (fields, ..., q) of the finite numbers in rows (fields, ..., m); 0 if there are none."""
    count = np.isfinite(rows[0]).sum(-1)
    if not count.any():
        return np.zeros((*rows.shape[:-1], len(QUANTILES)))
    in_order = np.sort(rows, -1)
    in_order[np.isinf(in_order)] = 0.0
    position = np.multiply.outer(np.maximum(count - 1, 0), QUANTILES)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(count - 1, 0)[..., None])
    below, above = (np.take_along_axis(in_order, index[None], -1) for index in (low, high))
    return np.asarray(below + (position - low) * (above - below))
