"""Acceptance rates from a server's log of counts: drafted and accepted tokens of each round of each request (ours).

A round of L drafted tokens that accepts a has the likelihood α^a (1 − α)^{[a < L]}: a run that reaches the end of its
draft is censored. So the accepted tokens A and the rounds with a refusal F say all that the log knows of one rate, and
the likeliest is A / (A + F).
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_label, cut, shown
from multispin_env.evaluation.statistics import LEVEL, RESAMPLES
from multispin_env.files import MIB
from multispin_env.models.prompts import MOST_TASKS
from multispin_env.npz import MOST_NUMBERS, read_file

COLUMNS = ("request", "task", "drafted", "accepted")

LARGEST_FILE = 32 * MIB
"""Bytes of a file of counts."""


@dataclass(frozen=True)
class TaskCounts:
    """What the requests of a task accepted, R of them."""

    task: str
    rounds: int  # rows of the file
    drafted: int  # tokens
    hits: IntArray  # accepted tokens of each request, (R,)
    misses: IntArray  # its rounds with a refusal, (R,)


class RateEstimate(NamedTuple):
    """The rate of a task, from counts."""

    rate: float  # A / (A + F)
    low: float  # ends of the 95 % interval if all requests have one rate: that of Clopper and Pearson for A of A + F
    high: float
    low_over_requests: float  # ends of the 95 % percentile interval of a bootstrap over requests, which may differ
    high_over_requests: float
    mean_over_requests: float  # mean of the Beta law of rates over requests that is likeliest
    std_over_requests: float  # its standard deviation; 0 for a single request, which says nothing of it


def read_counts(path: str | PathLike[str]) -> list[TaskCounts]:
    """Read a log of counts, of tasks in the order in which they come first.

    It is a ``.csv`` file with a header and the columns ``request`` (any name), ``task`` (any name), ``drafted`` and
    ``accepted`` (tokens, accepted ≤ drafted), a row for each round; others are not read. Rounds without a draft say
    nothing. ``ValueError`` for a file that cannot be read or holds anything else, or a task without a drafted token; it
    names the line, counted from 1 with the header, and the field.
    """
    try:
        content = read_file(path, LARGEST_FILE, ".csv")
    except ValueError as error:
        raise ValueError(str(error).replace("path:", "from_counts:", 1)) from None
    try:
        return _by_task(io.StringIO(content.decode("utf-8-sig"), newline=""))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, got the byte {error.object[error.start]:#x}") from None
    except csv.Error as error:
        raise ValueError(f"{path}: expected CSV with commas and a header, got broken CSV ({cut(str(error))})") from None
    except ValueError as error:
        raise ValueError(f"{path}, {error}") from None


def _by_task(text: io.StringIO) -> list[TaskCounts]:
    tasks: dict[str, dict[str, list[int]]] = {}
    totals: dict[str, list[int]] = {}
    for request, task, drafted, accepted in _rows(text):
        counts = tasks.setdefault(task, {}).setdefault(request, [0, 0])
        total = totals.setdefault(task, [0, 0])
        for sums, (first, second) in ((counts, (accepted, int(accepted < drafted))), (total, (1, drafted))):
            sums[0], sums[1] = sums[0] + first, sums[1] + second
    if not tasks or len(tasks) > MOST_TASKS:
        raise ValueError(f"task: expected 1 to {MOST_TASKS} different ones, got {len(tasks)}")
    for task, (rounds, drafted) in totals.items():
        if not drafted:
            raise ValueError(f"drafted: expected a drafted token of task {shown(task)}, got none in {rounds} rounds")
    made = []
    for task, requests in tasks.items():
        hits, misses = np.array(list(requests.values())).T
        rounds, drafted = totals[task]
        made.append(TaskCounts(task, rounds, drafted, hits, misses))
    return made


def _rows(text: io.StringIO) -> Iterator[tuple[str, str, int, int]]:
    reader = csv.reader(text, strict=True)
    header = [cell.strip() for cell in next(reader, [])]
    for name in COLUMNS:
        if header.count(name) != 1:
            raise ValueError(f"header: expected the columns {list(COLUMNS)}, each once, got {shown(header)}")
    places = [header.index(name) for name in COLUMNS]
    read = 0
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        read += 1
        if read > MOST_NUMBERS:
            raise ValueError(f"rows: expected at most {MOST_NUMBERS}, got more")
        line = reader.line_num
        request, task, drafted, accepted = (cells[place].strip() if place < len(cells) else "" for place in places)
        for name, value in (("request", request), ("task", task)):
            if not value:
                raise ValueError(f"line {line}, {name}: expected a text that is not empty, got {value!r}")
        check_label(f"line {line}, task", task)
        tokens = _tokens(line, "drafted", drafted, 1_000_000)
        yield request, task, tokens, _tokens(line, "accepted", accepted, tokens)


def _tokens(line: int, name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most):
        limit = f"{most}, the drafted tokens" if name == "accepted" else str(most)
        raise ValueError(f"line {line}, {name}: expected an integer in 0..{limit}, got {shown(text)}")
    return int(text)


def estimate(counts: TaskCounts, rng: np.random.Generator) -> RateEstimate:
    """Estimate the rate of a task, and how it differs between requests; ``rng`` draws the bootstrap."""
    hits, misses = int(counts.hits.sum()), int(counts.misses.sum())
    pairs, times = np.unique(np.stack([counts.hits, counts.misses], -1), axis=0, return_counts=True)
    return RateEstimate(
        hits / (hits + misses),
        *exact_interval(hits, misses),
        *_bootstrap_interval(pairs, times, rng),
        *beta_law(pairs, times),
    )


def exact_interval(hits: int, misses: int) -> tuple[float, float]:
    """95 % interval of one rate after so many accepted tokens and refusals (Clopper and Pearson).

    Each examined token is a trial whose number may depend on those before, as a round ends with its first refusal. For
    a fixed number of refusals the lower end could be higher; so the interval errs on the safe side.
    """
    from scipy.stats import beta

    tail = (1.0 - LEVEL) / 2.0
    low = float(beta.ppf(tail, hits, misses + 1)) if hits else 0.0
    high = float(beta.ppf(1.0 - tail, hits + 1, misses)) if misses else 1.0
    return low, high


def _bootstrap_interval(pairs: IntArray, times: IntArray, rng: np.random.Generator) -> tuple[float, float]:
    """95 % percentile interval of A / (A + F) over requests drawn anew; ``pairs`` (m, 2) came ``times`` (m,)."""
    total, size = int(times.sum()), max(1, 1_000_000 // len(times))  # bounded memory
    rates = []
    for begin in range(0, RESAMPLES, size):  # requests with equal counts are drawn together
        drawn = rng.multinomial(total, times / total, min(size, RESAMPLES - begin))
        hits, misses = (drawn @ pairs).T
        rates += (hits / np.maximum(hits + misses, 1))[hits + misses > 0].tolist()
    low, high = np.quantile(rates, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return float(low), float(high)


def beta_law(pairs: IntArray, times: IntArray) -> tuple[float, float]:
    """Mean and standard deviation of the likeliest Beta law of rates over requests.

    A request with a hits and f misses has the likelihood B(m κ + a, (1 − m) κ + f) / B(m κ, (1 − m) κ) under the law of
    mean m and concentration κ, whose standard deviation is √(m (1 − m) / (κ + 1)). ``times`` (m,) requests have the
    hits and misses of each of ``pairs`` (m, 2).
    """
    from scipy.optimize import minimize
    from scipy.special import betaln, expit

    seen = pairs.sum(1) > 0
    (hits, misses), weight = pairs[seen].T.astype(float), times[seen]
    mean = float(weight @ hits / (weight @ (hits + misses)))
    if weight.sum() < 2 or mean in (0.0, 1.0):
        return mean, 0.0

    low, high = np.log(1e-3), np.log(1e6)  # of κ: all rates but 0 and 1, and all but equal

    def law(point: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Parameters a = m κ and b = (1 − m) κ of the law at any point of the plane."""
        middle = np.clip(expit(point[0]), 1e-6, 1.0 - 1e-6)
        concentration = np.exp(low + (high - low) * expit(point[1]))
        return middle * concentration, (1.0 - middle) * concentration

    def surprise(point: FloatArray) -> float:
        a, b = law(point)
        return -float(weight @ (betaln(a + hits, b + misses) - betaln(a, b)))

    starts = [(np.log(mean / (1.0 - mean)), start) for start in (-1.0, 0.0, 1.0, 3.0)]
    found = [
        minimize(surprise, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}) for start in starts
    ]
    a, b = law(min(found, key=lambda one: float(one.fun)).x)
    middle, total = float(a / (a + b)), float(a + b)
    same = -float(weight @ (hits * np.log(mean) + misses * np.log1p(-mean)))
    if same <= min(float(one.fun) for one in found) + 1e-6:  # one rate for all says as much
        return mean, 0.0
    return middle, float(np.sqrt(middle * (1.0 - middle) / (total + 1.0)))
