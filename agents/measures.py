"""Measures of agents: while they train, and against the references at the end."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from agents.policies.network import policy_of
from multispin_env.envs.settings import Settings
from multispin_env.evaluation.cases.base import Cases, heading, listed_contenders
from multispin_env.evaluation.cases.choice import cases_of, held_out, watched
from multispin_env.evaluation.cases.states import States
from multispin_env.evaluation.comparison import METRICS, Row, comparison_cells
from multispin_env.evaluation.table import aligned

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
class Report:
    """The comparison of one agent with every reference."""

    title: str
    text: str  # tables, aligned
    about: dict[str, Any]
    rows: list[Row]
    axis: str  # what the means of the rows are
    headline: Headline


@dataclass(frozen=True)
class Measure:
    """Measures agents in one environment, on the cases that it is compared on.

    Parameters
    ----------
    env
        Environment id.
    settings
        The environment.
    """

    env: str
    settings: Settings

    @property
    def kind(self) -> type[Cases]:
        """What the cases are."""
        return cases_of(self.settings)

    @cached_property
    def headline(self) -> Headline:
        """Share of the reference where a share says something, else the metric itself."""
        metric = METRICS[self._watched.metric]
        if not metric.has_share:
            return Headline(self._watched.metric, self._watched.metric, metric.header)
        known = self._watched.best_known
        return Headline("share_of_reference", f"of {known}", f"share of {known}")

    def validation(self) -> Validation:
        """Let the reference play the cases that a run watches itself on."""
        cases, headline = self._watched, self.headline
        metric = METRICS[cases.metric]
        best = cases.values(cases.reference)

        def validate(model: BaseAlgorithm) -> dict[str, float]:
            stats = cases.play(policy_of(model, self.settings))
            reached = metric.values(stats)
            share = {headline.key: float(reached.mean() / best.mean())} if metric.has_share else {}
            return {
                **share,
                "goodput": float(stats.goodput.mean()),
                "return": float(stats.returns.mean()),
                "regret": float((best - reached).mean()),
                "round_latency": float(stats.round_latency.mean()),
                "draft_length": float(stats.draft_length.mean()),
            }

        return validate

    def report(self, model: BaseAlgorithm, label: str, size: int | None = None) -> Report:
        """Compare with every reference on the same cases, which training never saw."""
        cases, settings = self._compared(size), self.settings.held_out
        rows = cases.table({**listed_contenders(cases), label: policy_of(model, settings)})
        what = cases.title if isinstance(cases, States) else f"{cases.title}; reference: {cases.reference}"
        return Report(
            title=heading(self.env, settings.chosen_arguments, settings.scenario, what),
            text=f"{aligned(*comparison_cells(rows, cases.metric, cases.reference_title))}{_below(cases, rows, label)}",
            about={"env": self.env, **cases.about},
            rows=rows,
            axis=METRICS[cases.metric].header,
            headline=self.headline,
        )

    @cached_property
    def _watched(self) -> Cases:
        return watched(self.env, self.settings)

    def _compared(self, size: int | None) -> Cases:
        """Held-out cases; on states every controller and system is shown, whether or not actions can express it."""
        if self.kind is States:
            return States.draw(self.settings.held_out.scenario, size or States.default_size)
        return held_out(self.env, self.settings, size)


def _below(cases: Cases, rows: list[Row], label: str) -> str:
    """What stands below the table."""
    if isinstance(cases, States):
        spread = next(row for row in rows if row.name == label).details
        return (
            f"\n\n{label}, share of the optimum in each state: mean {spread['share_mean']:.5f}, "
            f"5 % quantile {spread['share_quantile_5']:.5f}, lowest {spread['share_lowest']:.5f}"
        )
    cells = METRICS[cases.metric].below
    return "" if cells is None else f"\n\n{aligned(*cells(rows))}"
