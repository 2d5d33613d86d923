"""Queues of requests, one for each device, first come, first served (ours; docs/evidence/serving.md)."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.arrivals import Source
from multispin_env.physics.continuous.types import Demand
from multispin_env.physics.workload import Workload

_ROWS = 16  # Requests of a device that are drawn ahead at first; twice as many whenever a copy needs more
MOST_REQUESTS = 2**26  # Of all devices and copies that are kept, 2 GB


@dataclass(frozen=True, eq=False)
class _QueueHeads:
    """The first request in the queue of each device, whether it has arrived or not; flat arrays (n K,)."""

    output: IntArray
    prompt: IntArray  # 0 once it has been verified
    wanted: IntArray
    arrived: FloatArray  # when it arrives
    first_due: FloatArray
    due: FloatArray
    first_at: FloatArray  # when its first and its latest token came, 0 before
    last_at: FloatArray

    @classmethod
    def empty(cls, cells: int) -> "_QueueHeads":
        output, prompt, wanted = (np.zeros(cells, dtype=np.int64) for _ in range(3))
        return cls(output, prompt, wanted, *(np.zeros(cells) for _ in range(5)))


class Queues:
    """The queues of n copies with K devices each, of requests that a workload gives.

    A queue is a table of requests in the order in which they arrive, with two positions in it: how many have ended, and
    how many have arrived. The next to end is at the head, and is served as soon as it has arrived.
    """

    def __init__(self, workload: Workload, num_envs: int, num_users: int) -> None:
        self.workload = workload
        self._shape = num_envs, num_users
        cells = num_envs * num_users
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._sources: list[Source | None] = [None] * num_envs
        self._gap, self._time = (np.zeros((cells, _ROWS)) for _ in range(2))  # of closed arrivals, and of open ones
        self._prompt, self._output = (np.zeros((cells, _ROWS), dtype=np.int64) for _ in range(2))
        self._ended, self._came = (np.zeros(cells, dtype=np.int64) for _ in range(2))
        self._next_at = np.zeros(cells)  # when the first of those that have not arrived does
        self.heads = _QueueHeads.empty(cells)

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Give a copy its generator."""
        self._generators[copy] = generator

    def reset(self, copies: IntArray) -> None:
        """Draw the requests of new episodes."""
        users = self._shape[1]
        for copy in copies.tolist():
            generator = self._generators[copy]
            if generator is None:
                raise RuntimeError(f"copy {copy}: read before it was seeded; call reset first")
            self._sources[copy] = self.workload.open(generator.spawn(1)[0], users)
            self._fill(copy, 0, self._gap.shape[1])
        cells = (copies[:, None] * users + np.arange(users)).reshape(-1)
        self._ended[cells] = 0
        self._came[cells] = 0
        self._next_at[cells] = self._time[cells, 0]
        self._load(cells, self._next_at[cells])

    def _fill(self, copy: int, first: int, stop: int) -> None:
        source, users = self._sources[copy], self._shape[1]
        assert source is not None  # opened at reset
        gap, prompt, output = (np.asarray(array).T for array in source(stop - first))
        cells, rows = slice(copy * users, (copy + 1) * users), slice(first, stop)
        self._gap[cells, rows], self._prompt[cells, rows], self._output[cells, rows] = gap, prompt, output
        before = self._time[cells, first - 1 : first] if first else np.zeros((users, 1))
        self._time[cells, rows] = np.add.accumulate(np.concatenate([before, gap], -1), -1)[:, 1:]

    def _grow(self) -> None:
        rows = self._gap.shape[1]
        if 2 * self._gap.size > MOST_REQUESTS:
            raise ValueError(
                f"requests: expected at most {MOST_REQUESTS:,} of all devices and copies, got more: the time is too "
                "long for their rate, or a decision lets a batch wait for too long"
            )
        for name in ("_gap", "_time", "_prompt", "_output"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros_like(array)], -1))
        for copy, source in enumerate(self._sources):
            if source is not None:
                self._fill(copy, rows, 2 * rows)

    def _load(self, cells: IntArray, arrived: FloatArray) -> None:
        level, heads, position = self.workload.level, self.heads, self._ended[cells]
        output = self._output[cells, position]
        heads.output[cells], heads.wanted[cells] = output, output
        heads.prompt[cells] = self._prompt[cells, position]
        heads.arrived[cells] = arrived
        heads.first_due[cells] = level.first_due(arrived)
        heads.due[cells] = level.due(arrived, output)
        heads.first_at[cells], heads.last_at[cells] = 0.0, 0.0

    def kept(self) -> Callable[[], None]:
        """Remember how the queues are; what is returned puts them back, and keeps the rows that were drawn since."""
        own = {name: getattr(self, name).copy() for name in ("_ended", "_came", "_next_at")}
        heads = _QueueHeads(*(getattr(self.heads, field.name).copy() for field in fields(_QueueHeads)))

        def put_back() -> None:
            self.heads = heads
            for name, array in own.items():
                setattr(self, name, array)

        return put_back

    @property
    def idle(self) -> BoolArray:
        """Devices (n, K) without a request."""
        return (self._came == self._ended).reshape(self._shape)

    def shaped(self, name: str) -> Any:
        """A field of `heads`, (n, K)."""
        return getattr(self.heads, name).reshape(self._shape)

    @property
    def context(self) -> IntArray:
        """Tokens (n, K) of the first requests that a pass reads: the prompt, and what came of the answer."""
        prompt = self._prompt[np.arange(len(self._ended)), self._ended]
        return (prompt + self.heads.output - self.heads.wanted).reshape(self._shape)

    def arrive(self, now: FloatArray) -> IntArray:
        """Let requests arrive until now, (n,) s; how many did, (n, K)."""
        until = np.repeat(now, self._shape[1])
        count = np.zeros(len(until), dtype=np.int64)
        due = np.flatnonzero(self._next_at <= until)
        while due.size:
            count[due] += 1
            self._came[due] += 1
            self._next_at[due] = np.inf if self.workload.closed else self._time[due, self._came[due]]
            due = due[self._next_at[due] <= until[due]]
        return count.reshape(self._shape)

    def reach(self, now: FloatArray) -> None:
        """Draw all that a step until now, (n,) s, can need, and a drop behind it: two requests of a device may end.

        ``ValueError`` if it is too much to be kept; no line has changed then.
        """
        until = np.repeat(now, self._shape[1])
        while (self._ended + 2 >= self._gap.shape[1] if self.workload.closed else self._time[:, -1] <= until).any():
            self._grow()

    def end(self, ended: BoolArray, now: FloatArray) -> IntArray:
        """Requests at the heads of these queues (n, K) end now, (n,) s; how many others arrive just then, (n, K)."""
        cells = np.flatnonzero(ended)
        if cells.size:  # the next ones come to the head
            self._ended[cells] += 1
            next_at = self._time[cells, self._ended[cells]]
            if self.workload.closed:
                next_at = now.repeat(self._shape[1]).take(cells) + self._gap[cells, self._ended[cells]]
                self._next_at[cells] = next_at
            self._load(cells, next_at)
        return self.arrive(now)

    def deliver(self, tokens: FloatArray, verified: BoolArray, now: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Tokens (n, K) come to the devices that were ``verified`` (n, K) now, (n,) s.

        Returns the tokens that their requests still wanted, and the time in s since the tokens before of the same
        request, 0 where there are none, (n, K).
        """
        gained = np.minimum(tokens, self.shaped("wanted")) * verified
        last = self.shaped("last_at")
        gap = np.where(verified & (last > 0.0), now[:, None] - last, 0.0)
        cells = np.flatnonzero(verified)
        heads, came = self.heads, now.repeat(self._shape[1])
        new = cells[heads.first_at[cells] == 0.0]
        heads.first_at[new] = came[new]
        heads.due[new] = self.workload.level.due_after_first(came[new], heads.arrived[new], heads.output[new])
        heads.first_due[new] = np.inf
        heads.last_at[cells] = came[cells]
        heads.wanted[cells] -= gained.take(cells).astype(np.int64)
        heads.prompt[cells] = 0
        return gained, gap

    def times(
        self, finished: BoolArray, now: FloatArray
    ) -> tuple[BoolArray, IntArray, FloatArray, FloatArray, FloatArray]:
        """Of requests that finish, (n, K), now, (n,) s: in time or not, tokens, TTFT, TPOT, E2EL; else 0."""
        output, arrived, first = (self.shaped(name) for name in ("output", "arrived", "first_at"))
        clock = now[:, None]
        ttft, e2el = first - arrived, clock - arrived
        tpot = np.where(output > 1, (clock - first) / np.maximum(output - 1, 1), 0.0)
        in_time = finished & self.workload.level.met(ttft, tpot, e2el, output)
        ttft, tpot, e2el = (np.where(finished, time, 0.0) for time in (ttft, tpot, e2el))
        return in_time, output * finished, ttft, tpot, e2el

    def demand(self, drafted: IntArray, accepted: IntArray) -> Demand:
        """What devices serve, (n, K); of those without a request nothing."""
        idle = self.idle
        wanted, output, prompt = (self.shaped(name) * ~idle for name in ("wanted", "output", "prompt"))
        arrived = np.where(idle, 0.0, self.shaped("arrived"))
        first_due, due = (np.where(idle, np.inf, self.shaped(name)) for name in ("first_due", "due"))
        behind = np.maximum(self._came - self._ended - 1, 0).reshape(self._shape)
        return Demand(wanted, output, prompt, arrived, first_due, due, behind, drafted, accepted)

    def overdue(self, now: FloatArray, copies: IntArray | None = None) -> IntArray:
        """Requests (m, K) of these copies (m,), default all, that are late at ``now`` (m,) s, and have not ended."""
        users, level = self._shape[1], self.workload.level
        chosen = np.arange(self._shape[0]) if copies is None else copies
        cells = (chosen[:, None] * users + np.arange(users)).reshape(-1)
        ended, came, until = self._ended[cells], self._came[cells], np.repeat(now, users)
        rows = np.arange(came.max(initial=0))
        behind = (rows > ended[:, None]) & (rows < came[:, None])
        time, output = self._time[cells, : len(rows)], self._output[cells, : len(rows)]
        late = np.minimum(level.first_due(time), level.due(time, output)) < until[:, None]
        first = np.minimum(self.heads.first_due[cells], self.heads.due[cells])
        count = (late & behind).sum(-1) + ((came > ended) & (first < until))
        return count.reshape(-1, users)
