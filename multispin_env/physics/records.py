"""Recorded acceptance: files, records and their replay (not in the paper).

Texts are circular: the first position of a prompt follows the last, so that all positions are equivalent.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from os import PathLike
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env import npz
from multispin_env.arrays import BoolArray, FloatArray, IntArray, put
from multispin_env.checks import check_fields, check_integer, checked_field, located, require
from multispin_env.draft import expected_tokens
from multispin_env.physics.acceptance import (
    Acceptance,
    Prior,
    Requests,
    check_mean_rounds,
    renew_requests,
    uniform_index,
)
from multispin_env.scenario import Scenario

_PACKAGED = "data/records/acceptance.npz"
PACKAGED_SHA256 = "e65117c72b3249df63cd1bbdcb4a87a65071a16b268e99aeb14a067cfc34b56e"

MIN_POSITIONS = 8  # Per prompt: the replay of a shorter text would mostly repeat itself
MAX_POSITIONS = npz.MOST_NUMBERS  # Per record; a replay takes about 600 bytes per position, at most 0.6 GB
LARGEST_FILE = 16 * MAX_POSITIONS  # Bytes; a position takes 9, as float64 and boolean

_KINDS = {"task": npz.INTEGERS, "length": npz.INTEGERS, "accept_probability": npz.FLOATS, "accepted": npz.BOOLEANS}


@dataclass(frozen=True, eq=False)
class Records:
    """Outcomes of drafted tokens along recorded texts: P prompts with N positions in total.

    At every position the draft model proposed one token after the true text so far. Its acceptance does not depend on
    the draft length, so that one record holds for all lengths. The arrays are read-only and hold prompt after prompt.
    ``ValueError`` for a wrong type, shape or value; errors name fields as in the file of `load_records`.

    Parameters
    ----------
    task
        Task index of each prompt (P,); every index from 0 to the largest must occur.
    length
        Positions of each prompt (P,), at least `MIN_POSITIONS`.
    probability
        Probability β in [0, 1] that the proposed token is accepted ([MS] 4), (N,).
    accepted
        Whether the proposed token was accepted, (N,).
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
            npz.check_type(name, array.dtype, array.shape, kind)
        for name, dtype in (("task", np.int64), ("length", np.int64), ("probability", np.float64), ("accepted", bool)):
            array = np.array(getattr(self, name), dtype=dtype)
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        _check_prompts(self.task, self.length, len(self.probability))
        positions = int(self.length.sum())
        check_probabilities("accept_probability", positions, self.probability)
        _check_count("accepted", positions, len(self.accepted))

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return int(self.task.max()) + 1

    def half(self, which: int) -> "Records":
        """Return the even (0) or odd (1) prompts of each task, counted from 0; ``ValueError`` if a task has only 1."""
        check_integer("half", which, 0, 1)
        order, counts, first = self.prompts_by_task
        if counts.min() < 2:
            raise ValueError(f"task: expected at least 2 prompts of each task, got 1 of task {counts.argmin()}")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order)) - np.repeat(first, counts)
        half = rank % 2 == which
        positions = half[self.prompt]
        return Records(self.task[half], self.length[half], self.probability[positions], self.accepted[positions])

    @cached_property  # read in every round
    def prompts_by_task(self) -> tuple[IntArray, IntArray, IntArray]:
        """Prompts ordered by task (P,); number of prompts of each task, and its first position there, (num_tasks,)."""
        counts = np.bincount(self.task)
        return np.argsort(self.task, kind="stable"), counts, np.cumsum(counts) - counts

    @cached_property
    def start(self) -> IntArray:
        """First position of each prompt, (P,)."""
        return np.cumsum(self.length) - self.length

    @cached_property
    def prompt(self) -> IntArray:
        """Prompt of each position, (N,)."""
        return np.repeat(np.arange(len(self.length)), self.length)


def _check_prompts(task: IntArray, length: IntArray, positions: int) -> None:
    if len(task) == 0 or len(task) != len(length):
        raise ValueError(f"length: expected the same number of prompts ≥ 1 as in task ({len(task)}), got {len(length)}")
    require("task", task, task >= 0, "integers ≥ 0")
    require("length", length, length >= MIN_POSITIONS, f"integers ≥ {MIN_POSITIONS}")
    # otherwise the sum could overflow: in int64, 2⁶² + 2⁶² + 2⁶² + 2⁶² + N is N
    require("length", length, length <= positions, f"integers ≤ {positions}, the positions in accept_probability")
    tasks = np.unique(task)
    gaps = np.flatnonzero(tasks != np.arange(len(tasks)))
    if len(gaps):
        raise ValueError(f"task: expected at least one prompt for each of 0..{tasks[-1]}, got none for {gaps[0]}")


