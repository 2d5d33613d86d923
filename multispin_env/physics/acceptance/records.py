"""Recorded speculative decoding: the file, its checks, and the record that comes with the package."""

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, require

PACKAGED = "records/acceptance.npz"
PACKAGED_SHA256 = "e65117c72b3249df63cd1bbdcb4a87a65071a16b268e99aeb14a067cfc34b56e"

MIN_PLACES = 8
"""Fewest places of a prompt: a shorter text would mostly repeat itself."""

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
        _check_prompts(self.task, self.length)
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
            raise ValueError(f"task: got 1 prompt of task {counts.argmin()}, allowed for halves are at least 2 of each")
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
        kinds, allowed = _KINDS[field]
        kind = getattr(array, "dtype", np.dtype(object)).kind
        if kind not in kinds or array.ndim != 1:
            got = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            raise ValueError(f"{field}: got {got}, allowed is a one-dimensional array of {allowed}")


def _check_prompts(task: IntArray, length: IntArray) -> None:
    if len(task) == 0 or len(task) != len(length):
        raise ValueError(
            f"length: got {len(length)} prompts, allowed are as many as task has ({len(task)}), at least 1"
        )
    require("task", task, task >= 0, "integers ≥ 0")
    require("length", length, length >= MIN_PLACES, f"integers ≥ {MIN_PLACES}")
    tasks = np.unique(task)
    gaps = np.flatnonzero(tasks != np.arange(len(tasks)))
    if len(gaps):
        raise ValueError(f"task: got no prompt of task {gaps[0]}, allowed is at least one for each of 0..{tasks[-1]}")


def _check_places(places: int, probability: FloatArray, accepted: BoolArray) -> None:
    for field, array in (("accept_probability", probability), ("accepted", accepted)):
        if len(array) != places:
            raise ValueError(f"{field}: got {len(array)} places, allowed are {places}, the sum of length")
    require("accept_probability", probability, (probability >= 0) & (probability <= 1), "numbers in [0, 1]")


def load_records(path: str | PathLike[str] | None = None) -> Records:
    """Read a record of speculative decoding.

    Parameters
    ----------
    path
        An ``.npz`` file as ``numpy.savez`` writes it, or ``None`` for the record of the package (its README tells
        where that comes from). With P prompts and N places in all it holds

        - ``task``, integers (P,): task index of each prompt, in the order of the scenario's tasks;
        - ``length``, integers (P,): places of each prompt;
        - ``accept_probability``, floating point (N,): β of the token proposed at each place, prompt after prompt;
        - ``accepted``, booleans (N,): the outcome there.

        Other arrays, such as ``overlap`` (β averaged over what could have been proposed), are not read.

    Raises
    ------
    ValueError
        For a file that cannot be read or holds anything else, naming the field, the value and what is allowed.
        Pickled objects are never loaded.
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
            raise ValueError(f"{PACKAGED}: got a changed file, allowed is the one with SHA-256 {PACKAGED_SHA256}")
        return content, PACKAGED
    try:
        return Path(path).read_bytes(), str(path)
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"path: got {path!r} ({error}), allowed is a readable .npz file") from None


def _opened(content: bytes) -> "np.lib.npyio.NpzFile":
    try:
        file = np.load(BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile):
        file = None
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError(f"file: got {content[:8]!r} at its start, allowed is an .npz archive")
    return file


def _array(file: Mapping[str, Any], name: str) -> NDArray[Any]:
    if name not in file:
        raise ValueError(f"{name}: got only {sorted(file)}, allowed is an archive with the arrays {list(_KINDS)}")
    try:
        array = file[name]
    except (ValueError, EOFError, OSError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{name}: got unreadable data ({error}), allowed is a plain array without objects") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name}: got raw bytes, allowed is an array as numpy.savez writes it")
    return array
