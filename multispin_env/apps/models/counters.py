"""Acceptance rates from what serving engines report: counters, or the mean tokens of a step alone (ours).

vLLM counts drafts, drafted and accepted tokens, and accepted tokens by position, from its start on
(https://docs.vllm.ai/en/stable/api/vllm/v1/spec_decode/metrics/); Prometheus adds ``_total`` to the names. SGLang has
gauges of its last steps: mean tokens of a step, the target's own one among them, and L
(https://docs.sglang.io/references/production_metrics.html, names of ``srt/observability/metrics_collector.py``).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path

import numpy as np

from multispin_env.apps.models.counts import LARGEST_FILE
from multispin_env.arrays import FloatArray
from multispin_env.checks import check_name, check_real, shown
from multispin_env.evaluation.statistics import LEVEL, Cells
from multispin_env.npz import read_file
from multispin_env.physics.tokens import expected_tokens

_DRAFTS, DRAFTED, _ACCEPTED, _BY_POSITION = _VLLM = (
    "vllm:spec_decode_num_drafts",
    "vllm:spec_decode_num_draft_tokens",
    "vllm:spec_decode_num_accepted_tokens",
    "vllm:spec_decode_num_accepted_tokens_per_pos",
)
_LENGTH, STEPS = _SGLANG = ("sglang:spec_accept_length", "sglang:spec_num_steps")

MIN_P_VALUE = 0.01  # probability below which rates by position are said not to fall geometrically
LARGEST_COUNT = 2.0**53  # largest value of a metric: whole numbers up to it are exact

_LINE = re.compile(r"([\w:]+)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*")  # name, labels, value, and a time
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

_Series = Mapping[str, list[tuple[dict[str, str], float]]]
"""Labels and value of each line of a page, by the name of its metric."""


@dataclass(frozen=True)
class EngineCounts:
    """Drafts of a task, as an engine reports them."""

    task: str
    length: float  # mean tokens of a step, the target's own one among them: in [1, L + 1]
    drafted: float  # L, mean tokens of a draft
    drafts: int = 0  # 0 where the mean alone is reported
    accepted: tuple[int, ...] = ()  # drafts whose first, second, ... token was accepted

    @property
    def rate(self) -> float:
        """The α with E[N | L] = length; E[N | L] grows with α, so there is one."""
        from scipy.optimize import brentq

        return float(brentq(lambda rate: _tokens(self.drafted, rate) - self.length, 0.0, 1.0))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval if every token has one rate; ``None`` without a count of drafts.

        It has each α that is within z standard deviations of the mean over drafts, which are those of that α (Wilson's
        score interval): so it has a width where all or no tokens were accepted too.
        """
        from scipy.optimize import brentq
        from scipy.stats import norm

        if not self.drafts:
            return None
        z = float(norm.ppf((1.0 + LEVEL) / 2.0))

        def beyond(rate: float) -> float:
            off = _tokens(self.drafted, rate) - self.length
            return off * off - z * z * _variance(self.drafted, rate) / self.drafts

        inside = min(max(self.rate, 1e-12), 1.0 - 1e-12)  # at 0 and 1 nothing varies
        if beyond(inside) >= 0.0:  # narrower than the rate is exact
            return self.rate, self.rate
        low = float(brentq(beyond, 0.0, inside)) if beyond(0.0) > 0.0 else 0.0
        high = float(brentq(beyond, inside, 1.0)) if beyond(1.0) > 0.0 else 1.0
        return low, high

    @property
    def surprise(self) -> float:
        """Probability of rates by position that differ so much, if each token has one rate.

        It is that of Pearson's χ² test that every position accepts one share of the drafts that reach it. Positions
        where fewer than 5 acceptances or refusals are expected are left out.
        """
        from scipy.stats import chi2

        accepted = np.array(self.accepted, dtype=np.float64)
        reached = np.array([self.drafts, *self.accepted[:-1]], dtype=np.float64)[: len(accepted)]
        share = accepted.sum() / max(reached.sum(), 1.0)
        enough = reached * min(share, 1.0 - share) >= 5.0
        if np.count_nonzero(enough) < 2:
            return 1.0
        accepted, reached = accepted[enough], reached[enough]
        share = accepted.sum() / reached.sum()
        distance = ((accepted - reached * share) ** 2 / (reached * share * (1.0 - share))).sum()
        return float(chi2.sf(distance, len(accepted) - 1))

    @property
    def remarks(self) -> list[str]:
        """Sentences on what the rate does not say."""
        if not self.drafts:
            return [f"{self.task}: no interval, as a mean without a count of drafts does not say how sure it is"]
        if self.drafted < 0.99 * len(self.accepted):  # drafts differ in length
            return [
                f"{self.task}: drafts have {self.drafted:.2f} tokens on average and up to {len(self.accepted)}; α is "
                "that of drafts of the mean length, somewhat too low, and rates by position can't be compared"
            ]
        if self.surprise < MIN_P_VALUE:
            return [
                f"{self.task}: rates by position do not fall geometrically (χ² test, p = {self.surprise:.1g}), so at "
                "other draft lengths E[N | L] is off, as the table says"
            ]
        return []

    def position_cells(self) -> tuple[Cells, list[Cells]]:
        """Header and lines of the table by position: a draft cut there would bring these tokens a step."""
        reached = (self.drafts, *self.accepted)
        tokens = 1.0 + np.cumsum(self.accepted) / self.drafts
        header = ("position", "reached", "accepted", "rate", "tokens a step up to it", "formula off")
        lines: list[Cells] = [
            (
                str(place),
                str(reached[place - 1]),
                str(reached[place]),
                f"{reached[place] / max(reached[place - 1], 1):.4f}",
                f"{mean:.4f}",
                f"{100.0 * (_tokens(place, self.rate) / mean - 1.0):+.1f} %",
            )
            for place, mean in enumerate(tokens.tolist(), 1)
        ]
        return header, lines