def _check_count(field: str, positions: int, count: int) -> None:
    if count != positions:
        raise ValueError(f"{field}: expected {positions} positions, the sum of length, got {count}")


def check_probabilities(field: str, positions: int, values: FloatArray) -> None:
    """Raise ``ValueError`` unless an array of a file has a probability for each position."""
    _check_count(field, positions, len(values))
    require(field, values, (values >= 0) & (values <= 1), "numbers in [0, 1]")


def load_records(path: str | PathLike[str] | None = None) -> Records:
    """Load a record of speculative decoding.

    ``ValueError`` for an unreadable file or bad content. Pickled objects are never loaded.

    Parameters
    ----------
    path
        An ``.npz`` file as written by ``numpy.savez``, or ``None`` for the record of the package (its README states
        the source). With P prompts and N positions in total the file holds

        - ``task``, integers (P,): task index of each prompt, in the order of the scenario's tasks;
        - ``length``, integers (P,): positions of each prompt;
        - ``accept_probability``, floating point (N,): β of the token proposed at each position, prompt after prompt;
        - ``accepted``, booleans (N,): the outcome.

        Other arrays are ignored. An array has at most `MAX_POSITIONS` numbers, and the file at most
        `LARGEST_FILE` bytes, checked before unpacking.

    Examples
    --------
    >>> import multispin_env as ms
    >>> records = ms.physics.load_records()
    >>> len(records.length), len(records.accepted), records.num_tasks
    (48, 4331, 4)
    """
    with record_content(path) as content:
        return Records(*npz.read_arrays(content, _KINDS).values())


@contextmanager
def record_content(path: str | PathLike[str] | None) -> Iterator[bytes]:
    """Open a file of a record, or that of the package; errors inside name the file."""
    content = npz.read_packaged(_PACKAGED, PACKAGED_SHA256) if path is None else npz.read_file(path, LARGEST_FILE)
    with located(_PACKAGED if path is None else path):
        yield content


NEVER_REJECTED = np.iinfo(np.int64).max  # Length of a run of accepted tokens in a prompt without rejections
FITTED_LENGTHS = np.arange(1, 17)  # Draft lengths used to fit the rate of a prompt
_FITTED_ROUNDS = 16  # Rounds from each position used to fit the rate of a prompt


def advance(records: Records, position: IntArray, tokens: FloatArray | IntArray) -> IntArray:
    """Move positions forward by ``tokens`` within their circular prompts; both arrays have the same shape."""
    prompt = records.prompt[position]
    start, length = records.start[prompt], records.length[prompt]
    return start + (position - start + np.asarray(tokens).astype(np.int64)) % length


@lru_cache(maxsize=8)
def accepted_runs(records: Records) -> IntArray:
    """Return the number of tokens accepted in a row from each position, (N,), or `NEVER_REJECTED`."""
    position = np.arange(len(records.accepted))
    rejected = np.flatnonzero(~records.accepted)
    # index in `rejected` of the first rejection of each prompt, and of the following prompt
    bounds = np.searchsorted(rejected, np.append(records.start, len(position)))
    first, end = bounds[:-1][records.prompt], bounds[1:][records.prompt]
    following = np.searchsorted(rejected, position)
    wraps = following == end
    target = np.append(rejected, 0)[np.where(wraps, first, following)] + wraps * records.length[records.prompt]
    return np.where(first == end, NEVER_REJECTED, target - position)


@lru_cache(maxsize=8)
def _expected_table(records: Records, longest: int) -> FloatArray:
    position = np.arange(len(records.probability))
    following = advance(records, position, np.ones_like(position))
    table = np.ones((len(position), longest + 1))  # column L: E[N | L] from each position
    reached = np.ones(len(position))  # probability that the first l tokens are accepted
    for length in range(1, longest + 1):
        reached = reached * records.probability[position]
        table[:, length] = table[:, length - 1] + reached
        position = following[position]
    return table


