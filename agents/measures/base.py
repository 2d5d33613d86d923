"""What every way to measure an agent gives: a few numbers while it trains, and a report at the end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from stable_baselines3.common.base_class import BaseAlgorithm

from multispin_env.evaluation.comparison import EpisodeRow
from multispin_env.evaluation.table import Row
from multispin_env.scenario import Scenario

Validation = Callable[[BaseAlgorithm], dict[str, float]]
"""The deterministic policy of a model on cases that are the same each time."""


@dataclass(frozen=True)
class Headline:
    """The one number that is watched and drawn.

    Parameters
    ----------
    key
        Its name among those of the validation, and in the file of the learning curve.
    caption
        What it is, behind the number.
    axis
        What it is, in full.
    """

    key: str
    caption: str
    axis: str


@dataclass(frozen=True)
class Bar:
    """One contender in the pictures."""

    name: str
    mean: float
    low: float  # 95 % interval
    high: float
    headline: float  # as the headline of the validation


@dataclass(frozen=True)
class Report:
    """The comparison of one agent with every reference."""

    title: str
    text: str  # tables, aligned
    about: dict[str, Any]
    rows: Sequence[Row] | Sequence[EpisodeRow]
    bars: list[Bar]
    axis: str  # what the bars are
    headline: Headline


class Measure(Protocol):
    """A way to measure agents in one environment."""

    size_name: ClassVar[str]
    """What the cases of a report are, as the option of the command is called."""

    default_size: ClassVar[int]
    """How many there are."""

    @property
    def headline(self) -> Headline:
        """What is watched and drawn."""
        ...

    def validation(self) -> Validation:
        """Prepare the cases and their reference."""
        ...

    def report(self, model: BaseAlgorithm, label: str, size: int) -> Report:
        """Compare with every reference on the same cases, which training never saw."""
        ...


def title(env: str, scenario: Scenario, cases: str) -> str:
    """What a report is about, in a line."""
    return f"{env}, {scenario.name}, K = {scenario.num_users}, B = {scenario.total_bandwidth / 1e6:g} MHz, {cases}"