def _tokens(drafted: float, rate: float) -> float:
    return float(expected_tokens(np.array(drafted), np.array(rate)))


def _variance(drafted: float, rate: float) -> float:
    """Variance of the tokens of a step, where drafts are as equal in length as their mean allows."""
    place = np.arange(1, np.ceil(drafted) + 1.0)
    reached: FloatArray = rate**place * np.minimum(drafted - place + 1.0, 1.0)  # P(at least so many are accepted)
    return float(((2.0 * place - 1.0) * reached).sum() - reached.sum() ** 2)


def read_counters(path: str | PathLike[str], model: str | None = None, drafted: int | None = None) -> EngineCounts:
    """Read the metrics page of vLLM or SGLang, as Prometheus does; the task has the file's name.

    Engines of one model are added up; ``model`` says which one if the page has several. ``drafted`` is L for a page
    that does not say it. ``ValueError`` for a file that can't be read, has none of the metrics or impossible ones.
    """
    try:
        text = read_file(path, LARGEST_FILE, "text").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"{error.object[error.start]:#x}"
        raise ValueError(f"counters: expected text in UTF-8 in {str(path)!r}, got the byte {got}") from None
    except ValueError as error:
        raise ValueError(str(error).replace("path:", "counters:", 1)) from None
    try:
        series = _of_model(_series(text), model)
        read = _vllm if any(name in series for name in _VLLM) else _sglang
        return read(Path(path).stem, series, drafted)
    except ValueError as error:
        raise ValueError(f"counters, {str(path)!r}: {error}") from None


def _series(text: str) -> _Series:
    series: dict[str, list[tuple[dict[str, str], float]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith((*_VLLM, *_SGLANG)):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"line {number}: expected NAME{{LABELS}} VALUE, got {shown(line)}")
        name = found[1].removesuffix("_total")
        if name in _VLLM or name in _SGLANG:  # and not the time it was created
            try:
                value = check_real(name, float(found[3]), 0.0, LARGEST_COUNT)
            except ValueError:
                raise ValueError(
                    f"line {number}: expected a number in [0, {LARGEST_COUNT:g}], got {shown(found[3])}"
                ) from None
            series.setdefault(name, []).append((dict(_LABEL.findall(found[2] or "")), value))
    if not series:
        raise ValueError(f"expected a metrics page with {_DRAFTS} (vLLM) or {_LENGTH} (SGLang), got neither")
    return series


def _of_model(series: _Series, model: str | None) -> _Series:
    models = sorted({labels.get("model_name", "") for found in series.values() for labels, _ in found})
    if model is None and len(models) > 1:
        raise ValueError(f"expected --target to name one of the page's models {shown(models)}, got none")
    if model is None:
        return series
    check_name("target", model, models)
    mine = {name: [one for one in found if one[0].get("model_name", "") == model] for name, found in series.items()}
    return {name: found for name, found in mine.items() if found}


def _vllm(task: str, series: _Series, drafted: int | None) -> EngineCounts:
    for name in _VLLM:
        if name not in series:
            raise ValueError(f"expected the counter {name}, got none")
    if drafted is not None:
        raise ValueError(f"expected no --drafted, as the page counts them ({DRAFTED}), got {drafted}")
    by_position: dict[str, float] = {}
    for labels, value in series[_BY_POSITION]:
        place = labels.get("position", "")
        by_position[place] = by_position.get(place, 0.0) + value
    places = [str(place) for place in range(len(by_position))]
    if set(by_position) != set(places):
        raise ValueError(f"{_BY_POSITION}: expected the positions 0, 1, ..., got {shown(sorted(by_position))}")
    drafts = check_real(_DRAFTS, _sum(series[_DRAFTS]), 1.0)
    tokens = check_real(DRAFTED, _sum(series[DRAFTED]), 1.0, drafts * len(places))
    accepted = check_real(_ACCEPTED, _sum(series[_ACCEPTED]), 0.0, tokens)
    counts = [drafts, *(by_position[place] for place in places)]
    if any(later > earlier for earlier, later in pairwise(counts)):
        raise ValueError(f"{_BY_POSITION}: expected counts ≤ {drafts:g} that never rise, got {shown(counts[1:])}")
    mean = 1.0 + accepted / drafts
    return EngineCounts(task, mean, tokens / drafts, int(drafts), tuple(int(count) for count in counts[1:]))


def _sglang(task: str, series: _Series, drafted: int | None) -> EngineCounts:
    if _LENGTH not in series:
        raise ValueError(f"expected the gauge {_LENGTH}, got none")
    steps = sorted({value for _, value in series.get(STEPS, []) if value > 0.0})
    if drafted is not None:
        steps = sorted({*steps, float(drafted)})
    if len(steps) != 1:
        got = ", ".join(f"{one:g}" for one in steps) or "none"
        raise ValueError(f"expected one draft length, from {STEPS} or --drafted, got {got}")
    busy = [value for _, value in series[_LENGTH] if value > 0.0] or [0.0]  # an engine without drafts says 0
    return EngineCounts(task, check_real(_LENGTH, sum(busy) / len(busy), 1.0, steps[0] + 1.0), steps[0])


def _sum(found: list[tuple[dict[str, str], float]]) -> float:
    return sum(value for _, value in found)
