"""The requests of every device, first come, first served, for all copies at once (ours; docs/serving.md)."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.physics.continuous.types import Demand
from multispin_env.physics.workload import ServiceLevel, Source

ROWS = 16
"""Requests of a device that are drawn ahead at first; twice as many whenever a copy needs more."""

MOST_REQUESTS = 2**26
"""Of all devices and copies that are kept, 2 GB."""


class Requested(Protocol):
    """What a system needs to know of its workload."""

    @property
    def level(self) -> ServiceLevel:
        """Limits of the requests."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the gap to the next request of a device starts when its last one ends."""
        ...

    def open(self, rng: np.random.Generator, num_users: int) -> Source:
        """The requests of one episode."""
        ...


@dataclass(frozen=True, eq=False)
class Fronts:
    """The first request in the line of each device, whether it has arrived or not; flat arrays (n K,)."""

    output: IntArray
    prompt: IntArray  # 0 once it has been verified
    wanted: IntArray
    arrived: FloatArray  # when it arrives
    first_due: FloatArray
    due: FloatArray
    first_at: FloatArray  # when its first and its latest token came, 0 before
    last_at: FloatArray

    @classmethod
    def empty(cls, cells: int) -> "Fronts":
        """Nothing yet."""
        output, prompt, wanted = (np.zeros(cells, dtype=np.int64) for _ in range(3))
        return cls(output, prompt, wanted, *(np.zeros(cells) for _ in range(5)))


class Lines:
    """The lines of n copies with K devices each.

    A line is a table of requests in the order in which they arrive, with two places in it: how many have ended, and how
    many have arrived. The next to end is in front, and is served as soon as it has arrived.

    Parameters
    ----------
    workload
        What gives the requests of an episode.
    num_copies, num_users
        n and K.
    """

    def __init__(self, workload: Requested, num_copies: int, num_users: int) -> None:
        self.workload = workload
        self._shape = num_copies, num_users
        cells = num_copies * num_users
        self._generators: list[np.random.Generator | None] = [None] * num_copies
        self._sources: list[Source | None] = [None] * num_copies
        self._gap, self._time = np.zeros((cells, ROWS)), np.zeros((cells, ROWS))  # of closed arrivals, and of open ones
        self._prompt, self._output = (np.zeros((cells, ROWS), dtype=np.int64) for _ in range(2))
        self._ended, self._came = (np.zeros(cells, dtype=np.int64) for _ in range(2))
        self._next_at = np.zeros(cells)  # when the first of those that have not arrived does
        self.front = Fronts.empty(cells)

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
        """Rows ``first`` to ``stop`` of the table of a copy."""
        source, users = self._sources[copy], self._shape[1]
        assert source is not None  # opened at reset
        gap, prompt, output = (np.asarray(array).T for array in source(stop - first))
        cells, rows = slice(copy * users, (copy + 1) * users), slice(first, stop)
        self._gap[cells, rows], self._prompt[cells, rows], self._output[cells, rows] = gap, prompt, output
        before = self._time[cells, first - 1 : first] if first else np.zeros((users, 1))
        self._time[cells, rows] = np.add.accumulate(np.concatenate([before, gap], -1), -1)[:, 1:]

    def _grow(self) -> None:
        """Twice as many rows for all."""
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
        """Put the next requests of these lines in front."""
        level, front, place = self.workload.level, self.front, self._ended[cells]
        output = self._output[cells, place]
        front.output[cells], front.wanted[cells] = output, output
        front.prompt[cells] = self._prompt[cells, place]
        front.arrived[cells] = arrived
        front.first_due[cells] = level.first_due(arrived)
        front.due[cells] = level.due(arrived, output)
        front.first_at[cells], front.last_at[cells] = 0.0, 0.0

    def kept(self) -> Callable[[], None]:
        """Remember how the lines are; what is returned puts them back, and keeps the rows that were drawn since."""
        own = {name: getattr(self, name).copy() for name in ("_ended", "_came", "_next_at")}
        front = Fronts(*(getattr(self.front, field.name).copy() for field in fields(Fronts)))

        def put_back() -> None:
            self.front = front
            for name, array in own.items():
                setattr(self, name, array)

        return put_back

    @property
    def idle(self) -> BoolArray:
        """Devices (n, K) without a request."""
        return (self._came == self._ended).reshape(self._shape)

    def shaped(self, name: str) -> Any:
        """A field of `front`, (n, K)."""
        return getattr(self.front, name).reshape(self._shape)

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

    def end(self, cells: IntArray, now: FloatArray) -> None:
        """The requests in front of these lines end now, (cells,) s; the next ones come to the front."""
        self._ended[cells] += 1
        if self.workload.closed:
            self._next_at[cells] = now + self._gap[cells, self._ended[cells]]
            self._load(cells, self._next_at[cells])
        else:
            self._load(cells, self._time[cells, self._ended[cells]])

    def deliver(self, cells: IntArray, tokens: IntArray, now: FloatArray) -> None:
        """Tokens (cells,) of the requests in front of these lines come now."""
        front, level = self.front, self.workload.level
        first = front.first_at[cells] == 0.0
        new = cells[first]
        front.first_at[new] = now[first]
        front.due[new] = level.due_after_first(now[first], front.arrived[new], front.output[new])
        front.first_due[new] = np.inf
        front.last_at[cells] = now
        front.wanted[cells] -= tokens
        front.prompt[cells] = 0

    def demand(self, drafted: IntArray, accepted: IntArray) -> Demand:
        """What devices serve, (n, K); of those without a request nothing."""
        idle, front = self.idle, self.front
        busy = ~idle
        shape = self._shape
        return Demand(
            front.wanted.reshape(shape) * busy,
            front.output.reshape(shape) * busy,
            front.prompt.reshape(shape) * busy,
            np.where(idle, 0.0, front.arrived.reshape(shape)),
            np.where(idle, np.inf, front.first_due.reshape(shape)),
            np.where(idle, np.inf, front.due.reshape(shape)),
            np.maximum(self._came - self._ended - 1, 0).reshape(shape),
            drafted,
            accepted,
        )

    def overdue(self, now: FloatArray, copies: IntArray | None = None) -> tuple[IntArray, IntArray]:
        """Requests (m, K) that have arrived and not ended: those that are late already at ``now`` (m,), and others.

        Of these copies (m,), default all.
        """
        users, level = self._shape[1], self.workload.level
        chosen = np.arange(self._shape[0]) if copies is None else copies
        cells = (chosen[:, None] * users + np.arange(users)).reshape(-1)
        ended, came, until = self._ended[cells], self._came[cells], np.repeat(now, users)
        rows = np.arange(came.max(initial=0))
        behind = (rows > ended[:, None]) & (rows < came[:, None])
        time, output = self._time[cells, : len(rows)], self._output[cells, : len(rows)]
        late = np.minimum(level.first_due(time), level.due(time, output)) < until[:, None]
        front = np.minimum(self.front.first_due[cells], self.front.due[cells])
        count = (late & behind).sum(-1) + ((came > ended) & (front < until))
        return count.reshape(-1, users), (came - ended - count).reshape(-1, users)