@lru_cache(maxsize=8)
def prompt_rates(records: Records) -> FloatArray:
    """Return the i.i.d. acceptance rate of each prompt, (P,), in [0, 1].

    This is the α for which E[N | L] ([MS] 12) is right on average: the ratio of the formula to the mean tokens of a
    replayed round has mean 1 over L = 1..16. The replay plays 16 rounds from every position. The expected tokens of a
    round follow from β, and its end from the recorded outcomes. The plain mean of β is biased: most rounds begin after
    a rejection, where acceptance is low, and acceptance rises with the position in a round.
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
    """Return the mean expected tokens of a replayed round, for all `FITTED_LENGTHS` and prompts, (lengths, P)."""
    table, runs = _expected_table(records, int(FITTED_LENGTHS[-1])), accepted_runs(records)
    lengths = FITTED_LENGTHS[:, None]
    position = np.broadcast_to(np.arange(len(runs)), (len(lengths), len(runs)))
    total = np.zeros(position.shape)
    for _ in range(_FITTED_ROUNDS):
        total += table[position, lengths]
        position = advance(records, position, np.minimum(runs[position], lengths) + 1)
    return np.add.reduceat(total, records.start, axis=1) / (records.length * _FITTED_ROUNDS)


_PROMPT, _POSITION = 2, 3  # Columns of the uniform variables for the start of a new request


@dataclass(frozen=True, eq=False)
class Recorded(Acceptance):
    """Replay of a record: a request is a prompt of its task, read cyclically from a random position.

    A round with draft length L gains the tokens accepted in a row from the position, at most L, plus one token; the
    position then moves forward by all of them. So the position determines the gain, but an agent that observes only
    counts cannot predict it. The expectation at a position averages over outcomes by their probabilities β. The
    ``rate`` of a request is that of `prompt_rates`; averaged over the prompts of the package's record, it predicts the
    tokens of the replay within 2 % for L up to 16. ``ValueError`` for a bad lifetime, too many tasks in a scenario, or
    a payload that changes the acceptance.

    Parameters
    ----------
    records
        Record to replay; by default the record of the package.
    mean_rounds
        Mean number of rounds of a request, ≥ 1; if infinite, requests never end. Default 16.
    """

    records: Records = field(default_factory=load_records)
    mean_rounds: float = checked_field(16.0, check_mean_rounds)

    def __post_init__(self) -> None:
        if not isinstance(self.records, Records):
            raise ValueError(f"records: expected Records as returned by load_records, got {self.records!r}")
        check_fields(self)

    columns: ClassVar[int] = 4  # end, task, prompt and position
    changes: ClassVar[bool] = True

    @override
    def first(self, scenario: Scenario, task: IntArray, fresh: FloatArray) -> Requests:
        self._check_tasks(scenario)
        if scenario.acceptance_shift:
            expected = "the upload of all probabilities or a greedy target, as tokens are replayed"
            raise ValueError(f"kept_probabilities: expected {expected}, got {scenario.sent_probabilities}")
        position = self._random_position(task, fresh[..., _PROMPT, :], fresh[..., _POSITION, :])
        return Requests(task, self._rates(position), np.zeros(task.shape, dtype=np.int64), position)

    @override
    def next(self, scenario: Scenario, requests: Requests, tokens: FloatArray, fresh: FloatArray) -> Requests:
        self._check_tasks(scenario)
        new, task, drawn, requests = renew_requests(requests, len(scenario.tasks), self.mean_rounds, fresh)
        position = advance(self.records, requests.position, tokens)
        put(position, new, self._random_position(task, drawn[_PROMPT], drawn[_POSITION]))
        return requests._replace(rate=self._rates(position), position=position)

    @override
    def expectation(self, scenario: Scenario, requests: Requests) -> Callable[[IntArray], FloatArray]:
        return partial(self.expected_tokens, requests)

    def expected_tokens(self, requests: Requests, draft_length: IntArray) -> FloatArray:
        """Return E[N] = 1 + Σ_l β_t ⋯ β_{t+l−1} at the positions t of the requests, (..., K)."""
        size = 1 << (int(np.max(draft_length, initial=32)) - 1).bit_length()  # longest draft in the table
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

    def _rates(self, position: IntArray) -> FloatArray:
        return prompt_rates(self.records)[self.records.prompt[position]]

    def _random_position(self, task: IntArray, prompt_uniform: FloatArray, position_uniform: FloatArray) -> IntArray:
        by_task, counts, first = self.records.prompts_by_task
        prompt = by_task[first[task] + uniform_index(prompt_uniform, counts[task])]
        return self.records.start[prompt] + uniform_index(position_uniform, self.records.length[prompt])

    def _check_tasks(self, scenario: Scenario) -> None:
        if len(scenario.tasks) > self.records.num_tasks:
            raise ValueError(
                f"tasks of the scenario: expected at most {self.records.num_tasks}, the number in the record, "
                f"got {len(scenario.tasks)}"
            )
