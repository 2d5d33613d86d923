"""Sums of what becomes of requests: in time, missed, latencies (ours; docs/evidence/serving.md)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray, Rows
from multispin_env.physics.continuous.types import ContinuousOutcome
from multispin_env.physics.types import Batched

QUANTILES = (0.5, 0.95, 0.99)  # Of latencies: p50, p95 and p99, along the last axis


@dataclass(frozen=True, slots=True, eq=False)
class Latencies(Batched):
    """Quantiles p50, p95 and p99 of latencies, along the last axis; 0 where nothing finished.

    Parameters
    ----------
    ttft, e2el
        Time to the first and to the last token of requests that finished, (..., 3) s.
    tpot
        Their time per token after the first, (..., 3) s/token.
    per_token
        Their time to the last token divided by the number of tokens, (..., 3) s/token.
    gap
        Time between a delivery of a request and the one before, (..., 3) s.
    """

    ttft: FloatArray
    tpot: FloatArray
    e2el: FloatArray
    per_token: FloatArray
    gap: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ServiceRun(Batched):
    """What became of requests, by copy (...) and device K.

    A request is in time if it finished within all limits, and missed if it finished late, was dropped, or was overdue
    at the end. One that had time left at the end is neither.

    Parameters
    ----------
    time
        Time that was counted, (...) s.
    tokens, timely_tokens
        Tokens delivered, and those of requests in time, which count when the request finishes, (..., K).
    arrivals, finished, in_time, dropped, missed
        Requests that arrived, that finished, that finished in time, that were dropped, and that were missed in any
        way, (..., K).
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
    latency: Latencies
    pooled: Latencies

    @property
    def tokens_in_time(self) -> FloatArray:
        """Tokens/s of requests that were in time, all devices together, (...)."""
        return _ratio(self.timely_tokens.sum(-1), self.time)

    @property
    def request_goodput(self) -> FloatArray:
        """Requests/s in time, all devices together, (...)."""
        return _ratio(self.in_time.sum(-1), self.time)

    @property
    def share_missed(self) -> FloatArray:
        """Requests missed, as a share of those in time or missed, (...); 0 where there are none."""
        missed = self.missed.sum(-1)
        return _ratio(missed, missed + self.in_time.sum(-1))

    @property
    def least_served(self) -> FloatArray:
        """Tokens/s in time of the device that has least, (...)."""
        return _ratio(self.timely_tokens.min(-1), self.time)


def _ratio(part: FloatArray | IntArray, whole: FloatArray | IntArray) -> FloatArray:
    return np.asarray(part / np.where(whole > 0, whole, 1))[()]


