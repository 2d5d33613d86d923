"""Recorded acceptance: files of it, what they hold, and how it is played again (ours).

Texts are circular: behind its last place a prompt goes on with its first, so that no place is special.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

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
    read_arrays,
    read_file,
    read_packaged,
)
from multispin_env.physics.acceptance import (
    Acceptance,
    Prior,
    Requests,
    check_mean_rounds,
    new_requests,
    renewed,
    uniform_index,
)
from multispin_env.physics.tokens import expected_tokens
from multispin_env.scenario import Scenario

_PACKAGED = "data/records/acceptance.npz"
PACKAGED_SHA256 = "e65117c72b3249df63cd1bbdcb4a87a65071a16b268e99aeb14a067cfc34b56e"

MIN_PLACES = 8  # Fewest places of a prompt: a shorter text would mostly repeat itself
MOST_PLACES = MOST_NUMBERS  # Of a record's file: a replay keeps some 600 bytes for each place, so no more than 0.6 GB
LARGEST_FILE = 16 * MOST_PLACES  # Bytes of a record's file: so many places as float64 and boolean take 9 each
_OVERLAP = "overlap"  # Array of a file that a replay does not need

_KINDS = {"task": INTEGERS, "length": INTEGERS, "accept_probability": FLOATS, "accepted": BOOLEANS}


@dataclass(frozen=True, eq=False)
class Records:
    """What happened to drafted tokens along recorded texts; P prompts with N places together (ours).

    At every place the draft model proposed one token after the true text so far. Whether it was accepted does not
    depend on the draft length, so one record serves all of them. The arrays are read-only; the places of the prompts
    follow one another. ``ValueError`` for a wrong type, shape or value; fields are named as in the file that
    `load_records` reads.

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

        ``ValueError`` for another number, or where a task has a single prompt.
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

    ``ValueError`` for a file that cannot be read or holds anything else. Pickled objects are never loaded.

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
        if not has_array(content, _OVERLAP):
            return None
        overlap = np.asarray(read_arrays(content, {_OVERLAP: FLOATS})[_OVERLAP], dtype=np.float64)
        _check_probabilities(_OVERLAP, len(records.probability), overlap)
        return overlap


@contextmanager
def _file(path: str | PathLike[str] | None) -> Iterator[bytes]:
    content = read_packaged(_PACKAGED, PACKAGED_SHA256) if path is None else read_file(path, LARGEST_FILE)
    try:
        yield content
    except ValueError as error:
        raise ValueError(f"{_PACKAGED if path is None else path}: {error}") from None


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
    return archive_of(arrays if overlap is None else arrays | {_OVERLAP: overlap.astype(np.float16)})


ENDLESS = np.iinfo(np.int64).max  # Run of a prompt that accepts everything
FITTED_LENGTHS = np.arange(1, 17)  # Draft lengths that the rate of a prompt is fitted to
_FITTED_ROUNDS = 16  # Rounds from each place that the rate of a prompt is fitted to


def advance(records: Records, place: IntArray, tokens: FloatArray | IntArray) -> IntArray:
    """Place behind some tokens, in the same prompt; arrays of one shape."""
    prompt = records.prompt[place]
    start, length = records.start[prompt], records.length[prompt]
    return start + (place - start + np.asarray(tokens).astype(np.int64)) % length


@lru_cache(maxsize=8)
def accepted_runs(records: Records) -> IntArray:
    """Tokens accepted in a row from each place, (N,); `ENDLESS` where the prompt rejects nothing."""
    place = np.arange(len(records.accepted))
    rejected = np.flatnonzero(~records.accepted)
    # for each prompt the index of its first rejection in this list, and that of the next prompt's
    bounds = np.searchsorted(rejected, np.append(records.start, len(place)))
    first, end = bounds[:-1][records.prompt], bounds[1:][records.prompt]
    following = np.searchsorted(rejected, place)
    wraps = following == end
    target = np.append(rejected, 0)[np.where(wraps, first, following)] + wraps * records.length[records.prompt]
    return np.where(first == end, ENDLESS, target - place)


@lru_cache(maxsize=8)
def _expected_table(records: Records, longest: int) -> FloatArray:
    """E[N] = 1 + Σ_{l=1..L} β_t ⋯ β_{t+l−1} from each place t, (N, longest + 1) with column L."""
    place = np.arange(len(records.probability))
    following = advance(records, place, np.ones_like(place))
    table = np.ones((len(place), longest + 1))
    reached = np.ones(len(place))  # probability that the first l tokens are accepted
    at = place
    for length in range(1, longest + 1):
        reached = reached * records.probability[at]
        table[:, length] = table[:, length - 1] + reached
        at = following[at]
    return table


@lru_cache(maxsize=8)
def prompt_rates(records: Records) -> FloatArray:
    """The i.i.d. rate of each prompt, (P,), in [0, 1].

    It is the α whose E[N | L] ([MS] 12) is right on average: over L = 1..16, the ratios of the formula to the mean
    tokens of a replayed round have mean 1. That mean is over 16 rounds from every place of the prompt, with β for
    what each round gains and the record for where the next one begins. The plain mean of β does not serve: a round
    begins behind a rejection, where acceptance is low, and inside a round acceptance rises with the place.
    """
    replayed = replayed_expectations(records)  # (lengths, P)
    lengths = FITTED_LENGTHS[:, None]
    low, high = np.zeros(len(records.length)), np.ones(len(records.length))
    for _ in range(60):
        middle = (low + high) / 2.0
        below = (expected_tokens(lengths, middle) / replayed).mean(0) < 1.0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return high


