"""Acceptance rates from metrics or benchmark results of serving engines: counts, or only the acceptance length.

vLLM counts drafts, drafted and accepted tokens, and accepted tokens by position since its start
(https://docs.vllm.ai/en/stable/api/vllm/v1/spec_decode/metrics/); Prometheus appends ``_total`` to the names. SGLang
has gauges of its last steps: mean tokens per step, including the target's token, and L
(https://docs.sglang.io/references/production_metrics.html, names of ``srt/observability/metrics_collector.py``).

Benchmarks print or save the same numbers for their own requests: ``vllm bench serve`` (``vllm/benchmarks/serve.py``)
the counts, and by position the share of all drafts, and SGLang's ``bench_serving`` the acceptance length.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_instance, check_name, check_real, cut, located, shown
from multispin_env.draft import expected_tokens, rate_of_length
from multispin_env.evaluation.statistics import LEVEL, Cells, table
from multispin_env.files import decode_text
from multispin_env.npz import read_file
from multispin_lab.models.counts import LARGEST_FILE

_DRAFTS, DRAFTED, _ACCEPTED, _BY_POSITION = _VLLM = (
    "vllm:spec_decode_num_drafts",
    "vllm:spec_decode_num_draft_tokens",
    "vllm:spec_decode_num_accepted_tokens",
    "vllm:spec_decode_num_accepted_tokens_per_pos",
)
_LENGTH, STEPS = _SGLANG = ("sglang:spec_accept_length", "sglang:spec_num_steps")

_RESULT = {
    "spec_decode_num_drafts": _DRAFTS,
    "spec_decode_draft_tokens": DRAFTED,
    "spec_decode_accepted_tokens": _ACCEPTED,
    "accept_length": _LENGTH,
}
_RATES = "spec_decode_per_position_acceptance_rates"
"""Fields of a saved benchmark result, with the metrics that count the same."""

_PRINTED = dict(zip(("Drafts", "Draft tokens", "Accepted tokens", "Accept length"), _RESULT, strict=True))
_PRINTED_LINE = re.compile(rf"^({'|'.join(_PRINTED)}|  Position \d+): +(\S+)\s*$", re.MULTILINE)

GLOSSARY = {
    "acceptance length": "mean number of tokens per verification with the bonus token",
    "acceptance rate": "probability that a drafted token is accepted, given that all before it were",
    "draft acceptance rate": "accepted over drafted tokens; lower, because tokens after a rejection count as drafted",
    "conditional rate": "acceptance rate at one position, over the drafts whose earlier tokens were all accepted",
}
"""Meanings of the columns, in the words of docs/reference/symbols.md."""

MIN_P_VALUE = 0.01  # below it a remark says that acceptance by position is not geometric
LARGEST_COUNT = 2.0**53  # integers up to it are exact

_LINE = re.compile(r"([\w:]+)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")  # name, labels, value, timestamp
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

_Series = Mapping[str, list[tuple[dict[str, str], float]]]
"""Labels and value of each line of a page, by metric."""


@dataclass(frozen=True)
class EngineCounts:
    """Statistics of a task's drafts, from an engine's metrics."""

    task: str
    length: float  # mean tokens per step, including the target's token: in [1, L + 1]
    drafted: float  # L, mean tokens per draft
    drafts: int = 0  # 0 if only the mean is reported
    accepted: tuple[int, ...] = ()  # drafts whose first, second, ... token was accepted

    @property
    def rate(self) -> float:
        """α with E[N | L] = length."""
        return rate_of_length(self.length, self.drafted)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of α if all tokens have the same rate; ``None`` without a count of drafts.

        A score interval (Wilson): the standard deviation at each α is that of this α, so the interval has a width also
        if all or no tokens were accepted.
        """
        from scipy.optimize import brentq
        from scipy.stats import norm

        if not self.drafts:
            return None
        z = float(norm.ppf((1.0 + LEVEL) / 2.0))

        def excess(rate: float) -> float:
            difference = _tokens(self.drafted, rate) - self.length
            return difference**2 - z * z * _variance(self.drafted, rate) / self.drafts

        inside = min(max(self.rate, 1e-12), 1.0 - 1e-12)  # the variance is 0 at 0 and 1
        if excess(inside) >= 0.0:  # the interval is narrower than the numerical error of the rate
            return self.rate, self.rate
        low = float(brentq(excess, 0.0, inside)) if excess(0.0) > 0.0 else 0.0
        high = float(brentq(excess, inside, 1.0)) if excess(1.0) > 0.0 else 1.0
        return low, high

    @property
    def p_value(self) -> float:
        """P-value of the hypothesis that each token that is reached has the same acceptance rate.

        Pearson's χ² test, without positions where fewer than 5 acceptances or refusals are expected.
        """
        from scipy.stats import chi2_contingency

        reached, accepted = np.array([self.drafts, *self.accepted])[: len(self.accepted)], np.array(self.accepted)
        share = accepted.sum() / max(reached.sum(), 1)
        enough = reached * min(share, 1.0 - share) >= 5.0
        if np.count_nonzero(enough) < 2:
            return 1.0
        return float(chi2_contingency([accepted[enough], (reached - accepted)[enough]], correction=False).pvalue)

    @property
    def remarks(self) -> list[str]:
        """Warnings about the limits of the rate."""
        if not self.drafts:
            return [f"{self.task}: no interval, as the number of drafts is not reported"]
        if self.drafted < 0.99 * len(self.accepted):  # drafts differ in length
            return [
                f"{self.task}: drafts have {self.drafted:.2f} tokens on average and up to {len(self.accepted)}; α is "
                "computed for drafts of the mean length, is somewhat too low, and rates by position can't be compared"
            ]
        if self.p_value < MIN_P_VALUE:
            return [
                f"{self.task}: acceptance by position is not geometric (χ² test, p = {self.p_value:.1g}), so "
                "E[N | L] has errors at other draft lengths, see the table"
            ]
        return []

    def position_cells(self) -> tuple[Cells, list[Cells]]:
        """Return header and rows of the table by position, with the tokens per step of drafts that end there."""
        reached = (self.drafts, *self.accepted)
        mean = (1.0 + np.cumsum([0, *self.accepted]) / self.drafts).tolist()
        return table(
            range(1, len(reached)),
            {
                "position": str,
                "reached": lambda length: str(reached[length - 1]),
                "accepted": lambda length: str(reached[length]),
                "conditional rate": lambda length: f"{reached[length] / max(reached[length - 1], 1):.4f}",
                "share of drafts": lambda length: f"{reached[length] / self.drafts:.4f}",
                "acceptance length up to it": lambda length: f"{mean[length]:.4f}",
                "formula error": lambda length: f"{100.0 * (_tokens(length, self.rate) / mean[length] - 1.0):+.1f} %",
            },
        )


