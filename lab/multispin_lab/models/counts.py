"""Acceptance rates from a server's log of counts and from a record: see docs/reference/real-models.md.

The accepted tokens A and the rounds with a refusal F are sufficient statistics of a single rate, whose maximum
likelihood estimate is A / (A + F): a run that reaches the end of its draft is censored.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, check_label, located, shown
from multispin_env.draft import expected_tokens
from multispin_env.evaluation.drawing import BLACK, BLUE, save
from multispin_env.evaluation.statistics import LEVEL, RESAMPLES, Cells, table
from multispin_env.files import MIB, read_csv
from multispin_env.npz import BOOLEANS, FLOATS, INTEGERS, MOST_NUMBERS, read_arrays, read_file
from multispin_env.physics.records import FITTED_LENGTHS, Records, prompt_rates, replayed_expectations
from multispin_env.scenario import Task
from multispin_lab.drawing import COLOURS, Series, legend_below
from multispin_lab.models.prompts import MAX_TASKS
from multispin_lab.models.record_files import CONFIDENCES, archive_of

_COLUMNS = ("request", "task", "drafted", "accepted")

LARGEST_FILE = 32 * MIB  # bytes


@dataclass(frozen=True)
class TaskCounts:
    """Counts of a task with R requests."""

    task: str
    rounds: int  # rows of the file
    drafted: int  # tokens
    hits: IntArray  # accepted tokens of each request, (R,)
    misses: IntArray  # rounds of each request with a refusal, (R,)


class RateEstimate(NamedTuple):
    """Estimate of a task's acceptance rate from counts."""

    rate: float  # A / (A + F)
    low: float  # ends of the 95 % interval if all requests have the same rate (Clopper and Pearson, A of A + F)
    high: float
    low_over_requests: float  # ends of the 95 % percentile interval of a bootstrap over requests
    high_over_requests: float
    mean_over_requests: float  # mean of the maximum-likelihood Beta distribution of rates over requests
    std_over_requests: float  # its standard deviation; 0 for a single request


def read_counts(path: str | PathLike[str]) -> list[TaskCounts]:
    """Read a log of counts; tasks are in the order of their first row.

    A ``.csv`` file with the columns ``request``, ``task``, ``drafted`` and ``accepted`` (tokens), and a row per round.
    Rounds without a draft are ignored. ``ValueError`` names the line (from 1, with the header) and the field.
    """
    content = read_file(path, LARGEST_FILE, ".csv", "from_counts")
    with located(path):
        return _by_task(content)


def _by_task(content: bytes) -> list[TaskCounts]:
    tasks: dict[str, dict[str, list[int]]] = {}
    for request, task, drafted, accepted in _rows(content):
        sums = tasks.setdefault(task, {}).setdefault(request, [0] * 4)
        for index, number in enumerate((1, drafted, accepted, int(accepted < drafted))):
            sums[index] += number
    if not tasks or len(tasks) > MAX_TASKS:
        raise ValueError(f"task: expected 1 to {MAX_TASKS} different tasks, got {len(tasks)}")
    results = []
    for task, requests in tasks.items():
        counts = np.array(list(requests.values()))
        (rounds, drafted), (hits, misses) = counts.sum(0)[:2].tolist(), counts[:, 2:].T
        if not drafted:
            raise ValueError(f"drafted: expected a drafted token of task {shown(task)}, got none in {rounds} rounds")
        results.append(TaskCounts(task, rounds, drafted, hits, misses))
    return results


def _rows(content: bytes) -> Iterator[tuple[str, str, int, int]]:
    for line, (request, task, drafted, accepted) in read_csv(content, _COLUMNS, MOST_NUMBERS):
        for name, value in (("request", request), ("task", task)):
            if not value:
                raise ValueError(f"line {line}, {name}: expected a non-empty string, got {value!r}")
        check_label(f"line {line}, task", task)
        tokens = _tokens(line, "drafted", drafted, 1_000_000)
        yield request, task, tokens, _tokens(line, "accepted", accepted, tokens)


