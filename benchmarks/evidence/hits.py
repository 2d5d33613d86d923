"""Hits of drafts along a record, over those of independent tokens of the same rate.

For each task: the share of positions from which L + 1 tokens in a row are accepted, as a greedy hit needs, over
α^(L+1), α the share of accepted positions. Windows overlap; intervals of 95 % are a bootstrap over texts.
"""

from argparse import Namespace
from collections.abc import Iterator

import numpy as np

from benchmarks.tools import Options, Row, show
from multispin_env.arrays import FloatArray
from multispin_env.evaluation.statistics import LEVEL, RESAMPLES
from multispin_env.physics.records import Records, accepted_runs, load_records

TASKS = ("code", "math", "chat", "reading")
"""Names of the tasks of the package's record, and of examples/prompts.jsonl."""

LENGTHS = (1, 2, 5)


def rows(records: Records) -> Iterator[Row]:
    runs = accepted_runs(records)
    for index in range(records.num_tasks):
        texts = np.flatnonzero(records.task == index)
        drawn = np.random.default_rng(0).integers(0, len(texts), (RESAMPLES, len(texts)))
        for length in LENGTHS:
            reached = [np.add.reduceat(runs >= size, records.start)[texts] for size in (1, length + 1)]
            sums = np.stack([records.length[texts], *reached], -1).astype(np.float64)  # (texts, 3)
            low, high = np.quantile(_over(sums[drawn].sum(1), length), [0.5 - LEVEL / 2.0, 0.5 + LEVEL / 2.0])
            positions, ones, hits = sums.sum(0)
            yield {
                "task": TASKS[index] if index < len(TASKS) else index,
                "L": length,
                "α": f"{ones / positions:.3f}",
                "hits": f"{hits / positions:.3f}",
                "over α^(L+1)": f"{_over(sums.sum(0), length):.2f}",
                "95 %": f"{low:.2f} to {high:.2f}",
            }


def _over(sums: FloatArray, length: int) -> FloatArray:
    """Return the share of hits over α^(L+1) from sums (..., 3): positions, accepted ones, L + 1 accepted in a row."""
    positions, ones, hits = np.moveaxis(sums, -1, 0)
    over: FloatArray = hits / positions / (ones / positions) ** (length + 1)
    return over


OPTIONS: Options = {"record": (None, "as multispin record writes it (default: that of the package)")}


def run(options: Namespace) -> None:
    show("hits over independent tokens", rows(load_records(options.record)))