def _tokens(drafted: float, rate: float) -> float:
    return float(expected_tokens(np.array(drafted), np.array(rate)))


def _variance(drafted: float, rate: float) -> float:
    """Variance of the tokens of a step, for drafts of two consecutive lengths with this mean."""
    count = np.arange(1, np.ceil(drafted) + 1.0)
    at_least: FloatArray = rate**count * np.minimum(drafted - count + 1.0, 1.0)  # P(accepted tokens ≥ count)
    return float(((2.0 * count - 1.0) * at_least).sum() - at_least.sum() ** 2)


def read_counters(path: str | PathLike[str], model: str | None = None, drafted: int | None = None) -> EngineCounts:
    """Read a Prometheus metrics page or a benchmark result of vLLM or SGLang; the task is named after the file.

    Engines of the same model are summed; ``model`` selects a model if the page has several. ``drafted`` is L for a
    file without it. A result is the output or the JSON of ``vllm bench serve`` or ``sglang.bench_serving``.
    ``ValueError`` for an unreadable file, missing metrics or impossible values.
    """
    content = read_file(path, LARGEST_FILE, "text", "counters")
    with located(f"counters, {str(path)!r}"):
        series = _of_model(_series(decode_text(content)), model)
        read = _vllm if any(name in series for name in _VLLM) else _sglang
        return read(Path(path).stem, series, drafted)


def _series(text: str) -> _Series:
    if text.lstrip().startswith("{"):
        try:
            return _benchmark(dict(json.loads(text)))
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"expected one benchmark result in JSON, got {cut(str(error))}") from None
    try:
        printed = [(label, float(value)) for label, value in _PRINTED_LINE.findall(text)]
    except ValueError as error:
        raise ValueError(f"expected numbers in the benchmark result, got text ({cut(str(error))})") from None
    if not printed:
        return _metrics(text)
    fields = {_PRINTED.get(label, label): value for label, value in printed}
    if len(fields) < len(printed):
        raise ValueError("expected one benchmark result, got several")
    return _benchmark({**fields, _RATES: [value / 100.0 for label, value in printed if label not in _PRINTED]})