def _tokens(line: int, name: str, text: str, maximum: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= maximum):
        limit = f"{maximum}, the drafted tokens" if name == "accepted" else str(maximum)
        raise ValueError(f"line {line}, {name}: expected an integer in 0..{limit}, got {shown(text)}")
    return int(text)


def estimate(counts: TaskCounts, rng: np.random.Generator) -> RateEstimate:
    """Estimate the rate of a task and its spread over requests; ``rng`` draws the bootstrap."""
    hits, misses = int(counts.hits.sum()), int(counts.misses.sum())
    pairs, times = np.unique(np.stack([counts.hits, counts.misses], -1), axis=0, return_counts=True)
    return RateEstimate(
        hits / (hits + misses),
        *exact_interval(hits, misses),
        *_bootstrap_interval(pairs, times, rng),
        *beta_law(pairs, times),
    )


def exact_interval(hits: int, misses: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate from accepted tokens and refusals (Clopper and Pearson).

    The number of trials (examined tokens) is random, as a round ends with its first refusal. For a fixed number of
    refusals the lower end could be higher, so the interval is conservative.
    """
    from scipy.stats import beta

    tail = (1.0 - LEVEL) / 2.0
    low = float(beta.ppf(tail, hits, misses + 1)) if hits else 0.0
    high = float(beta.ppf(1.0 - tail, hits + 1, misses)) if misses else 1.0
    return low, high


def _bootstrap_interval(pairs: IntArray, times: IntArray, rng: np.random.Generator) -> tuple[float, float]:
    total, size = int(times.sum()), max(1, 1_000_000 // len(times))  # bounded memory
    rates = []
    for begin in range(0, RESAMPLES, size):  # requests with equal counts (A, F) are drawn together
        drawn = rng.multinomial(total, times / total, min(size, RESAMPLES - begin))
        hits, misses = (drawn @ pairs).T
        rates += (hits / np.maximum(hits + misses, 1))[hits + misses > 0].tolist()
    low, high = np.quantile(rates, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return float(low), float(high)


def beta_law(pairs: IntArray, times: IntArray) -> tuple[float, float]:
    """Return mean and standard deviation of the maximum-likelihood Beta distribution of rates over requests.

    A request with a hits and f misses has the likelihood B(m κ + a, (1 − m) κ + f) / B(m κ, (1 − m) κ) for mean m and
    concentration κ; the standard deviation is √(m (1 − m) / (κ + 1)). ``times`` (m,) requests have the hits and misses
    of each of ``pairs`` (m, 2).
    """
    from scipy.optimize import minimize
    from scipy.special import betaln, expit

    seen = pairs.sum(1) > 0
    (hits, misses), weight = pairs[seen].T.astype(float), times[seen]
    mean = float(weight @ hits / (weight @ (hits + misses)))
    if weight.sum() < 2 or mean in (0.0, 1.0):
        return mean, 0.0

    low, high = np.log(1e-3), np.log(1e6)  # range of log κ: from rates near 0 and 1 to nearly equal rates

    def parameters(point: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return a = m κ and b = (1 − m) κ at a point of the plane."""
        middle = np.clip(expit(point[0]), 1e-6, 1.0 - 1e-6)
        concentration = np.exp(low + (high - low) * expit(point[1]))
        return middle * concentration, (1.0 - middle) * concentration

    def loss(point: FloatArray) -> float:
        a, b = parameters(point)
        return -float(weight @ (betaln(a + hits, b + misses) - betaln(a, b)))

    starts = [(np.log(mean / (1.0 - mean)), start) for start in (-1.0, 0.0, 1.0, 3.0)]
    options = {"xatol": 1e-6, "fatol": 1e-9}
    best = min(
        (minimize(loss, start, method="Nelder-Mead", options=options) for start in starts),
        key=lambda result: float(result.fun),
    )
    equal_loss = -float(weight @ (hits * np.log(mean) + misses * np.log1p(-mean)))
    if equal_loss <= float(best.fun) + 1e-6:  # equal rates explain the counts as well
        return mean, 0.0
    a, b = parameters(best.x)
    middle, total = float(a / (a + b)), float(a + b)
    return middle, float(np.sqrt(middle * (1.0 - middle) / (total + 1.0)))


_FLOATS = ("overlap", "kept", "confidence")
_KINDS = {"length": INTEGERS, "probability": FLOATS, "accepted": BOOLEANS} | dict.fromkeys(_FLOATS, FLOATS)

KEPT = (1, 4, 16, 64, 256, 1024)
"""Numbers of uploaded probabilities for which the acceptance of a sampling target is recorded."""


class RecordedTexts(NamedTuple):
    """Texts of P prompts, concatenated."""

    length: IntArray  # positions of each text, (P,)
    probability: FloatArray  # β at each position, (N,), in float16
    accepted: BoolArray  # (N,)
    overlap: FloatArray  # (N,), in float16
    kept: FloatArray  # overlap with each number of `KEPT` probabilities, (N len(KEPT),), in float16
    confidence: FloatArray  # `CONFIDENCES` at each position, (3 N,), in float16

    @property
    def shifts(self) -> tuple[tuple[int, float], ...]:
        """Pairs (probabilities, shift of the mean overlap in logits), as in `Scenario.acceptance_shifts`."""
        means = np.array([self.overlap.mean(dtype=np.float64), *self.kept.reshape(-1, len(KEPT)).mean(0, np.float64)])
        logits = np.log(np.clip(means, 1e-6, 1.0 - 1e-6) / (1.0 - np.clip(means, 1e-6, 1.0 - 1e-6)))
        return tuple(zip(KEPT, (logits[1:] - logits[0]).tolist(), strict=True))

    def line(self) -> str:
        """Encode the arrays as Base64 text."""
        return b64encode(archive_of(self._asdict())).decode()


def parse_texts(line: str) -> RecordedTexts:
    """Decode texts from a line of `RecordedTexts.line`; ``ValueError`` for any other line."""
    texts = RecordedTexts(**read_arrays(b64decode(line, validate=True), _KINDS))
    sizes = np.array([len(array) for array in texts[1:]])
    expected = texts.length.sum() * np.array([1, 1, 1, len(KEPT), len(CONFIDENCES)])
    if (sizes != expected).any() or min(texts.length, default=0) < 0:
        raise ValueError(f"length: expected {len(texts.accepted)} positions in all, got {texts.length.sum()}")
    return texts


ALL = "all"  # name of the row over all tasks

_SUMMARY_COLUMNS = 3  # panels per row


@dataclass(frozen=True)
class _RoundTokens:
    draft_length: int
    replayed: float  # mean tokens of rounds replayed along the record
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
    token_std: float  # standard deviation of β over positions
    overlap: float | None  # mean of Σ min(p, q); ``None`` if not in the record
    rate: float  # α of the i.i.d. formula, mean over prompts (see `prompt_rates`)
    prompt_std: float  # standard deviation of α over prompts
    rounds: tuple[_RoundTokens, ...]  # for L = 1..16
    explained: dict[str, float | None]  # `explained_share` of each of `CONFIDENCES` in the record

    @property
    def worst(self) -> _RoundTokens:
        return max(self.rounds, key=lambda entry: abs(entry.off))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"rounds": [asdict(entry) | {"off": entry.off} for entry in self.rounds]}


