"""Paired comparison of contenders on the same cases, and the cells of its tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.checks import check_name
from multispin_env.evaluation.episodes import EpisodeStats
from multispin_env.evaluation.statistics import Cells, mean_interval

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


def user_cells(rows: Sequence[Row]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of users' throughput; rows have `_stats_details`."""
    shares = (f"user's {q} %" for q in QUANTILES)
    header = ("decided by", "throughput (tokens/s)", "Σ ln throughput", "Jain's index", *shares)
    lines = [
        (
            row.name,
            f"{row.details['throughput']:.2f}",
            f"{row.details['utility']:.3f}",
            f"{row.details['fairness']:.4f}",
            *(f"{row.details[f'user_throughput_{q}']:.3f}" for q in QUANTILES),
        )
        for row in rows
    ]
    return header, lines


def service_cells(rows: Sequence[Row]) -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of service statistics of requests; rows have `_stats_details`.

    "least device" is the smallest rate of a device, in tokens in time per second. Latencies are quantiles of each
    episode, averaged over episodes.
    """
    latencies = ("TTFT p50/p95 s", "TPOT p50/p95 ms", "E2EL p50/p95/p99 s", "gap p99 s")
    header = ("decided by", "requests in time/s", "missed", "least device", *latencies)
    lines: list[Cells] = []
    for row in rows:
        details = row.details
        ttft, tpot, e2el = ([details[f"{name}_p{p}"] for p in (50, 95, 99)] for name in ("ttft", "tpot", "e2el"))
        lines.append(
            (
                row.name,
                f"{details['request_goodput']:.3f}",
                f"{details['share_missed']:.3f}",
                f"{details['least_served']:.2f}",
                f"{ttft[0]:.2f}/{ttft[1]:.2f}",
                f"{1000.0 * tpot[0]:.0f}/{1000.0 * tpot[1]:.0f}",
                f"{e2el[0]:.2f}/{e2el[1]:.2f}/{e2el[2]:.2f}",
                f"{details['gap_p99']:.2f}",
            )
        )
    return header, lines


@dataclass(frozen=True)
class Metric:
    """Metric of a comparison; larger is better."""

    header: str  # of its column
    values: Callable[[EpisodeStats], FloatArray]  # (n,), one number for each case
    has_share: bool = True  # whether a ratio of two means is meaningful
    digits: int = 2  # after the decimal point
    # header and lines of an additional table of the same rows
    second_table: Callable[[Sequence[Row]], tuple[Cells, list[Cells]]] | None = None


METRICS = {
    "goodput": Metric("goodput (tokens/s)", lambda stats: stats.goodput),
    "token_goodput": Metric("token goodput (tokens/s)", lambda stats: stats.throughput),
    "tokens_per_joule": Metric("tokens per joule", lambda stats: stats.tokens_per_joule, digits=3),
    "tokens_in_time": Metric(
        "tokens in time/s", lambda stats: stats.episode_values("tokens_in_time"), second_table=service_cells
    ),
    "request_goodput": Metric(
        "request goodput (requests/s)", lambda stats: stats.episode_values("request_goodput"), True, 3, service_cells
    ),
    "return": Metric("return", lambda stats: stats.returns, False, 3, user_cells),
    "utility": Metric("Σ ln throughput", lambda stats: stats.utility, False, 3, user_cells),
}


def compare_values(
    values: Mapping[str, FloatArray],
    reference: str,
    has_share: bool = True,
    details: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Row]:
    """Compare contenders, including a reference, on the same n ≥ 2 cases; return rows, best first, other systems last.

    ``values`` has an array (n,) for each contender, larger is better; ``details`` has other numbers for its row.
    """
    check_name("reference", reference, values)
    best = values[reference]
    rows = [
        Row(
            name,
            *(mean := mean_interval(numbers)),
            mean.mean / float(best.mean()) if has_share and best.any() else None,
            *mean_interval(numbers - best),
            details=(details or {}).get(name, {}),
        )
        for name, numbers in values.items()
    ]
    # among rows that are equal up to rounding, the reference is first
    return sorted(rows, key=lambda row: (not row.decides, -round(row.mean, 9), row.name != reference))


def compare_episodes(all_stats: Mapping[str, EpisodeStats], reference: str, metric: str) -> list[Row]:
    """Compare statistics of the same episodes by one of `METRICS`; rows have `_stats_details`."""
    check_name("metric", metric, METRICS)
    values = {name: METRICS[metric].values(stats) for name, stats in all_stats.items()}
    details = {name: _stats_details(stats) for name, stats in all_stats.items()}
    return compare_values(values, reference, METRICS[metric].has_share, details)


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


def comparison_cells(rows: Sequence[Row], metric: str, reference: str = "reference") -> tuple[Cells, list[Cells]]:
    """Return header and lines of the table of a metric; the header calls the reference ``reference``.

    Other systems follow after an empty line and their title.
    """
    check_name("metric", metric, METRICS)
    shown = METRICS[metric]
    digits = shown.digits
    share = (f"of {reference}",) if shown.has_share else ()
    header = ("decided by", shown.header, "95 % interval", *share, f"minus {reference}", "95 % interval")
    lines = [
        (
            row.name,
            f"{row.mean:.{digits}f}",
            f"{row.low:.{digits}f} to {row.high:.{digits}f}",
            *(("–" if row.share is None else f"{row.share:.4f}",) if shown.has_share else ()),
            f"{row.difference:+.{digits}f}",
            f"{row.difference_low:+.{digits}f} to {row.difference_high:+.{digits}f}",
        )
        for row in rows
    ]
    first_other = sum(row.decides for row in rows)
    if first_other < len(rows):
        lines[first_other:first_other] = [(text, *[""] * (len(header) - 1)) for text in ("", OTHER_SYSTEMS)]
    return header, lines
