"""Bootstrap intervals, tables as text, CSV, JSON and Markdown, and the seeds of training, tuning and evaluation.

The ranges of seeds are disjoint, so nothing is evaluated on training data.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, Union

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HELD_OUT_SEED = 2606_04581  # seed of the states for comparisons; training never uses it
VALIDATION_SEED = 2606_04582  # seed of the states for validation during training
NUM_STATE_SEEDS = 2 * 10**6  # number of seeds reserved for states, from `HELD_OUT_SEED` on

NUM_EPISODE_SEEDS = 10**8  # number of seeds from each of the next two on: environment i of a vector has seed + i
TUNING_SEED = 10**9  # first seed of the episodes for tuning and validation
EPISODE_SEED = TUNING_SEED + NUM_EPISODE_SEEDS  # first seed of the episodes for comparisons

BOOTSTRAP_SEED, RESAMPLES, LEVEL = 0, 2000, 0.95  # of intervals; all rows use the same seed


class Interval(NamedTuple):
    """A statistic with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: FloatArray) -> Interval:
    """Return the mean of n ≥ 2 values (n,) with its 95 % percentile bootstrap interval."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values: expected shape (n,) with n ≥ 2, got {values.shape}")
    from scipy.stats import bootstrap  # imported late: it takes longer to import than this whole package

    limits = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        batch=100,
        rng=np.random.default_rng(BOOTSTRAP_SEED),
    ).confidence_interval
    return Interval(float(values.mean()), float(limits.low), float(limits.high))


def block_intervals(
    numbers: FloatArray,
    statistic: Callable[[FloatArray], FloatArray],
    block: int,
) -> list[Interval]:
    """Return statistics of sums over successive rounds with 95 % intervals by the circular block bootstrap.

    Rounds of one request are dependent. So blocks of successive rounds are drawn with replacement; all starts are
    equally likely, and the first round follows the last. Statistics of the same draw are paired. With few blocks, 95 %
    percentiles are too narrow: for m = n / block blocks the normal quantile of their level is that of Student's t times
    sqrt(m / (m − 1)) (expanded percentiles: Hesterberg, The American Statistician 69, 2015). Each limit is the
    statistic of a draw, so that of a ratio of positive sums is not negative.

    ``numbers`` (n, c) has c numbers of n ≥ 2 successive rounds. ``statistic`` maps sums over rounds (..., c) to
    (..., m), such as ratios of sums; draws in which it is NaN do not count, and limits may be infinite. A block has 1
    round, if rounds are independent, to n / 2 rounds. Each ``mean`` is the statistic of all rounds.
    """
    from scipy.special import ndtr, stdtrit  # imported late, as above

    numbers = np.asarray(numbers, dtype=np.float64)
    if numbers.ndim != 2 or len(numbers) < 2:
        raise ValueError(f"numbers: expected shape (n, c) with n ≥ 2, got {numbers.shape}")
    count = len(numbers)
    check_integer("block", block, 1, count // 2)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    starts = np.arange(count)[:, None]
    sums = numbers[(starts + np.arange(block)) % count].sum(1)  # (n, c), by the start of the block
    blocks = count / block
    drawn = (generator.integers(0, count, round(blocks)) for _ in range(RESAMPLES))
    resampled = statistic(np.array([sums[rows].sum(0) for rows in drawn]))
    means = statistic(numbers.sum(0))
    high = ndtr(np.sqrt(blocks / (blocks - 1.0)) * stdtrit(blocks - 1.0, 0.5 + LEVEL / 2.0))
    # an interpolation between infinite values would be NaN
    limits = np.nanquantile(resampled, [1.0 - high, high], axis=0, method="inverted_cdf")
    return [Interval(float(mean), float(low), float(high)) for mean, low, high in zip(means, *limits, strict=True)]


Cells = tuple[str, ...]
"""Cells of one line of a table."""


Row = TypeVar("Row")


def table(rows: Iterable[Row], columns: Mapping[str, Callable[[Row], str]]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of a table; ``columns`` have a title and the text of a row's cell."""
    return tuple(columns), [tuple(text(row) for text in columns.values()) for row in rows]


_Content = Union["DataclassInstance", Mapping[str, Any]]


def _content(row: _Content) -> Mapping[str, Any]:
    to_dict = getattr(row, "to_dict", None)
    if to_dict is not None:
        return to_dict()
    return row if isinstance(row, Mapping) else asdict(row)


def to_json(rows: Sequence[_Content], about: Mapping[str, Any]) -> str:
    """Return JSON text with ``about`` and the rows, which are dataclasses or mappings."""
    return json.dumps({"about": dict(about), "rows": list(map(_content, rows))}, indent=2, ensure_ascii=False)


def to_csv(rows: Sequence[_Content]) -> str:
    """Return CSV text with a header for one or more dataclasses or mappings with the same names and no nested values.

    Spreadsheets would take a text that begins with "=", "+", "-" or "@" for a formula; it gets a leading apostrophe.
    """
    text = io.StringIO()
    contents = list(map(_content, rows))
    writer = csv.DictWriter(text, list(contents[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _no_formula(value) for name, value in row.items()} for row in contents)
    return text.getvalue()


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def markdown(header: Cells, lines: Sequence[Cells]) -> str:
    """Return a Markdown table; the first column has names, the others numbers."""
    rule = ("---", *["---:"] * (len(header) - 1))
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def drafting_note(drafted: Mapping[str, float]) -> str:
    """Return a paragraph below a table with the contenders under which no device drafts; "" if there are none."""
    names = [name for name, tokens in drafted.items() if tokens == 0.0]
    return f"\n\nno device drafts: {', '.join(names)}" if names else ""


def aligned(header: Cells, lines: Sequence[Cells]) -> str:
    """Return a plain text table; the first column has names, the others numbers."""
    widths = [max(len(line[column]) for line in (header, *lines)) for column in range(len(header))]

    def padded(line: Cells) -> str:
        numbers = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        return "  ".join([line[0].ljust(widths[0]), *numbers]).rstrip()

    return "\n".join([padded(header), "  ".join("-" * width for width in widths), *map(padded, lines)])