def _benchmark(result: Mapping[str, Any]) -> _Series:
    """Return the metrics of a benchmark result."""
    given = {field: result[field] for field in _RESULT if result.get(field) is not None}
    if not given:
        raise ValueError("expected spec_decode_num_drafts (vLLM) or accept_length (SGLang) in the result, got neither")
    series: dict[str, list[tuple[dict[str, str], float]]] = {
        _RESULT[field]: [({}, check_real(field, value, 0.0, LARGEST_COUNT))] for field, value in given.items()
    }
    rates, drafts = result.get(_RATES), given.get("spec_decode_num_drafts", 0.0)
    if rates:
        check_instance(_RATES, rates, list, "a list")
        shares = [check_real(f"{_RATES}[{position}]", rate, 0.0, 1.0) for position, rate in enumerate(rates)]
        series[_BY_POSITION] = [({"position": str(index)}, round(share * drafts)) for index, share in enumerate(shares)]
    return series


def _metrics(text: str) -> _Series:
    series: dict[str, list[tuple[dict[str, str], float]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith((*_VLLM, *_SGLANG)):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {number}: expected NAME{{LABELS}} VALUE, got {shown(line)}")
        name = match[1].removesuffix("_total")
        if name in _VLLM or name in _SGLANG:  # not the creation time of the metric
            try:
                value = check_real(name, float(match[3]), 0.0, LARGEST_COUNT)
            except ValueError:
                raise ValueError(
                    f"line {number}: expected a number in [0, {LARGEST_COUNT:g}], got {shown(match[3])}"
                ) from None
            series.setdefault(name, []).append((dict(_LABEL.findall(match[2] or "")), value))
    if not series:
        raise ValueError(
            f"expected a metrics page or benchmark result with {_DRAFTS} (vLLM) or {_LENGTH} (SGLang), got neither"
        )
    return series


def _of_model(series: _Series, model: str | None) -> _Series:
    models = sorted({labels.get("model_name", "") for entries in series.values() for labels, _ in entries})
    if model is None and len(models) > 1:
        raise ValueError(f"expected --target to name one of the page's models {shown(models)}, got none")
    if model is None:
        return series
    check_name("target", model, models)
    selected = {
        name: [(labels, value) for labels, value in entries if labels.get("model_name", "") == model]
        for name, entries in series.items()
    }
    return {name: entries for name, entries in selected.items() if entries}


def _vllm(task: str, series: _Series, drafted: int | None) -> EngineCounts:
    for name in _VLLM:
        if name not in series:
            raise ValueError(f"expected the counter {name}, got none")
    if drafted is not None:
        raise ValueError(f"expected no --drafted, as the page counts them ({DRAFTED}), got {drafted}")
    by_position: dict[str, float] = {}
    for labels, value in series[_BY_POSITION]:
        position = labels.get("position", "")
        by_position[position] = by_position.get(position, 0.0) + value
    positions = [str(position) for position in range(len(by_position))]
    if set(by_position) != set(positions):
        raise ValueError(f"{_BY_POSITION}: expected the positions 0, 1, ..., got {shown(sorted(by_position))}")
    drafts = check_real(_DRAFTS, _sum(series[_DRAFTS]), 1.0)
    tokens = check_real(DRAFTED, _sum(series[DRAFTED]), 1.0, drafts * len(positions))
    accepted = check_real(_ACCEPTED, _sum(series[_ACCEPTED]), 0.0, tokens)
    counts = [drafts, *(by_position[position] for position in positions)]
    if any(later > earlier for earlier, later in pairwise(counts)):
        raise ValueError(f"{_BY_POSITION}: expected non-increasing counts ≤ {drafts:g}, got {shown(counts[1:])}")
    rounding = len(positions) * (0.5 + 5e-5 * drafts)  # of per cents with two decimals
    if abs(sum(counts[1:]) - accepted) > rounding:
        raise ValueError(f"{_BY_POSITION}: expected a sum of {accepted:g} accepted tokens, got {sum(counts[1:]):g}")
    mean = 1.0 + accepted / drafts
    return EngineCounts(task, mean, tokens / drafts, int(drafts), tuple(int(count) for count in counts[1:]))


def _sglang(task: str, series: _Series, drafted: int | None) -> EngineCounts:
    if _LENGTH not in series:
        raise ValueError(f"expected the gauge {_LENGTH}, got none")
    steps = sorted({value for _, value in series.get(STEPS, []) if value > 0.0})
    if drafted is not None:
        steps = sorted({*steps, float(drafted)})
    if len(steps) != 1:
        got = ", ".join(f"{length:g}" for length in steps) or "none"
        raise ValueError(f"expected one draft length, from {STEPS} or --drafted, got {got}")
    busy = [value for _, value in series[_LENGTH] if value > 0.0] or [0.0]  # engines without drafts report 0
    return EngineCounts(task, check_real(_LENGTH, sum(busy) / len(busy), 1.0, steps[0] + 1.0), steps[0])


def _sum(entries: list[tuple[dict[str, str], float]]) -> float:
    return sum(value for _, value in entries)
