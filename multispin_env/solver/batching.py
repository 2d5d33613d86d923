"""Long batches in pieces, so that memory stays bounded whatever the batch."""

from collections.abc import Callable

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.physics.types import SystemState
from multispin_env.solver.problem import Problem

CHUNK_ENTRIES = 2_000_000  # Largest number of float64 entries of a working array (16 MB)

SOLVER_ENTRIES = 20_000
"""Instances times users that the solver works on at once: its arrays, 10 to 100 times as large, stay in the cache."""


def lengths_in_chunks(solve: Callable[[SystemState], IntArray], state: SystemState, entries_per_state: int) -> IntArray:
    """Apply ``solve`` to flat pieces (n, K) of a state (..., K); one takes so many entries at most."""
    shape = state.draft_time.shape
    num_users = shape[-1]
    flat = SystemState(
        state.draft_time.reshape(-1, num_users),
        state.spectral_efficiency.reshape(-1, num_users),
        state.acceptance_rate.reshape(-1, num_users),
    )
    rows = max(1, CHUNK_ENTRIES // entries_per_state)
    lengths = np.empty((len(flat.draft_time), num_users), dtype=np.int64)
    for start in range(0, len(lengths), rows):
        part = slice(start, start + rows)
        lengths[part] = solve(flat[part])
    return lengths.reshape(shape)


def in_chunks(
    solve: Callable[[Problem], tuple[FloatArray, ...]], problem: Problem, parts: int | None = None
) -> tuple[FloatArray, ...]:
    """Apply ``solve`` to pieces of a problem and join its arrays (n, ...) along the instances.

    ``parts``: in which it solves an instance of a padded law; ``None``: one for each longest draft.
    """
    num_users = problem.draft_time.shape[-1]
    if not len(problem):  # the shapes of the answer are those for one instance
        ones, one = np.ones((1, num_users)), np.ones((1, num_users), dtype=np.int64)
        example = Problem(ones, ones, ones, ones, one, one, ones[:, 0], problem.lines, problem.padded, problem.tpot)
        return tuple(array[:0] for array in solve(example))
    parts_of_one = (parts or int(problem.high.max()) + 1) if problem.padded else 1
    rows = max(1, SOLVER_ENTRIES // (num_users * parts_of_one))
    if len(problem) <= rows:
        return tuple(solve(problem))
    pieces = range(0, len(problem), rows)
    solved = [solve(problem.rows(slice(start, start + rows))) for start in pieces]
    return tuple(np.concatenate(arrays) for arrays in zip(*solved, strict=True))
