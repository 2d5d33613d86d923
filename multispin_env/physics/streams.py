"""Random rows for many copies of an environment, each copy from a generator of its own."""

from collections.abc import Callable

import numpy as np

from multispin_env.checks import FloatArray, IntArray

BLOCK = 64
"""Rows drawn ahead for a copy: the Python loop over copies runs once in so many rounds."""


class CopyStreams:
    """One row of random numbers for every copy and call, drawn ahead in blocks.

    Copy i reads only its own generator, so its rows do not depend on how many other copies there are, when they
    reset, or how large a block is: a vector of environments equals single ones bit for bit.

    Parameters
    ----------
    draw
        ``draw(rng, rows) -> (rows, *shape)``; drawing a + b rows must equal drawing a, then b.
    num_copies
        Number of copies; each must be given a generator with `seed` before it is read.
    block
        Rows drawn ahead.
    """

    def __init__(
        self, draw: Callable[[np.random.Generator, int], FloatArray], num_copies: int, block: int = BLOCK
    ) -> None:
        self._draw = draw
        self._block = block
        self._generators: list[np.random.Generator | None] = [None] * num_copies
        self._rows: FloatArray | None = None  # (num_copies, block, *shape)
        self._next = np.full(num_copies, block, dtype=np.int64)  # row each copy reads next

    def seed(self, copy: int, generator: np.random.Generator) -> None:
        """Give a copy its generator and forget what was drawn ahead for it."""
        self._generators[copy] = generator
        self._next[copy] = self._block

    def read(self, copies: IntArray) -> FloatArray:
        """Next row of each of these copies, (len(copies), *shape)."""
        for copy in copies[self._next[copies] == self._block]:
            self._refill(int(copy))
        assert self._rows is not None or len(copies) == 0
        rows: FloatArray = self._rows[copies, self._next[copies]]  # type: ignore[index]
        self._next[copies] += 1
        return rows

    def _refill(self, copy: int) -> None:
        generator = self._generators[copy]
        if generator is None:
            raise RuntimeError(f"copy {copy}: read before it was seeded; call reset first")
        drawn = self._draw(generator, self._block)
        if self._rows is None:
            self._rows = np.empty((len(self._generators), *drawn.shape))
        self._rows[copy] = drawn
        self._next[copy] = 0