@lru_cache(maxsize=8)
def replayed_expectations(records: Records) -> FloatArray:
    """Mean expected tokens of a replayed round, for each L of `FITTED_LENGTHS` and each prompt, (lengths, P)."""
    table, runs = _expected_table(records, int(FITTED_LENGTHS[-1])), accepted_runs(records)
    lengths = FITTED_LENGTHS[:, None]
    place = np.broadcast_to(np.arange(len(runs)), (len(lengths), len(runs)))
    total = np.zeros(place.shape)
    for _ in range(_FITTED_ROUNDS):
        total += table[place, lengths]
        place = advance(records, place, np.minimum(runs[place], lengths) + 1)
    return np.add.reduceat(total, records.start, axis=1) / (records.length * _FITTED_ROUNDS)


_PROMPT, _PLACE = 2, 3  # Columns of the uniform variables that choose where a new request starts


@dataclass(frozen=True, eq=False)
class Recorded(Acceptance):
    """A request is a prompt of its task in a record, read in a circle from a random place (ours).

    A round of length L gains the run of accepted tokens from the place, at most L, plus one token, and moves the place
    on by all of them: behind a rejection to the token after it, behind a full draft past the extra token. So what is
    gained follows from the place, while nobody who sees only counts can know it; the expectation at a place averages
    over the outcomes that β allows there. ``rate`` is that of `prompt_rates`: within 2 % of the replay for L up to 16,
    averaged over the prompts of the package's record. ``ValueError`` for a bad lifetime, and for a scenario with more
    tasks than the record.

    Parameters
    ----------
    records
        What is replayed; by default the record of the package.
    mean_rounds
        Rounds that a request lasts on average, ≥ 1; infinite means that requests never end; default 16.
    """

    records: Records = field(default_factory=load_records)
    mean_rounds: float = 16.0

    def __post_init__(self) -> None:
        if not isinstance(self.records, Records):
            raise ValueError(f"records: expected Records, as load_records returns them, got {self.records!r}")
        check_mean_rounds(self.mean_rounds)

    columns: ClassVar[int] = 4  # end, task, prompt and place
    changes: ClassVar[bool] = True

    @override
    def first(self, scenario: Scenario, task: IntArray, fresh: FloatArray) -> Requests:
        self._check_tasks(scenario)
        place = self._random_place(task, fresh[..., _PROMPT, :], fresh[..., _PLACE, :])
        return new_requests(task, self._rates(place), place)

    @override
    def next(
        self, scenario: Scenario, requests: Requests, tokens: FloatArray | IntArray, fresh: FloatArray
    ) -> Requests:
        self._check_tasks(scenario)
        new, requests = renewed(requests, len(scenario.tasks), self.mean_rounds, fresh)
        place = advance(self.records, requests.position, tokens)
        place[new] = self._random_place(requests.task[new], fresh[..., _PROMPT, :][new], fresh[..., _PLACE, :][new])
        return requests._replace(rate=self._rates(place), position=place)

    @override
    def expectation(self, scenario: Scenario, requests: Requests) -> Callable[[IntArray], FloatArray]:
        return partial(self.expected_tokens, requests)

    def expected_tokens(self, requests: Requests, draft_length: IntArray) -> FloatArray:
        """E[N] = 1 + Σ_l β_t ⋯ β_{t+l−1} at the places t of the requests, (..., K)."""
        size = 1 << (int(np.max(draft_length, initial=32)) - 1).bit_length()  # of the table, which doubles as needed
        return _expected_table(self.records, size)[requests.position, draft_length]

    @override
    def sampled_tokens(self, requests: Requests, draft_length: IntArray, exponential: FloatArray) -> FloatArray:
        run = accepted_runs(self.records)[requests.position]
        return np.minimum(run, draft_length) + 1.0

    @override
    def prior(self, scenario: Scenario) -> Prior:
        self._check_tasks(scenario)
        counts = np.bincount(self.records.task)
        rates = prompt_rates(self.records)
        mean = np.bincount(self.records.task, rates) / counts
        spread = np.sqrt(np.bincount(self.records.task, (rates - mean[self.records.task]) ** 2) / counts)
        return Prior(mean[: len(scenario.tasks)], spread[: len(scenario.tasks)])

    def _rates(self, place: IntArray) -> FloatArray:
        return prompt_rates(self.records)[self.records.prompt[place]]

    def _random_place(self, task: IntArray, prompt_uniform: FloatArray, place_uniform: FloatArray) -> IntArray:
        by_task, counts, first = self.records.prompts_by_task
        prompt = by_task[first[task] + uniform_index(prompt_uniform, counts[task])]
        return self.records.start[prompt] + uniform_index(place_uniform, self.records.length[prompt])

    def _check_tasks(self, scenario: Scenario) -> None:
        if len(scenario.tasks) > self.records.num_tasks:
            raise ValueError(
                f"tasks of the scenario: expected at most {self.records.num_tasks}, "
                f"the tasks of the record, got {len(scenario.tasks)}"
            )
