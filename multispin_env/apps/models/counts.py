"""Acceptance rates: of a server's log of counts, and of a record; docs/reference/real-models.md says what they mean.

The accepted tokens A and the rounds with a refusal F say all that a log knows of one rate, whose likeliest value is
A / (A + F) (ours): a run that reaches the end of its draft is censored.
"""

import csv
import io
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from multispin_env.apps.models.prompts import MAX_TASKS
from multispin_env.apps.reproduce.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, legend_below, save
from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, check_label, cut, shown
from multispin_env.evaluation.statistics import LEVEL, RESAMPLES, Cells
from multispin_env.files import MIB
from multispin_env.npz import BOOLEANS, FLOATS, INTEGERS, MOST_NUMBERS, archive_of, read_arrays, read_file
from multispin_env.physics.records import FITTED_LENGTHS, Records, prompt_rates, replayed_expectations
from multispin_env.physics.tokens import expected_tokens
from multispin_env.scenario import Task

_COLUMNS = ("request", "task", "drafted", "accepted")

LARGEST_FILE = 32 * MIB  # bytes of a file of counts


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

    A ``.csv`` file with the columns ``request``, ``task``, ``drafted`` and ``accepted`` (tokens), a row for each round.
    Rounds without a draft say nothing. ``ValueError`` names the line, counted from 1 with the header, and the field.
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
    for request, task, drafted, accepted in _rows(text):
        sums = tasks.setdefault(task, {}).setdefault(request, [0] * 4)
        for index, number in enumerate((1, drafted, accepted, int(accepted < drafted))):
            sums[index] += number
    if not tasks or len(tasks) > MAX_TASKS:
        raise ValueError(f"task: expected 1 to {MAX_TASKS} different ones, got {len(tasks)}")
    made = []
    for task, requests in tasks.items():
        counts = np.array(list(requests.values()))
        (rounds, drafted), (hits, misses) = counts.sum(0)[:2].tolist(), counts[:, 2:].T
        if not drafted:
            raise ValueError(f"drafted: expected a drafted token of task {shown(task)}, got none in {rounds} rounds")
        made.append(TaskCounts(task, rounds, drafted, hits, misses))
    return made


def _rows(text: io.StringIO) -> Iterator[tuple[str, str, int, int]]:
    reader = csv.reader(text, strict=True)
    header = [cell.strip() for cell in next(reader, [])]
    for name in _COLUMNS:
        if header.count(name) != 1:
            raise ValueError(f"header: expected the columns {list(_COLUMNS)}, each once, got {shown(header)}")
    positions = [header.index(name) for name in _COLUMNS]
    read = 0
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        read += 1
        if read > MOST_NUMBERS:
            raise ValueError(f"rows: expected at most {MOST_NUMBERS}, got more")
        line = reader.line_num
        request, task, drafted, accepted = (
            cells[position].strip() if position < len(cells) else "" for position in positions
        )
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


_KINDS = {"length": INTEGERS, "probability": FLOATS, "accepted": BOOLEANS, "overlap": FLOATS}


class RecordedTexts(NamedTuple):
    """Texts of some prompts, one behind the other."""

    length: IntArray  # positions of each, (P,)
    probability: FloatArray  # β at each position, (N,), in float16
    accepted: BoolArray  # (N,)
    overlap: FloatArray  # (N,), in float16

    def line(self) -> str:
        """An archive of the arrays, as letters."""
        return b64encode(archive_of(self._asdict())).decode()


def parse_texts(line: str) -> RecordedTexts:
    """Texts of a line; ``ValueError`` for one that says no texts."""
    texts = RecordedTexts(**read_arrays(b64decode(line, validate=True), _KINDS))
    if any(len(one) != texts.length.sum() for one in texts[1:]) or min(texts.length, default=0) < 0:
        raise ValueError(f"length: expected {len(texts.accepted)} positions in all, got {texts.length.sum()}")
    return texts


ALL = "all"  # row of all tasks together

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK)
"""Of the tasks in a picture, which shows no more of them, and of batch sizes."""

_SUMMARY_COLUMNS = 3  # panels in a row


@dataclass(frozen=True)
class _RoundTokens:
    draft_length: int
    replayed: float  # along the record, with β for what each round gains
    formula: float  # E[N | L] of [MS] (12) at each prompt's rate

    @property
    def off(self) -> float:
        return self.formula / self.replayed - 1.0


@dataclass(frozen=True)
class _TaskSummary:
    task: str
    prompts: int
    positions: int
    mean_probability: float  # mean of β over positions
    token_std: float  # its standard deviation between positions
    overlap: float | None  # mean of Σ min(p, q); ``None`` where the record does not say it
    rate: float  # α of the i.i.d. formula, mean over prompts (see `prompt_rates`)
    prompt_std: float  # standard deviation of α between prompts
    rounds: tuple[_RoundTokens, ...]  # for L = 1..16

    @property
    def worst(self) -> _RoundTokens:
        return max(self.rounds, key=lambda one: abs(one.off))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"rounds": [asdict(one) | {"off": one.off} for one in self.rounds]}


def summarise(records: Records, overlap: FloatArray | None, names: Sequence[str]) -> list[_TaskSummary]:
    """A row for each task of a record, and behind them one for all if there are several.

    ``overlap`` is Σ min(p, q) at each position, (N,), or ``None``.
    """
    check_integer("tasks", len(names), records.num_tasks, records.num_tasks)
    rows = [_summary(records, overlap, name, records.task == index) for index, name in enumerate(names)]
    return rows if len(rows) == 1 else [*rows, _summary(records, overlap, ALL, records.task >= 0)]


