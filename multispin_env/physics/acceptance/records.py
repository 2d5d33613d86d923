"""Recorded speculative decoding: the file, its checks, and the record that comes with the package."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, require
from multispin_env.npz import (
    BOOLEANS,
    FLOATS,
    INTEGERS,
    MOST_NUMBERS,
    archive_of,
    check_type,
    has_array,
    packaged,
    read_arrays,
    read_file,
)

PACKAGED = "records/acceptance.npz"
PACKAGED_SHA256 = "e65117c72b3249df63cd1bbdcb4a87a65071a16b268e99aeb14a067cfc34b56e"

MIN_PLACES = 8  # Fewest places of a prompt: a shorter text would mostly repeat itself
MOST_PLACES = MOST_NUMBERS  # Of a record's file: a replay keeps some 600 bytes for each place, so no more than 0.6 GB
LARGEST_FILE = 16 * MOST_PLACES  # Bytes of a record's file: so many places as float64 and boolean take 9 each
OVERLAP = "overlap"  # Array of a file that a replay does not need

_KINDS = {"task": INTEGERS, "length": INTEGERS, "accept_probability": FLOATS, "accepted": BOOLEANS}


@dataclass(frozen=True, eq=False)
class Records:
    """What happened to drafted tokens along recorded texts; P prompts with N places together (ours).

    At every place the draft model proposed one token after the true text so far. Whether it was accepted does not
    depend on the draft length, so one record serves all of them. The arrays are read-only; the places of the prompts
    follow one another.

    Parameters
    ----------
    task
        Task index of each prompt (P,); every index from 0 to the largest has a prompt.
    length
        Places of each prompt (P,), at least `MIN_PLACES`.
    probability
        β in [0, 1], (N,): probability that the proposed token is accepted ([MS] 4).
    accepted
        Whether it was, (N,).

    Raises
    ------
    ValueError
        For a wrong type, shape or value; fields are named as in the file that `load_records` reads.
    """

    task: IntArray
    length: IntArray
    probability: FloatArray
    accepted: BoolArray

    def __post_init__(self) -> None:
        for (name, kind), array in zip(_KINDS.items(), vars(self).values(), strict=True):
            if not isinstance(array, np.ndarray):
                expected = f"a one-dimensional array of {kind.numbers}"
                raise ValueError(f"{name}: expected {expected}, got {type(array).__name__}")
            check_type(name, array.dtype, array.shape, kind)
        for name, dtype in (("task", np.int64), ("length", np.int64), ("probability", np.float64), ("accepted", bool)):
            array = np.array(getattr(self, name), dtype=dtype)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        _check_prompts(self.task, self.length, len(self.probability))
        places = int(self.length.sum())
        _check_probabilities("accept_probability", places, self.probability)
        _check_count("accepted", places, len(self.accepted))

    @property
    def num_tasks(self) -> int:
        """Tasks with prompts: 0..num_tasks − 1."""
        return int(self.task.max()) + 1

    def half(self, which: int) -> "Records":
        """Every second prompt of each task, from its first (0) or from its second on (1).

        Raises
        ------
        ValueError
            If ``which`` is another number, or a task has a single prompt.
        """
        check_integer("half", which, 0, 1)
        order, counts, first = self.prompts_by_task
        if counts.min() < 2:
            raise ValueError(f"task: expected at least 2 prompts of each for halves, got 1 of task {counts.argmin()}")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order)) - np.repeat(first, counts)
        chosen = rank % 2 == which
        places = chosen[self.prompt]
        return Records(self.task[chosen], self.length[chosen], self.probability[places], self.accepted[places])

    @cached_property  # read in every round
    def prompts_by_task(self) -> tuple[IntArray, IntArray, IntArray]:
        """Prompts in the order of their tasks (P,), and of each task their number and where they begin, (tasks,)."""
        counts = np.bincount(self.task)
        return np.argsort(self.task, kind="stable"), counts, np.cumsum(counts) - counts

    @cached_property
    def start(self) -> IntArray:
        """First place of each prompt, (P,)."""
        return np.cumsum(self.length) - self.length

    @cached_property
    def prompt(self) -> IntArray:
        """Prompt that each place belongs to, (N,)."""
        return np.repeat(np.arange(len(self.length)), self.length)


def _check_prompts(task: IntArray, length: IntArray, places: int) -> None:
    if len(task) == 0 or len(task) != len(length):
        raise ValueError(f"length: expected as many prompts as task has ({len(task)}), at least 1, got {len(length)}")
    require("task", task, task >= 0, "integers ≥ 0")
    require("length", length, length >= MIN_PLACES, f"integers ≥ {MIN_PLACES}")
    # their sum can then not run over, as 2⁶² + 2⁶² + 2⁶² + 2⁶² + N would, which is N to numpy
    require("length", length, length <= places, f"integers ≤ {places}, the places in accept_probability")
    tasks = np.unique(task)
    gaps = np.flatnonzero(tasks != np.arange(len(tasks)))
    if len(gaps):
        raise ValueError(f"task: expected at least one prompt for each of 0..{tasks[-1]}, got none for {gaps[0]}")


def _check_count(field: str, places: int, count: int) -> None:
    if count != places:
        raise ValueError(f"{field}: expected {places} places, the sum of length, got {count}")


def _check_probabilities(field: str, places: int, values: FloatArray) -> None:
    _check_count(field, places, len(values))
    require(field, values, (values >= 0) & (values <= 1), "numbers in [0, 1]")


def load_records(path: str | PathLike[str] | None = None) -> Records:
    """Read a record of speculative decoding.

    Parameters
    ----------
    path
        An ``.npz`` file as ``numpy.savez`` writes it, or ``None`` for the record of the package (its README says
        where it comes from). With P prompts and N places in all the file holds

        - ``task``, integers (P,): task index of each prompt, in the order of the scenario's tasks;
        - ``length``, integers (P,): places of each prompt;
        - ``accept_probability``, floating point (N,): β of the token proposed at each place, prompt after prompt;
        - ``accepted``, booleans (N,): the outcome there.

        Other arrays, such as ``overlap`` (β averaged over what could have been proposed), are not read. An array may
        have `MOST_PLACES` numbers at most, and the file `LARGEST_FILE` bytes. Sizes are checked before anything is
        unpacked.

    Raises
    ------
    ValueError
        For a file that cannot be read or holds anything else. The message names the field, what is expected
        and the value. Pickled objects are never loaded.

    Examples
    --------
    >>> import multispin_env as ms
    >>> records = ms.load_records()
    >>> len(records.length), len(records.accepted), records.num_tasks
    (48, 4331, 4)
    """
    with _file(path) as content:
        return Records(*read_arrays(content, _KINDS).values())


def load_overlap(path: str | PathLike[str] | None, records: Records) -> FloatArray | None:
    """Σ_x min(p, q) at each place of a record read from this path, (N,): β averaged over what could have been proposed.

    ``None`` for a file that does not say it; ``ValueError`` for numbers of a wrong type, count or value.
    """
    with _file(path) as content:
        if not has_array(content, OVERLAP):
            return None
        overlap = np.asarray(read_arrays(content, {OVERLAP: FLOATS})[OVERLAP], dtype=np.float64)
        _check_probabilities(OVERLAP, len(records.probability), overlap)
        return overlap


@contextmanager
def _file(path: str | PathLike[str] | None) -> Iterator[bytes]:
    """Content of a record's file, which errors about it name."""
    content = packaged(PACKAGED, PACKAGED_SHA256) if path is None else read_file(path, LARGEST_FILE)
    try:
        yield content
    except ValueError as error:
        raise ValueError(f"{PACKAGED if path is None else path}: {error}") from None


def record_file(records: Records, overlap: FloatArray | None = None) -> bytes:
    """Content of a file that `load_records` and `load_overlap` read; probabilities are rounded to float16.

    It follows from the numbers to the last byte.
    """
    arrays: dict[str, NDArray[Any]] = {
        "task": records.task.astype(np.int8 if records.num_tasks <= np.iinfo(np.int8).max + 1 else np.int64),
        "length": records.length.astype(np.int16 if records.length.max() <= np.iinfo(np.int16).max else np.int64),
        "accept_probability": records.probability.astype(np.float16),
        "accepted": records.accepted,
    }
    return archive_of(arrays if overlap is None else arrays | {OVERLAP: overlap.astype(np.float16)})
