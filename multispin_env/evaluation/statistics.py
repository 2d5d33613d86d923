"""Statistics: means with bootstrap intervals, tables as text, CSV, JSON and Markdown, and the seeds of everything.

Evaluation, tuning and training share out the seeds, so that nothing is measured on what taught it.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

BOOTSTRAP_SEED = 0
"""Intervals are computed with a generator of this seed for each row, so that a table repeats to the bit."""

HELD_OUT_SEED = 2606_04581
"""Seed of the states that everything is compared on; training never uses it."""

VALIDATION_SEED = 2606_04582
"""Seed of the states that a training run watches itself on."""

NUM_STATE_SEEDS = 2 * 10**6
"""Seeds from the first of the two above on that are kept for states, so that fresh ones can be drawn."""

NUM_EPISODE_SEEDS = 10**8
"""Episodes that each of the two seeds below may start: copy i of a vector environment is seeded with seed + i."""

TUNING_SEED = 10**9
"""First seed of the episodes that estimators are tuned on; whatever trains may use it and those below it."""

EPISODE_SEED = TUNING_SEED + NUM_EPISODE_SEEDS
"""First seed of the episodes that contenders are compared on; training and tuning never use it or those above it."""


RESAMPLES = 2000
LEVEL = 0.95


class Interval(NamedTuple):
    """A statistic with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: FloatArray) -> Interval:
    """Mean of at least two values (n,) with the 95 % percentile bootstrap interval over them."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values: expected shape (n,) with n ≥ 2, got {values.shape}")
    from scipy.stats import bootstrap  # late: it takes longer to import than all of this package

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
    """Statistics of sums over successive rounds, with 95 % intervals by the circular block bootstrap.

    Rounds of one request depend on each other. So whole blocks of successive rounds are drawn with replacement, each
    position equally likely to begin one; the first round follows the last. Statistics of the same draw are paired. Few
    blocks differ less from each other than those of more rounds would: percentiles of m = n / block blocks are
    stretched by sqrt(m / (m − 1)) and by Student's t over the normal quantile.

    ``numbers`` are c of each of n ≥ 2 successive rounds, (n, c). The statistic goes from sums over rounds (..., c) to
    (..., m): ratios of sums, and differences of ratios. A block has 1 to n / 2 rounds. Each ``mean`` is that of the
    rounds themselves.
    """
    from scipy.special import ndtri, stdtrit  # late, as above

    numbers = np.asarray(numbers, dtype=np.float64)
    if numbers.ndim != 2 or len(numbers) < 2:
        raise ValueError(f"numbers: expected shape (n, c) with n ≥ 2, got {numbers.shape}")
    count = len(numbers)
    check_integer("block", block, 1, count // 2)
    generator = np.random.default_rng(BOOTSTRAP_SEED)
    begun = np.arange(count)[:, None]
    sums = numbers[(begun + np.arange(block)) % count].sum(1)  # (n, c) of the block that begins there
    drawn = generator.integers(0, count, (RESAMPLES, round(count / block)))
    resampled = statistic(sums[drawn].sum(1))
    own = statistic(numbers.sum(0))
    levels = np.array([0.5 - LEVEL / 2.0, 0.5 + LEVEL / 2.0])
    blocks = count / block
    stretch = np.sqrt(blocks / (blocks - 1.0)) * stdtrit(blocks - 1.0, levels[1]) / ndtri(levels[1])
    limits = own + stretch * (np.quantile(resampled, levels, axis=0) - own)
    return [Interval(float(mean), float(low), float(high)) for mean, low, high in zip(own, *limits, strict=True)]


Cells = tuple[str, ...]
"""One line of a table, as short strings."""


def _content(row: "DataclassInstance") -> dict[str, Any]:
    to_dict = getattr(row, "to_dict", None)
    return asdict(row) if to_dict is None else to_dict()


def to_json(rows: "Sequence[DataclassInstance]", about: Mapping[str, Any]) -> str:
    """JSON text with what the table is about beside its rows, which are dataclasses."""
    return json.dumps({"about": dict(about), "rows": list(map(_content, rows))}, indent=2, ensure_ascii=False)


def to_csv(rows: "Sequence[DataclassInstance]") -> str:
    """CSV text with a header; the rows are dataclasses of one class, at least one, and of no nested fields."""
    text = io.StringIO()
    contents = list(map(_content, rows))
    writer = csv.DictWriter(text, list(contents[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(contents)
    return text.getvalue()


def markdown(header: Cells, lines: Sequence[Cells]) -> str:
    """Markdown table of strings; the first column is a name, the others are numbers."""
    rule = ("---", *["---:"] * (len(header) - 1))
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def aligned(header: Cells, lines: Sequence[Cells]) -> str:
    """Plain text in columns; the first is a name, the others are numbers."""
    widths = [max(len(line[column]) for line in (header, *lines)) for column in range(len(header))]

    def padded(line: Cells) -> str:
        numbers = [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        return "  ".join([line[0].ljust(widths[0]), *numbers]).rstrip()

    return "\n".join([padded(header), "  ".join("-" * width for width in widths), *map(padded, lines)])