def _summary(records: Records, overlap: FloatArray | None, name: str, prompts: BoolArray) -> _TaskSummary:
    positions = prompts[records.prompt]
    beta, rate = records.probability[positions], prompt_rates(records)[prompts]
    replayed = replayed_expectations(records)[:, prompts].mean(1)
    formula = expected_tokens(FITTED_LENGTHS[:, None], rate).mean(1)
    return _TaskSummary(
        task=name,
        prompts=int(prompts.sum()),
        positions=len(beta),
        mean_probability=float(beta.mean()),
        token_std=float(beta.std()),
        overlap=None if overlap is None else float(overlap[positions].mean()),
        rate=float(rate.mean()),
        prompt_std=float(rate.std()),
        rounds=tuple(map(_RoundTokens, FITTED_LENGTHS.tolist(), replayed.tolist(), formula.tolist())),
    )


def make_tasks(rows: Sequence[_TaskSummary]) -> tuple[Task, ...]:
    """Tasks of a scenario: α, and its standard deviation between prompts."""
    return tuple(
        Task(name=row.task, acceptance_rate=row.rate, acceptance_std=row.prompt_std) for row in _of_tasks(rows)
    )


def _of_tasks(rows: Sequence[_TaskSummary]) -> Sequence[_TaskSummary]:
    return rows[:-1] if len(rows) > 1 else rows


def task_cells(rows: Sequence[_TaskSummary]) -> tuple[Cells, list[Cells]]:
    """Header and lines of the table of rates."""
    header = ("task", "prompts", "positions", "mean β", "± tokens", "overlap", "α", "± prompts", "formula off", "at L")
    lines: list[Cells] = [
        (
            row.task,
            str(row.prompts),
            str(row.positions),
            f"{row.mean_probability:.3f}",
            f"{row.token_std:.3f}",
            "" if row.overlap is None else f"{row.overlap:.3f}",
            f"{row.rate:.3f}",
            f"{row.prompt_std:.3f}",
            f"{100.0 * row.worst.off:+.1f} %",
            str(row.worst.draft_length),
        )
        for row in rows
    ]
    return header, lines


def round_cells(rows: Sequence[_TaskSummary]) -> tuple[Cells, list[Cells]]:
    """Header and lines of the table of rounds: replayed tokens, and how far the formula is off."""
    header = ("L", *(row.task for row in rows))
    lines: list[Cells] = [
        (str(rounds[0].draft_length), *(f"{one.replayed:.2f} {100.0 * one.off:+5.1f} %" for one in rounds))
        for rounds in zip(*(row.rounds for row in rows), strict=True)
    ]
    return header, lines


def draw_summary(rows: Sequence[_TaskSummary], records: Records, stem: Path) -> None:
    """Write ``stem.png``: for each task the tokens a round against the formula; then β by position, and α by prompt."""
    shown = _of_tasks(rows)[: len(COLOURS)]
    panels = len(shown) + 2
    height = -(-panels // _SUMMARY_COLUMNS)

    def draw(figure: Any) -> None:
        grid = figure.subplots(height, _SUMMARY_COLUMNS, squeeze=False).ravel()
        for axes, row in zip(grid, shown, strict=False):
            _draw_rounds(axes, row)
        _draw_probabilities(grid[len(shown)], shown, records)
        _draw_rates(grid[len(shown) + 1], shown, records)
        for axes in grid[panels:]:
            axes.set_axis_off()
        legend_below(figure, grid[0], 2)

    save(draw, (3.3 * _SUMMARY_COLUMNS, 2.6 * height + 0.3), stem, (".png",))


def _draw_rounds(axes: Any, row: _TaskSummary) -> None:
    lengths = [one.draft_length for one in row.rounds]
    axes.plot(lengths, [one.replayed for one in row.rounds], color=BLUE, marker="o", markersize=3.5, label="replayed")
    formula = [one.formula for one in row.rounds]
    axes.plot(lengths, formula, color=BLACK, linestyle="--", label="E[N] at the prompts' α")
    axes.set_title(f"{row.task}: α {row.rate:.3f}, {row.prompts} prompt{'s' if row.prompts > 1 else ''}")
    axes.set_xlabel("draft length L (tokens)")
    axes.set_ylabel("tokens a round")
    axes.set_xticks([1, *(length for length in lengths if length % 4 == 0)])
    axes.set_ylim(0.0, 1.08 * max(one.replayed for one in row.rounds))


def _draw_probabilities(axes: Any, rows: Sequence[_TaskSummary], records: Records) -> None:
    for index, row in enumerate(rows):
        beta = np.sort(records.probability[records.task[records.prompt] == index])
        share = np.arange(1, len(beta) + 1) / len(beta)
        axes.step(beta, share, where="post", color=COLOURS[index], linewidth=1.3, label=row.task)
    axes.set_title("β at the positions of the texts")
    axes.set_xlabel("β")
    axes.set_ylabel("share of positions up to β")
    axes.set_ylim(0.0, 1.0)
    axes.legend(frameon=False, fontsize="small")


def _draw_rates(axes: Any, rows: Sequence[_TaskSummary], records: Records) -> None:
    rates = prompt_rates(records)
    for index, row in enumerate(rows):
        mine = rates[records.task == index]
        axes.plot(np.full(len(mine), index), mine, "o", color=COLOURS[index], markersize=3.5, alpha=0.6)
        axes.errorbar(index + 0.25, row.rate, row.prompt_std, color=BLACK, marker="s", markersize=4, capsize=3)
    axes.set_xticks(range(len(rows)), [row.task for row in rows], rotation=30 if len(rows) > 4 else 0)
    axes.set_title("α of each prompt; mean ± std")
    axes.set_ylabel("α")
    axes.set_xlim(-0.5, len(rows) - 0.25)