_FOLDS = 10  # groups of prompts, at most


def explained_share(confidence: FloatArray, probability: FloatArray, prompt: IntArray) -> float | None:
    """Return ρ, the share of the variance of β that a confidence explains at prompts that were not fitted.

    β is fitted to all groups of prompts but one as a nondecreasing function of ``confidence``, and predicted in that
    group; ρ compares the squared errors with those of the mean of the fitted groups. A useless confidence has about 0,
    also slightly below. ``None`` for a single prompt, or if β does not vary.

    Parameters
    ----------
    confidence
        Confidence in the token drafted at each position, (N,); only its order matters.
    probability
        β at each position, the acceptance expected of the drafted token, (N,), or outcomes: 0 or 1.
    prompt
        Prompt of each position, (N,).

    Examples
    --------
    >>> confidence, accepted = np.tile([[0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 0, 1, 1, 1, 1]], 8)
    >>> round(explained_share(confidence, accepted, np.repeat(np.arange(8), 10)), 3)
    0.36
    """
    from scipy.optimize import isotonic_regression

    group = np.unique(prompt, return_inverse=True)[1] % _FOLDS
    if not group.any() or probability.min() == probability.max():
        return None
    error = total = 0.0
    for number in range(group.max() + 1):
        known, new = group != number, group == number
        levels, level, count = np.unique(confidence[known], return_inverse=True, return_counts=True)
        mean = np.bincount(level, probability[known]) / count
        predicted = np.interp(confidence[new], levels, isotonic_regression(mean, weights=count).x)
        error += float(((probability[new] - predicted) ** 2).sum())
        total += float(((probability[new] - probability[known].mean()) ** 2).sum())
    return 1.0 - error / total


