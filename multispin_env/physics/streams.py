"""Random rows for many copies of an environment, each copy from a generator of its own."""

from collections.abc import Callable, Iterable

import numpy as np

from multispin_env.arrays import FloatArray, IntArray

Draw = Callable[[np.random.Generator, int], FloatArray]

MOST_ROWS = 64  # Rows drawn ahead for a copy: the Python loop over copies runs once in so many rounds

MOST_NUMBERS = 16_000_000  # Of a stream kept for all copies together, 128 MB, unless a copy got fewer than 8 rows
EPISODES = 8  # Episodes for which devices are drawn ahead


def user_uniforms(rng: np.random.Generator, rows: int, columns: int, num_users: int) -> FloatArray:
    """Uniform variables (rows, columns, K) in [0, 1)."""
    return rng.random((rows, columns, num_users))


def user_exponentials(rng: np.random.Generator, rows: int, num_users: int) -> FloatArray:
    """Standard exponential variables (rows, K)."""
    return rng.standard_exponential((rows, num_users))


def rows_ahead(numbers_per_row: int) -> int:
    """How many rows to draw ahead; the numbers of a copy do not depend on it."""
    return int(np.clip(MOST_NUMBERS // numbers_per_row, 8, MOST_ROWS))


class EnvStreams:
    """One row of random numbers for every copy and call, drawn ahead in blocks.

    Copy i reads only its own generator, so its rows do not depend on how many other copies there are, when they
    reset, or how large a block is: a vector of environments equals single ones bit for bit.

    ``draw(rng, rows)`` gives (rows, *shape), and a + b rows as a, then b. Where copies mostly read each at their own
    time, ``apart``, the rows of a copy lie together in memory, so that they are written fast; else those that all read
    at once.
    """

    def __init__(self, draw: Draw, num_envs: int, block: int, apart: bool = False) -> None:
        self._draw = draw
        self._block = block
        self._apart = apart
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        sizes = (num_envs, block) if apart else (block, num_envs)
        self._rows = np.empty((*sizes, 0))  # (*sizes, *shape) from the first draw on
        self._next = np.full(num_envs, block, dtype=np.int64)  # row each copy reads next, unless it is common
        self._common: int | None = block  # row that all copies read next

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Give a copy its generator and forget what was drawn ahead for it."""
        self._part()
        self._generators[copy] = generator
        self._next[copy] = self._block

    def read(self, copies: IntArray | None = None) -> FloatArray:
        """Next row of each of these copies (default all), (copies, *shape); valid until the next call."""
        if copies is None:
            if self._common is None and (self._next == self._next[0]).all():
                self._common = int(self._next[0])
            if self._common is not None:
                if self._common == self._block:
                    self._refill(range(len(self._next)))
                    self._common = 0
                self._common += 1
                common: FloatArray = self._rows[(slice(None), self._common - 1) if self._apart else self._common - 1]
                return common
        chosen = np.arange(len(self._next)) if copies is None else copies
        self._part()
        position = self._next.take(chosen)
        if (read := position == self._block).any():
            self._refill(chosen[read])
            position[read] = 0
        self._next[chosen] = position + 1
        at = chosen * self._block + position if self._apart else position * len(self._next) + chosen
        as_they_lie = self._rows.reshape(self._block * len(self._next), *self._rows.shape[2:])
        rows: FloatArray = as_they_lie.take(at, 0)  # in half the time of two indices
        return rows

    def _part(self) -> None:
        if self._common is not None:
            self._next[:] = self._common
            self._common = None

    def _refill(self, copies: Iterable[int]) -> None:
        for copy in copies:
            generator = self._generators[copy]
            if generator is None:
                raise RuntimeError(f"copy {copy}: read before it was seeded; call reset first")
            drawn = self._draw(generator, self._block)
            if self._rows.shape[2:] != drawn.shape[1:]:
                self._rows = np.empty((*self._rows.shape[:2], *drawn.shape[1:]))
            self._rows[copy if self._apart else (slice(None), copy)] = drawn
            self._next[copy] = 0
