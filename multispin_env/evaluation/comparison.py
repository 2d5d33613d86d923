"""Contenders compared on the same episodes, in pairs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_name
from multispin_env.evaluation.contenders import native
from multispin_env.evaluation.episodes import Episodes, Progress, play_episodes
from multispin_env.evaluation.seeds import EPISODE_SEED
from multispin_env.evaluation.statistics import Interval, mean_interval
from multispin_env.evaluation.table import Cells

QUANTILES = (5, 25, 50, 75, 95)
"""Per cent of users, all episodes together, whose throughput is shown."""


@dataclass(frozen=True)
class Metric:
    """What contenders are compared by; more is better.

    Parameters
    ----------
    header
        Title of its column.
    values
        One number (n,) for each episode.
    has_share
        Whether a ratio of two means says something.
    digits
        Digits shown after the point.
    """

    header: str
    values: Callable[[Episodes], FloatArray]
    has_share: bool
    digits: int = 2


METRICS = {
    "goodput": Metric("goodput (tokens/s)", lambda played: played.goodput, has_share=True),
    "throughput": Metric("throughput (tokens/s)", lambda played: played.throughput, has_share=True),
    "return": Metric("return", lambda played: played.returns, has_share=False, digits=3),
    "utility": Metric("Σ ln throughput", lambda played: played.utility, has_share=False, digits=3),
}
"""By name: mean goodput over rounds, tokens over time, sum of rewards, and Σ ln of the users' throughputs."""


@dataclass(frozen=True)
class EpisodeRow:
    """One contender on the common episodes; means over them."""

    name: str
    mean: float  # of the metric
    low: float  # 95 % interval
    high: float
    share: float | None  # mean over the reference's mean; None where that says nothing
    difference: float  # mean of the metric − the reference's in the same episode
    difference_low: float
    difference_high: float
    goodput: float  # tokens/s, mean over rounds
    throughput: float  # tokens/s, all tokens over all time
    reward: float  # a round
    utility: float  # Σ_k ln(throughput_k)
    fairness: float  # Jain's index of the users' throughputs
    user_throughput_5: float  # tokens/s, quantiles over users and episodes
    user_throughput_25: float
    user_throughput_50: float
    user_throughput_75: float
    user_throughput_95: float


def default_metric(env: VectorEnv[Any, Any, Any]) -> str:
    """Name of the metric that fits what the environment rewards."""
    return native(env).objective.metric


def play_all(
    env: VectorEnv[Any, Any, Any],
    contenders: Iterable[str],
    seed: int = EPISODE_SEED,
    progress: Callable[[str], Progress] | None = None,
) -> dict[str, Episodes]:
    """Play the same episodes by contenders of these names, one after the other; see `play_episodes`.

    Parameters
    ----------
    env
        One episode is played in each of its copies.
    contenders
        Names for `make_contender`.
    seed
        Of copy 0.
    progress
        Called at the start of each contender with its name; what it returns is called after each round.

    Raises
    ------
    ValueError, TypeError
        For an unknown name, or a contender that cannot decide there.
    """
    found: dict[str, Episodes] = {}
    for name in contenders:
        found[name] = play_episodes(env, name, seed, None if progress is None else progress(name))
    return found


def compare(played: Mapping[str, Episodes], reference: str, metric: str = "goodput") -> list[EpisodeRow]:
    """Compare contenders with a reference among them on the same episodes, best first.

    Parameters
    ----------
    played
        Results of `play_episodes` with one seed in one environment, by name.
    reference
        One of the names.
    metric
        One of `METRICS`.

    Raises
    ------
    ValueError
        For another reference or metric (the nearest is suggested), or fewer than two episodes.
    """
    check_name("metric", metric, METRICS)
    check_name("reference", reference, played)
    rows = [_row(name, one, played[reference], METRICS[metric]) for name, one in played.items()]
    # equal but for rounding: the reference first
    return sorted(rows, key=lambda row: (-round(row.mean, 9), row.name != reference))


def paired_difference(one: Episodes, other: Episodes, metric: str = "goodput") -> Interval:
    """Mean of the metric of ``one`` less that of ``other`` in the same episodes, with its 95 % bootstrap interval."""
    check_name("metric", metric, METRICS)
    values = METRICS[metric].values
    return mean_interval(values(one) - values(other))


def _row(name: str, played: Episodes, reference: Episodes, metric: Metric) -> EpisodeRow:
    values, others = metric.values(played), metric.values(reference)
    mean = mean_interval(values)
    return EpisodeRow(
        name,
        *mean,
        mean.mean / float(others.mean()) if metric.has_share else None,
        *mean_interval(values - others),
        goodput=float(played.goodput.mean()),
        throughput=float(played.throughput.mean()),
        reward=float(played.mean_reward.mean()),
        utility=float(played.utility.mean()),
        fairness=float(played.fairness.mean()),
        **user_quantiles(played),
    )


def user_quantiles(played: Episodes) -> dict[str, float]:
    """Quantiles of users' throughputs in tokens/s over all users and episodes, by their names in `EpisodeRow`."""
    found = np.percentile(played.user_throughput, QUANTILES)
    return {f"user_throughput_{q}": float(value) for q, value in zip(QUANTILES, found, strict=True)}


def comparison_cells(rows: list[EpisodeRow], metric: str) -> tuple[Cells, list[Cells]]:
    """Header and lines of the table of the metric."""
    shown = METRICS[metric]
    digits = shown.digits
    share = ("of reference",) if shown.has_share else ()
    header = ("decided by", shown.header, "95 % interval", *share, "minus reference", "95 % interval")
    lines = [
        (
            row.name,
            f"{row.mean:.{digits}f}",
            f"{row.low:.{digits}f} to {row.high:.{digits}f}",
            *(() if row.share is None else (f"{row.share:.4f}",)),
            f"{row.difference:+.{digits}f}",
            f"{row.difference_low:+.{digits}f} to {row.difference_high:+.{digits}f}",
        )
        for row in rows
    ]
    return header, lines


def user_cells(rows: list[EpisodeRow]) -> tuple[Cells, list[Cells]]:
    """Header and lines of the table of how users share the throughput."""
    header = (
        "decided by",
        "throughput (tokens/s)",
        "Σ ln throughput",
        "Jain's index",
        *(f"user's {q} %" for q in QUANTILES),
    )
    lines = [
        (
            row.name,
            f"{row.throughput:.2f}",
            f"{row.utility:.3f}",
            f"{row.fairness:.4f}",
            *(f"{getattr(row, f'user_throughput_{q}'):.3f}" for q in QUANTILES),
        )
        for row in rows
    ]
    return header, lines