def summarise(records: Records, extras: Mapping[str, FloatArray], names: Sequence[str]) -> list[_TaskSummary]:
    """Return a row for each task of a record, and a last row over all tasks if there are several.

    ``extras`` are those of `load_extras`.
    """
    check_integer("tasks", len(names), records.num_tasks, records.num_tasks)
    rows = [_summary(records, extras, name, records.task == index) for index, name in enumerate(names)]
    return rows if len(rows) == 1 else [*rows, _summary(records, extras, ALL, records.task >= 0)]


def _summary(records: Records, extras: Mapping[str, FloatArray], name: str, prompts: BoolArray) -> _TaskSummary:
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
        overlap=float(extras["overlap"][positions].mean()) if "overlap" in extras else None,
        rate=float(rate.mean()),
        prompt_std=float(rate.std()),
        rounds=tuple(map(_RoundTokens, FITTED_LENGTHS.tolist(), replayed.tolist(), formula.tolist())),
        explained={
            kind: explained_share(sign * extras[kind][positions], beta, records.prompt[positions])
            for kind, sign in zip(CONFIDENCES, (1.0, 1.0, -1.0), strict=True)  # sure of a token: a low entropy
            if kind in extras
        },
    )


def make_tasks(rows: Sequence[_TaskSummary]) -> tuple[Task, ...]:
    """Make the tasks of a scenario: α and its standard deviation over prompts."""
    return tuple(
        Task(name=row.task, acceptance_rate=row.rate, acceptance_std=row.prompt_std) for row in _without_total(rows)
    )


def _without_total(rows: Sequence[_TaskSummary]) -> Sequence[_TaskSummary]:
    return rows[:-1] if len(rows) > 1 else rows


def task_cells(rows: Sequence[_TaskSummary]) -> tuple[Cells, list[Cells]]:
    """Return header and rows of the table of rates."""
    return table(
        rows,
        {
            "task": lambda row: row.task,
            "prompts": lambda row: str(row.prompts),
            "positions": lambda row: str(row.positions),
            "mean β": lambda row: f"{row.mean_probability:.3f}",
            "± tokens": lambda row: f"{row.token_std:.3f}",
            "overlap": lambda row: "" if row.overlap is None else f"{row.overlap:.3f}",
            "α": lambda row: f"{row.rate:.3f}",
            "± prompts": lambda row: f"{row.prompt_std:.3f}",
            "formula error": lambda row: f"{100.0 * row.worst.off:+.1f} %",
            "at L": lambda row: str(row.worst.draft_length),
        },
    )


