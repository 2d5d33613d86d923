"""First-come, first-served queues of requests, one for each device (not in the paper; docs/evidence/serving.md)."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.arrivals import Source
from multispin_env.physics.continuous.types import Demand
from multispin_env.physics.workload import Workload

_ROWS = 16  # Requests first drawn ahead for a device; doubled when an environment needs more
MOST_REQUESTS = 2**26  # Requests of all devices and environments held in memory, 2 GB


@dataclass(frozen=True, eq=False)
class _QueueHeads:
    """First request of each device's queue, or the next to arrive; flat arrays (n K,)."""

    output: IntArray
    prompt: IntArray  # 0 after the first verification
    wanted: IntArray
    arrived: FloatArray  # time of arrival
    first_due: FloatArray
    due: FloatArray
    first_at: FloatArray  # times of the first and the latest token, 0 before the first
    last_at: FloatArray
    read_until: FloatArray  # time when the device has read the prompt, and the tokens that came meanwhile


class Queues:
    """Queues of n environments with K devices each, for the requests of a workload.

    A queue is a table of requests in order of arrival, with the number of requests that have ended and that have
    arrived. The next request to end is the head of the queue; it is served from its arrival on.
    """

    def __init__(self, workload: Workload, num_envs: int, num_users: int) -> None:
        self.workload = workload
        self._shape = num_envs, num_users
        cells = num_envs * num_users
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._sources: list[Source | None] = [None] * num_envs
        self._gap, self._time = (np.zeros((cells, _ROWS)) for _ in range(2))  # gaps, and times of open arrivals
        self._prompt, self._output = (np.zeros((cells, _ROWS), dtype=np.int64) for _ in range(2))
        self._ended, self._arrived = (np.zeros(cells, dtype=np.int64) for _ in range(2))
        self._next_at = np.zeros(cells)  # time of the next arrival
        output, prompt, wanted = (np.zeros(cells, dtype=np.int64) for _ in range(3))
        self.heads = _QueueHeads(output, prompt, wanted, *(np.zeros(cells) for _ in range(6)))
        self._token_time = np.zeros(cells)  # s in which a device reads a token

    def seed(self, env: int, generator: np.random.Generator) -> None:
        """Set the generator of one environment."""
        self._generators[env] = generator

    def reset(self, envs: IntArray, token_time: FloatArray) -> None:
        """Draw the requests of new episodes in these environments; devices (n, K) read a token in ``token_time`` s."""
        users = self._shape[1]
        self._token_time = np.broadcast_to(token_time, self._shape).reshape(-1)
        for env in envs.tolist():
            generator = self._generators[env]
            if generator is None:
                raise RuntimeError(f"environment {env}: expected a seed before the first step; call reset first")
            self._sources[env] = self.workload.open(generator.spawn(1)[0], users)
            self._fill(env, 0, self._gap.shape[1])
        cells = (envs[:, None] * users + np.arange(users)).reshape(-1)
        self._ended[cells] = 0
        self._arrived[cells] = 0
        self._next_at[cells] = self._time[cells, 0]
        self._load(cells, self._next_at[cells], 0.0)

    def _fill(self, env: int, first: int, stop: int) -> None:
        source, users = self._sources[env], self._shape[1]
        assert source is not None  # opened at reset
        gap, prompt, output = (np.asarray(array).T for array in source(stop - first))
        cells, rows = slice(env * users, (env + 1) * users), slice(first, stop)
        self._gap[cells, rows], self._prompt[cells, rows], self._output[cells, rows] = gap, prompt, output
        before = self._time[cells, first - 1 : first] if first else np.zeros((users, 1))
        self._time[cells, rows] = np.add.accumulate(np.concatenate([before, gap], -1), -1)[:, 1:]

    def _grow(self) -> None:
        rows = self._gap.shape[1]
        if 2 * self._gap.size > MOST_REQUESTS:
            raise ValueError(
                f"requests: expected at most {MOST_REQUESTS:,} of all devices and environments, got more; reduce the "
                "rate or the simulated time, or let batches wait for less time"
            )
        for name in ("_gap", "_time", "_prompt", "_output"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros_like(array)], -1))
        for env, source in enumerate(self._sources):
            if source is not None:
                self._fill(env, rows, 2 * rows)

    def _load(self, cells: IntArray, arrived: FloatArray, now: FloatArray | float) -> None:
        level, heads, position = self.workload.level, self.heads, self._ended[cells]
        output = self._output[cells, position]
        heads.output[cells], heads.wanted[cells] = output, output
        heads.prompt[cells] = self._prompt[cells, position]
        heads.arrived[cells] = arrived
        heads.first_due[cells] = level.first_due(arrived)
        heads.due[cells] = level.due(arrived, output)
        heads.first_at[cells], heads.last_at[cells] = 0.0, 0.0
        heads.read_until[cells] = np.maximum(arrived, now) + heads.prompt[cells] * self._token_time[cells]

    def save(self) -> Callable[[], None]:
        """Save the state of the queues; the returned function restores it but keeps requests drawn meanwhile."""
        arrays = {name: getattr(self, name).copy() for name in ("_ended", "_arrived", "_next_at")}
        heads = _QueueHeads(*(getattr(self.heads, field.name).copy() for field in fields(_QueueHeads)))

        def restore() -> None:
            self.heads = heads
            for name, array in arrays.items():
                setattr(self, name, array)

        return restore

    @property
    def idle(self) -> BoolArray:
        """Devices (n, K) without a request."""
        return (self._arrived == self._ended).reshape(self._shape)

    def head(self, name: str) -> Any:
        """Return a field of `heads`, (n, K)."""
        return getattr(self.heads, name).reshape(self._shape)

    def read(self, gained: FloatArray, now: FloatArray) -> None:
        """Let devices that still read at ``now`` (n,) s read the tokens ``gained`` (n, K), too."""
        reading = np.flatnonzero(self.heads.read_until > now.repeat(self._shape[1]))
        self.heads.read_until[reading] += gained.take(reading) * self._token_time[reading]

    def reading_left(self, now: FloatArray) -> FloatArray:
        """Return the seconds (n, K) that devices read after ``now`` (n,) s, or after the arrival of a later request."""
        return np.maximum(self.head("read_until") - np.maximum(self.head("arrived"), now[:, None]), 0.0)

    @property
    def context(self) -> IntArray:
        """Context tokens (n, K) of the first requests: the prompt and the delivered part of the answer."""
        prompt = self._prompt[np.arange(len(self._ended)), self._ended]
        return (prompt + self.heads.output - self.heads.wanted).reshape(self._shape)

    def arrive(self, now: FloatArray) -> IntArray:
        """Admit the arrivals until ``now`` (n,) s; return their number (n, K)."""
        until = np.repeat(now, self._shape[1])
        count = np.zeros(len(until), dtype=np.int64)
        due = np.flatnonzero(self._next_at <= until)
        while due.size:
            count[due] += 1
            self._arrived[due] += 1
            self._next_at[due] = np.inf if self.workload.closed else self._time[due, self._arrived[due]]
            due = due[self._next_at[due] <= until[due]]
        return count.reshape(self._shape)

    def reach(self, now: FloatArray) -> None:
        """Draw all requests that can be needed until ``now`` (n,) s and by a drop then; ``ValueError`` for too many."""
        # two requests of a device may end: one in the step, and one by a drop after it
        until = np.repeat(now, self._shape[1])
        while (self._ended + 2 >= self._gap.shape[1] if self.workload.closed else self._time[:, -1] <= until).any():
            self._grow()

    def end(self, ended: BoolArray, now: FloatArray) -> IntArray:
        """End the first requests of these queues (n, K) at ``now`` (n,) s; return the arrivals at that time (n, K)."""
        cells = np.flatnonzero(ended)
        if cells.size:
            self._ended[cells] += 1
            clock, next_at = now.repeat(self._shape[1]).take(cells), self._time[cells, self._ended[cells]]
            if self.workload.closed:
                next_at = clock + self._gap[cells, self._ended[cells]]
                self._next_at[cells] = next_at
            self._load(cells, next_at, clock)
        return self.arrive(now)

    def deliver(self, tokens: FloatArray, verified: BoolArray, now: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Deliver tokens (n, K) to the devices ``verified`` (n, K) at ``now`` (n,) s.

        Returns the tokens, cut at the ends of answers, and the times in s since the previous tokens of the same
        requests, 0 for first tokens, (n, K).
        """
        gained = np.minimum(tokens, self.head("wanted")) * verified
        last = self.head("last_at")
        gap = np.where(verified & (last > 0.0), now[:, None] - last, 0.0)
        cells = np.flatnonzero(verified)
        heads, clock = self.heads, now.repeat(self._shape[1])
        new = cells[heads.first_at[cells] == 0.0]
        heads.first_at[new] = clock[new]
        heads.due[new] = self.workload.level.due(heads.arrived[new], heads.output[new], clock[new])
        heads.first_due[new] = np.inf
        heads.last_at[cells] = clock[cells]
        heads.wanted[cells] -= gained.take(cells).astype(np.int64)
        heads.prompt[cells] = 0
        return gained, gap

    def times(
        self, finished: BoolArray, now: FloatArray
    ) -> tuple[BoolArray, IntArray, FloatArray, FloatArray, FloatArray]:
        """Return in-time mask, tokens, TTFT, TPOT, E2EL (n, K) of requests ``finished`` at ``now`` (n,) s; else 0."""
        output, arrived, first = (self.head(name) for name in ("output", "arrived", "first_at"))
        clock = now[:, None]
        ttft, e2el = first - arrived, clock - arrived
        tpot = np.where(output > 1, (clock - first) / np.maximum(output - 1, 1), 0.0)
        in_time = finished & self.workload.level.met(ttft, tpot, e2el, output)
        ttft, tpot, e2el = (np.where(finished, time, 0.0) for time in (ttft, tpot, e2el))
        return in_time, output * finished, ttft, tpot, e2el

    def demand(self, drafted: IntArray, accepted: IntArray) -> Demand:
        """Return the demand (n, K), with these counts of the last verification."""
        idle = self.idle
        wanted, output, prompt = (self.head(name) * ~idle for name in ("wanted", "output", "prompt"))
        arrived = np.where(idle, 0.0, self.head("arrived"))
        first_due, due = (np.where(idle, np.inf, self.head(name)) for name in ("first_due", "due"))
        waiting = np.maximum(self._arrived - self._ended - 1, 0).reshape(self._shape)
        return Demand(wanted, output, prompt, arrived, first_due, due, waiting, drafted, accepted)

    def overdue(self, now: FloatArray, envs: IntArray | None = None) -> IntArray:
        """Count unfinished requests (m, K) overdue at ``now`` (m,) s in these environments (m,), default all."""
        users, level = self._shape[1], self.workload.level
        envs = np.arange(self._shape[0]) if envs is None else envs
        cells = (envs[:, None] * users + np.arange(users)).reshape(-1)
        ended, arrived, until = self._ended[cells], self._arrived[cells], np.repeat(now, users)
        rows = np.arange(arrived.max(initial=0))
        waiting = (rows > ended[:, None]) & (rows < arrived[:, None])
        time, output = self._time[cells, : len(rows)], self._output[cells, : len(rows)]
        late = np.minimum(level.first_due(time), level.due(time, output)) < until[:, None]
        first = np.minimum(self.heads.first_due[cells], self.heads.due[cells])
        count = (late & waiting).sum(-1) + ((arrived > ended) & (first < until))
        return count.reshape(-1, users)
