"""Recorded speculative decoding: the file, its checks, and the record that comes with the package."""

import hashlib
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from io import BytesIO
from os import PathLike
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, cut, require, shown
from multispin_env.files import read_bytes

PACKAGED = "records/acceptance.npz"
PACKAGED_SHA256 = "e65117c72b3249df63cd1bbdcb4a87a65071a16b268e99aeb14a067cfc34b56e"

MIN_PLACES = 8
"""Fewest places of a prompt: a shorter text would mostly repeat itself."""

MOST_PLACES = 1_000_000
"""Numbers in an array of a record's file: a replay keeps some 600 bytes for each place, so no more than 0.6 GB."""

LARGEST_FILE = 16 * MOST_PLACES
"""Bytes of a record's file: so many places as float64 and boolean take 9 each."""

_LARGEST_ITEM = 16
"""Bytes of the longest number of numpy."""

_LONGEST_HEADER = 2**16
"""Bytes before an array's numbers; numpy writes 128."""

_KINDS = {
    "task": ("iu", "integers"),
    "length": ("iu", "integers"),
    "accept_probability": ("f", "floating-point numbers"),
    "accepted": ("b", "booleans"),
}


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
        _check_types(self.task, self.length, self.probability, self.accepted)
        for field, dtype in (("task", np.int64), ("length", np.int64), ("probability", np.float64), ("accepted", bool)):
            array = np.array(getattr(self, field), dtype=dtype)
            array.setflags(write=False)
            object.__setattr__(self, field, array)
        _check_prompts(self.task, self.length, len(self.probability))
        _check_places(int(self.length.sum()), self.probability, self.accepted)

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
        start: IntArray = np.cumsum(self.length) - self.length
        return start

    @cached_property
    def prompt(self) -> IntArray:
        """Prompt that each place belongs to, (N,)."""
        return np.repeat(np.arange(len(self.length)), self.length)


def _check_types(task: Any, length: Any, probability: Any, accepted: Any) -> None:
    for field, array in zip(_KINDS, (task, length, probability, accepted), strict=True):
        if not isinstance(array, np.ndarray):
            kind = type(array).__name__
            raise ValueError(f"{field}: expected a one-dimensional array of {_KINDS[field][1]}, got {kind}")
        _check_type(field, array.dtype, array.shape)


def _check_type(field: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    kinds, numbers = _KINDS[field]
    if dtype.kind not in kinds or len(shape) != 1:
        given = f"{dtype} of shape {shape}"
        raise ValueError(f"{field}: expected a one-dimensional array of {numbers}, got {given}")


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


def _check_places(places: int, probability: FloatArray, accepted: BoolArray) -> None:
    for field, array in (("accept_probability", probability), ("accepted", accepted)):
        if len(array) != places:
            raise ValueError(f"{field}: expected {places} places, the sum of length, got {len(array)}")
    require("accept_probability", probability, (probability >= 0) & (probability <= 1), "numbers in [0, 1]")


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
    content, source = _content(path)
    try:
        with _opened(content) as file:
            arrays = [_array(file, name) for name in _KINDS]
        return Records(*arrays)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _content(path: str | PathLike[str] | None) -> tuple[bytes, str]:
    if path is None:
        content = resources.files("multispin_env").joinpath(PACKAGED).read_bytes()
        if hashlib.sha256(content).hexdigest() != PACKAGED_SHA256:
            raise ValueError(f"{PACKAGED}: expected the file with SHA-256 {PACKAGED_SHA256}, got a changed one")
        return content, PACKAGED
    try:
        return read_bytes(path, LARGEST_FILE), str(path)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"path: expected a readable .npz file, got {shown(path)} ({error})") from None


def _opened(content: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(BytesIO(content))
    except Exception:  # what broken archives raise has no common base but this
        raise ValueError(f"file: expected an .npz archive, got {content[:8]!r} at its start") from None


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """One array of an archive, its sizes and type checked before its numbers are unpacked."""
    members = archive.namelist()
    if name in members:
        raise ValueError(f"{name}: expected an array as numpy.savez writes it, got raw bytes")
    if f"{name}.npy" not in members:
        names = sorted(member.removesuffix(".npy") for member in members)
        raise ValueError(f"{name}: expected an archive with the arrays {list(_KINDS)}, got only {shown(names)}")
    member = archive.getinfo(f"{name}.npy")
    most = MOST_PLACES * _LARGEST_ITEM + _LONGEST_HEADER
    if member.file_size > most:
        raise ValueError(f"{name}: expected at most {most} bytes, got {member.file_size}")
    with _reading(name):
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may ask for gigabytes
            raise ValueError("it is packed in another way than by numpy")
        file = archive.open(member)
        dtype, shape = _header(file)
        size = member.file_size - file.tell()
        _check_size(dtype, shape, size)
    _check_type(name, dtype, shape)
    with _reading(name), file:
        content = file.read(size)  # behind the last byte the archive's checksum is compared
        if len(content) != size:
            raise EOFError(f"it ends after {len(content)} of {size} bytes")
    return np.frombuffer(content, dtype)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # as above
        reason = cut(str(error) or type(error).__name__)
        raise ValueError(f"{name}: expected a plain array without objects, got unreadable data ({reason})") from None


def _header(file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape that an array's header declares."""
    version = np.lib.format.read_magic(file)
    if version != (1, 0):  # later ones are for headers of more than 64 kB
        raise ValueError(f"version {version} of the format, which no plain array needs")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return dtype, shape


def _check_size(dtype: np.dtype[Any], shape: tuple[int, ...], size: int) -> None:
    """``ValueError`` unless an array is none of objects, and exactly as large as its part of the archive."""
    if dtype.hasobject:
        raise ValueError("it holds objects")
    numbers = math.prod(shape)
    if min(shape, default=0) < 0 or numbers > MOST_PLACES:
        raise ValueError(f"its shape is {shape}, with more than {MOST_PLACES} numbers")
    if numbers * dtype.itemsize != size:
        raise ValueError(f"its header declares {numbers * dtype.itemsize} bytes, and it has {size}")