def confidence_cells(rows: Sequence[_TaskSummary]) -> tuple[Cells, list[Cells]]:
    """Return header and rows of the table of `explained_share`."""
    header = ("task", *(kind.replace("_", " ") for kind in rows[0].explained))
    shares = [["-" if share is None else f"{share:z.3f}" for share in row.explained.values()] for row in rows]
    return header, [(row.task, *cells) for row, cells in zip(rows, shares, strict=True)]


def round_cells(rows: Sequence[_TaskSummary]) -> tuple[Cells, list[Cells]]:
    """Return header and rows of the table of rounds: replayed tokens, and the error of the formula."""
    header = ("L", *(row.task for row in rows))
    lines: list[Cells] = [
        (str(rounds[0].draft_length), *(f"{entry.replayed:.2f} {100.0 * entry.off:+5.1f} %" for entry in rounds))
        for rounds in zip(*(row.rounds for row in rows), strict=True)
    ]
    return header, lines


def draw_summary(rows: Sequence[_TaskSummary], records: Records, stem: Path) -> None:
    """Draw ``stem.png``: tokens per round by task, the distribution of β over positions, and α by prompt."""
    tasks = _without_total(rows)[: len(COLOURS)]
    panels = len(tasks) + 2
    height = -(-panels // _SUMMARY_COLUMNS)

    def draw(figure: Any) -> None:
        grid = figure.subplots(height, _SUMMARY_COLUMNS, squeeze=False).ravel()
        for axes, row in zip(grid, tasks, strict=False):
            _draw_rounds(axes, row)
        _draw_probabilities(grid[len(tasks)], tasks, records)
        _draw_rates(grid[len(tasks) + 1], tasks, records)
        for axes in grid[panels:]:
            axes.set_axis_off()
        legend_below(figure, grid[0], 2)

    save(draw, (3.3 * _SUMMARY_COLUMNS, 2.6 * height + 0.3), stem, (".png",))


def _draw_rounds(axes: Any, row: _TaskSummary) -> None:
    points = list(map(vars, row.rounds))
    Series("replayed", (BLUE, "o", "-"), "replayed").draw(axes, points, "draft_length")
    Series("E[N] at the prompts' α", (BLACK, "", "--"), "formula").draw(axes, points, "draft_length")
    title = f"{row.task}: α {row.rate:.3f}, {row.prompts} prompt{'s' if row.prompts > 1 else ''}"
    top = 1.08 * max(entry.replayed for entry in row.rounds)
    axes.set(title=title, xlabel="draft length L (tokens)", ylabel="tokens per round", ylim=(0.0, top))
    axes.set_xticks([1, *range(4, len(row.rounds) + 1, 4)])


def _draw_probabilities(axes: Any, rows: Sequence[_TaskSummary], records: Records) -> None:
    for index, row in enumerate(rows):
        beta = np.sort(records.probability[records.task[records.prompt] == index])
        share = np.arange(1, len(beta) + 1) / len(beta)
        axes.step(beta, share, where="post", color=COLOURS[index], linewidth=1.3, label=row.task)
    title, label = "distribution of β over positions", "share of positions with at most β"
    axes.set(title=title, xlabel="β", ylabel=label, ylim=(0.0, 1.0))
    axes.legend(frameon=False, fontsize="small")


def _draw_rates(axes: Any, rows: Sequence[_TaskSummary], records: Records) -> None:
    rates = prompt_rates(records)
    for index, row in enumerate(rows):
        values = rates[records.task == index]
        axes.plot(np.full(len(values), index), values, "o", color=COLOURS[index], markersize=3.5, alpha=0.6)
        axes.errorbar(index + 0.25, row.rate, row.prompt_std, color=BLACK, marker="s", markersize=4, capsize=3)
    axes.set_xticks(range(len(rows)), [row.task for row in rows], rotation=30 if len(rows) > 4 else 0)
    axes.set(title="α of each prompt; mean ± std", ylabel="α", xlim=(-0.5, len(rows) - 0.25))
