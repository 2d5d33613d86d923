"""Random numbers for parallel environments, with one generator for each environment."""

from collections.abc import Callable, Iterable
from typing import Self

import numpy as np

from multispin_env.arrays import FloatArray, IntArray

Draw = Callable[[np.random.Generator, int], FloatArray]

MOST_ROWS = 64  # Rows drawn ahead for each environment; the Python loop over environments runs once per block
MOST_NUMBERS = 16_000_000  # Numbers in a stream of all environments, 128 MB, unless 8 rows for each need more
EPISODES = 32  # Episodes for which devices are drawn ahead


def user_uniforms(rng: np.random.Generator, rows: int, columns: int, num_users: int) -> FloatArray:
    """Draw uniform variables (rows, columns, K) in [0, 1)."""
    return rng.random((rows, columns, num_users))


def user_exponentials(rng: np.random.Generator, rows: int, num_users: int) -> FloatArray:
    """Draw standard exponential variables (rows, K)."""
    return rng.standard_exponential((rows, num_users))


def rows_ahead(numbers_per_row: int) -> int:
    """Return the number of rows to draw ahead, 8 to `MOST_ROWS`; it does not affect the random numbers."""
    return min(max(MOST_NUMBERS // numbers_per_row, 8), MOST_ROWS)


class EnvStreams:
    """Rows of random numbers for parallel environments, drawn ahead in blocks.

    Environment i reads generator i only, so that its rows do not depend on the number of environments, their resets or
    the block size: a vector environment equals single environments bit for bit.

    ``draw(rng, rows)`` returns (rows, *shape); m + n rows equal m rows followed by n rows. The rows of one environment
    are contiguous in memory, which makes writing fast.
    """

    def __init__(self, draw: Draw, num_envs: int, block: int) -> None:
        self._draw = draw
        self._block = block
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._rows = np.empty((num_envs, block, 0))  # (n, block, *shape) from the first draw on
        self._next = np.full(num_envs, block, dtype=np.int64)  # next row of each environment, if `_common` is None
        self._common: int | None = block  # next row of all environments; None if they differ

    @classmethod
    def ahead(cls, draw: Draw, num_envs: int, most_rows: int = MOST_ROWS) -> Self:
        """Make streams that draw as many rows ahead as `rows_ahead` and ``most_rows`` allow."""
        numbers = draw(np.random.default_rng(0), 1).size  # of a row
        return cls(draw, num_envs, min(most_rows, rows_ahead(num_envs * max(numbers, 1))))

    def seed(self, env: int, generator: np.random.Generator) -> None:
        """Set the generator of one environment and discard its rows drawn ahead."""
        self._split_positions()
        self._generators[env] = generator
        self._next[env] = self._block

    def read(self, envs: IntArray | None = None) -> FloatArray:
        """Return the next row of each of these environments (default all), (n, *shape), valid until the next call."""
        if envs is None:
            if self._common is None and (self._next == self._next[0]).all():
                self._common = int(self._next[0])
            if self._common is not None:
                if self._common == self._block:
                    self._refill(range(len(self._next)))
                    self._common = 0
                self._common += 1
                return self._rows[:, self._common - 1]
        envs = np.arange(len(self._next)) if envs is None else envs
        self._split_positions()
        position = self._next.take(envs)
        if (used_up := position == self._block).any():
            self._refill(envs[used_up])
            position[used_up] = 0
        self._next[envs] = position + 1
        flat = self._rows.reshape(self._block * len(self._next), *self._rows.shape[2:])
        return flat.take(envs * self._block + position, 0)  # half the time of two indices

    def _split_positions(self) -> None:
        if self._common is not None:
            self._next[:] = self._common
            self._common = None

    def _refill(self, envs: Iterable[int]) -> None:
        for env in envs:
            generator = self._generators[env]
            if generator is None:
                raise RuntimeError(f"environment {env}: expected a seed before the first step; call reset first")
            drawn = self._draw(generator, self._block)
            if self._rows.shape[2:] != drawn.shape[1:]:
                self._rows = np.empty((*self._rows.shape[:2], *drawn.shape[1:]))
            self._rows[env] = drawn
            self._next[env] = 0
