"""Paired comparison of contenders on the same cases, and the cells of its tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.checks import check_name
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.evaluation.statistics import Cells, Interval, block_intervals, mean_interval

OTHER_SYSTEMS = "other systems"  # title of their rows or bars
QUANTILES = (5, 25, 50, 75, 95)  # percentiles of users' throughput over all episodes


@dataclass(frozen=True)
class Row:
    """Results of one contender, as means over the cases that all contenders play."""

    name: str
    mean: float  # of the metric
    low: float  # 95 % interval
    high: float
    share: float | None  # mean / mean of the reference; None if the ratio is meaningless or the reference is 0
    difference: float  # mean of the paired difference to the reference
    difference_low: float
    difference_high: float
    details: Mapping[str, float] = field(default_factory=dict)  # other numbers, by name

    @property
    def headline(self) -> float:
        """Share if it is not ``None``, otherwise the mean."""
        return self.mean if self.share is None else self.share

    @property
    def decides(self) -> bool:
        """Whether the contender decides in this system; other systems do not."""
        return self.name not in SYSTEMS

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers by name, including the details."""
        content = asdict(self)
        details = content.pop("details")
        return content | details

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Row":
        """Return the row with these numbers; inverse of `to_dict`."""
        names = [field.name for field in fields(cls) if field.name in content]
        details = {name: value for name, value in content.items() if name not in names}
        return cls(**{name: content[name] for name in names}, details=details)