class ServiceLog:
    """Adds up what becomes of requests in n copies with K devices each.

    A step that begins at or after ``warm_up``, in s on the clock of the state's time, counts, as a whole; so does every
    request that ends in it.
    """

    def __init__(self, num_envs: int, num_users: int, warm_up: float = 0.0) -> None:
        self._warm_up = warm_up
        self._time = np.zeros(num_envs)
        self._tokens, self._timely_tokens = (np.zeros((num_envs, num_users)) for _ in range(2))
        self._counts = np.zeros((5, num_envs, num_users), dtype=np.int64)
        self._arrivals, self._finished, self._in_time, self._dropped, self._overdue = self._counts  # views
        self._requests, self._gaps = _CopyLists(4, num_envs), _CopyLists(1, num_envs)

    def reset(self, copies: IntArray | None = None) -> None:
        """Forget all of these copies (default all)."""
        chosen = np.arange(len(self._time)) if copies is None else copies
        self._time[chosen] = 0.0
        self._tokens[chosen], self._timely_tokens[chosen] = 0.0, 0.0
        self._counts[:, chosen] = 0
        self._requests.length[chosen], self._gaps.length[chosen] = 0, 0

    def add(self, outcome: ContinuousOutcome, begun: FloatArray, playing: BoolArray | None = None) -> None:
        """Take in a step that ``begun`` (n,) s on the state's clock; of the copies ``playing`` (n,), ``None``: all."""
        served = outcome.served
        counted = begun >= self._warm_up
        if playing is not None:
            counted = counted & playing
        own = counted[:, None]
        self._time += counted * outcome.duration
        self._tokens += own * outcome.tokens
        self._timely_tokens += (own & served.in_time) * served.output
        self._arrivals += own * served.arrivals
        self._finished += own & served.finished
        self._in_time += own & served.in_time
        self._dropped += own & served.dropped
        finished = served.finished & own
        if finished.any():
            per_token = served.e2el / np.maximum(served.output, 1)
            self._requests.append(finished, served.ttft, served.tpot, served.e2el, per_token)
        self._gaps.append((served.gap > 0.0) & own, served.gap)

    def close(self, copies: IntArray | BoolArray, overdue: IntArray) -> None:
        """Count requests ``overdue`` (n, K) at the end of an episode of these copies, by number or mask, as missed."""
        self._overdue[copies] += overdue[copies]

    def result(self, copies: IntArray | None = None) -> ServiceRun:
        """What became of the requests of these copies (default all), arrays (n, K) and (n,)."""
        chosen = np.arange(len(self._time)) if copies is None else copies
        requests, gaps = (lists.rows(chosen) for lists in (self._requests, self._gaps))
        latency = Latencies(*_quantiles(requests), *_quantiles(gaps))
        requests, gaps = (rows.reshape(len(rows), -1) for rows in (requests, gaps))  # of all copies together
        return self._run(chosen, latency, Latencies(*_quantiles(requests), *_quantiles(gaps)))

    def counts(self) -> ServiceRun:
        """As `result` of all copies, in less time, since all latencies are 0."""
        none = np.zeros((len(self._time), len(QUANTILES)))
        return self._run(slice(None), Latencies(*[none] * 5), Latencies(*[np.zeros(len(QUANTILES))] * 5))

    def _run(self, chosen: Rows, latency: Latencies, pooled: Latencies) -> ServiceRun:
        arrivals, finished, in_time, dropped, overdue = self._counts[:, chosen]
        sums = self._time[chosen], self._tokens[chosen], self._timely_tokens[chosen]
        missed = finished - in_time + dropped + overdue
        return ServiceRun(*sums, arrivals, finished, in_time, dropped, missed, latency, pooled)


class _CopyLists:
    def __init__(self, num_fields: int, num_envs: int) -> None:
        self._table = np.zeros((num_fields, num_envs, 64))
        self.length = np.zeros(num_envs, dtype=np.int64)

    def append(self, chosen: BoolArray, *fields: FloatArray) -> None:
        cells = np.flatnonzero(chosen)
        if not cells.size:
            return
        copies = cells // chosen.shape[1]
        more = np.bincount(copies, minlength=len(self.length))
        positions = np.arange(cells.size) - (np.add.accumulate(more) - more - self.length).take(copies)
        self.length += more
        while self.length.max() > self._table.shape[-1]:
            self._table = np.concatenate([self._table, np.zeros_like(self._table)], -1)
        for row, field in zip(self._table, fields, strict=True):
            row[copies, positions] = field.take(cells)

    def rows(self, copies: IntArray) -> FloatArray:
        """Numbers by field and copy, (fields, n, m), infinite behind the end of a list."""
        length = self.length[copies]
        most = int(length.max(initial=0))
        return np.where(np.arange(most) < length[:, None], self._table[:, copies, :most], np.inf)


def _quantiles(rows: FloatArray) -> FloatArray:
    """`QUANTILES` (fields, ..., q) of what is finite in rows (fields, ..., m), as NumPy has them; else 0."""
    count = np.isfinite(rows[0]).sum(-1)
    if not count.any():
        return np.zeros((*rows.shape[:-1], len(QUANTILES)))
    in_order = np.sort(rows, -1)
    in_order[np.isinf(in_order)] = 0.0
    position = np.multiply.outer(np.maximum(count - 1, 0), QUANTILES)
    low = np.floor(position).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(count - 1, 0)[..., None])
    below, above = (np.take_along_axis(in_order, each[None], -1) for each in (low, high))
    return np.asarray(below + (position - low) * (above - below))