def _detail_cells(columns: Mapping[str, str], rows: Sequence[Row]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of rows with `_stats_details`; ``columns`` has the format of each."""
    lines: list[Cells] = []
    for row in rows:
        details = {**row.details, **{f"{name}_ms": 1000.0 * value for name, value in row.details.items()}}
        lines.append((row.name, *(column.format_map(details) for column in columns.values())))
    return ("decided by", *columns), lines


_USERS = {
    "throughput (tokens/s)": "{throughput:.2f}",
    "Σ ln throughput": "{utility:.3f}",
    "Jain's index": "{fairness:.4f}",
    **{f"user's {q} %": f"{{user_throughput_{q}:.3f}}" for q in QUANTILES},
}

_SERVICE = {
    "requests in time/s": "{request_goodput:.3f}",
    "missed": "{share_missed:.3f}",
    "least device": "{least_served:.2f}",
    "TTFT p50/p95 s": "{ttft_p50:.2f}/{ttft_p95:.2f}",
    "TPOT p50/p95 ms": "{tpot_p50_ms:.0f}/{tpot_p95_ms:.0f}",
    "E2EL p50/p95/p99 s": "{e2el_p50:.2f}/{e2el_p95:.2f}/{e2el_p99:.2f}",
    "gap p99 s": "{gap_p99:.2f}",
}

user_cells = partial(_detail_cells, _USERS)
"""Header and lines of the table of users' throughput, for rows with `_stats_details`."""

service_cells = partial(_detail_cells, _SERVICE)
"""Header and lines of the table of service statistics of requests, for rows with `_stats_details`.

"least device" is the smallest rate of a device, in tokens in time per second. Latencies are quantiles of each episode,
averaged over episodes.
"""


@dataclass(frozen=True)
class Metric:
    """Metric of a comparison; larger is better."""

    header: str  # of its column
    values: Callable[[EpisodeStats], FloatArray]  # (n,), one number for each case
    has_share: bool = True  # whether a ratio of two means is meaningful
    digits: int = 2  # after the decimal point
    # header and lines of an additional table of the same rows
    second_table: Callable[[Sequence[Row]], tuple[Cells, list[Cells]]] | None = None
    # (n,) numbers by whose sum the sum of the values is divided; None for the mean of the values
    per: Callable[[EpisodeStats], FloatArray] | None = None
    columns: Mapping[str, str] = field(default_factory=dict)  # format of each further column, of the details of a row

    def intervals(self, stats: EpisodeStats, reference: EpisodeStats) -> list[Interval]:
        """Return the metric and its paired difference to the reference, with their intervals."""
        values, others = self.values(stats), self.values(reference)
        if self.per is None:
            return [mean_interval(values), mean_interval(values - others)]
        sums = np.stack([values, self.per(stats), others, self.per(reference)], 1)
        return block_intervals(sums, _ratio_and_difference, 1)


def _ratio_and_difference(sums: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):  # a draw of cases may spend nothing
        ratio, other = sums[..., 0] / sums[..., 1], sums[..., 2] / sums[..., 3]
        return np.stack([ratio, ratio - other], -1)


def _tokens(stats: EpisodeStats) -> FloatArray:
    return np.asarray(stats.tokens.sum(-1))


_LARGEST = {"largest episode": "{largest_share:.4f}"}  # its share of the time or joules of all episodes

METRICS = {
    "goodput": Metric("goodput (tokens/s)", lambda stats: stats.goodput),
    "token_goodput": Metric("token goodput (tokens/s)", lambda stats: stats.throughput),
    "tokens_per_second": Metric(
        "tokens per second",
        _tokens,
        per=lambda stats: stats.time,
        columns={"mean of episodes": "{throughput:.2f}", **_LARGEST},
    ),
    "tokens_per_joule": Metric(
        "tokens per joule", _tokens, digits=3, per=lambda stats: stats.spent_joules, columns=_LARGEST
    ),
    "tokens_in_time": Metric(
        "tokens in time/s", lambda stats: stats.episode_values("tokens_in_time"), second_table=service_cells
    ),
    "request_goodput": Metric(
        "request goodput (requests/s)", lambda stats: stats.episode_values("request_goodput"), True, 3, service_cells
    ),
    "return": Metric("return", lambda stats: stats.returns, False, 3, user_cells),
    "utility": Metric("Σ ln throughput", lambda stats: stats.utility, False, 3, user_cells),
}


def compare_episodes(
    all_stats: Mapping[str, EpisodeStats], reference: str, metric: str, shares: bool = False
) -> list[Row]:
    """Compare statistics of the same n ≥ 2 cases by one of `METRICS`; return rows, best first, other systems last.

    ``all_stats`` includes the reference. ``details`` have the means of all statistics and, with ``shares``, the shares
    of the reference by case.
    """
    check_name("metric", metric, METRICS)
    check_name("reference", reference, all_stats)
    idle = [name for name, stats in all_stats.items() if stats.joules is not None and not stats.joules.any()]
    if metric == "tokens_per_joule" and idle:
        raise ValueError(f"metric: expected one without joules, got {metric!r} where {', '.join(idle)} spent 0 J")
    shown, best = METRICS[metric], all_stats[reference]
    intervals = {name: shown.intervals(stats, best) for name, stats in all_stats.items()}
    top, rows = intervals[reference][0].mean, []
    for name, (mean, difference) in intervals.items():
        details = _stats_details(all_stats[name])
        if shown.per is not None:
            parts = shown.per(all_stats[name])
            details["largest_share"] = float(parts.max() / parts.sum())
        elif shares:
            details |= _share_details(shown.values(all_stats[name]) / shown.values(best))
        share = mean.mean / top if shown.has_share and top != 0.0 else None
        rows.append(Row(name, *mean, share, *difference, details=details))
    # among rows that are equal up to rounding, the reference is first
    return sorted(rows, key=lambda row: (not row.decides, -round(row.mean, 9), row.name != reference))


def _stats_details(stats: EpisodeStats) -> dict[str, float]:
    quantiles = np.percentile(stats.user_throughput, QUANTILES)
    return {
        "goodput": float(stats.goodput.mean()),
        "throughput": float(stats.throughput.mean()),
        "reward": float(stats.mean_reward.mean()),
        "draft_length": float(stats.draft_length.mean()),
        # with finite requests, a device may have no tokens, and the logarithm would be infinite
        **({} if stats.episode else {"utility": float(stats.utility.mean())}),
        "fairness": float(stats.fairness.mean()),
        **{f"user_throughput_{q}": float(value) for q, value in zip(QUANTILES, quantiles, strict=True)},
        **{name: float(values.mean()) for name, values in stats.episode.items()},
    }


def _share_details(share: FloatArray) -> dict[str, float]:
    low, least = float(np.quantile(share, 0.05)), float(share.min())
    return {"share_mean": float(share.mean()), "share_quantile_5": low, "share_lowest": least}


def comparison_cells(rows: Sequence[Row], metric: str, reference: str = "reference") -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of a metric; the header calls the reference ``reference``.

    Other systems follow after an empty line and their title.
    """
    check_name("metric", metric, METRICS)
    shown = METRICS[metric]
    digits = shown.digits
    share = (f"of {reference}",) if shown.has_share else ()
    header = (
        "decided by",
        shown.header,
        "95 % interval",
        *share,
        f"minus {reference}",
        "95 % interval",
        *shown.columns,
    )
    lines = [
        (
            row.name,
            f"{row.mean:.{digits}f}",
            f"{row.low:.{digits}f} to {row.high:.{digits}f}",
            *(("–" if row.share is None else f"{row.share:.4f}",) if shown.has_share else ()),
            f"{row.difference:+.{digits}f}",
            f"{row.difference_low:+.{digits}f} to {row.difference_high:+.{digits}f}",
            *(column.format_map(row.details) for column in shown.columns.values()),
        )
        for row in rows
    ]
    first_other = sum(row.decides for row in rows)
    if first_other < len(rows):
        lines[first_other:first_other] = [(text, *[""] * (len(header) - 1)) for text in ("", OTHER_SYSTEMS)]
    return header, lines
