"""Agents on whole episodes, in pairs with plug-ins and the clairvoyant: where something is hidden or remembered."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.measures.base import Bar, Headline, Report, Validation, title
from multispin_env.envs.engine import Observation
from multispin_env.envs.settings import Settings, Variant
from multispin_env.evaluation.comparison import (
    METRICS,
    EpisodeRow,
    compare,
    comparison_cells,
    default_metric,
    play_all,
    user_cells,
)
from multispin_env.evaluation.contenders import default_reference, native
from multispin_env.evaluation.episodes import make_episode_env, play_episodes
from multispin_env.evaluation.seeds import EPISODE_SEED, TUNING_SEED
from multispin_env.evaluation.table import aligned

VALIDATION_EPISODES = 50


@dataclass(frozen=True)
class ModelAgent:
    """Deterministic actions of a model, from observations alone."""

    model: BaseAlgorithm

    def __call__(self, observation: Observation) -> NDArray[Any]:
        """Actions (n, K, columns)."""
        return np.asarray(self.model.predict(observation, deterministic=True)[0])  # type: ignore[arg-type]


@dataclass(frozen=True)
class EpisodeMeasure:
    """The metric that fits the environment, over the same episodes for everyone.

    Parameters
    ----------
    env
        Environment id.
    settings
        The environment.
    """

    size_name: ClassVar[str] = "episodes"
    default_size: ClassVar[int] = 200

    env: str
    settings: Settings

    @property
    def headline(self) -> Headline:
        """Share of the reference where a share says something, else the metric itself."""
        if self._has_share:
            return Headline("share_of_reference", f"of {self._reference}", f"share of {self._reference}")
        return Headline(self._metric, self._metric, METRICS[self._metric].header)

    def validation(self) -> Validation:
        """Play the reference on the episodes that a run watches itself on."""
        env = self._make(self.settings, VALIDATION_EPISODES, self.settings.action)
        values = METRICS[self._metric].values
        best = values(play_episodes(self._make(self.settings, VALIDATION_EPISODES), self._reference, TUNING_SEED))

        def validate(model: BaseAlgorithm) -> dict[str, float]:
            played = play_episodes(env, ModelAgent(model), TUNING_SEED)
            reached = values(played)
            share = {"share_of_reference": float(reached.mean() / best.mean())} if self._has_share else {}
            return {
                **share,
                "goodput": float(played.goodput.mean()),
                "return": float(played.returns.mean()),
                "regret": float((best - reached).mean()),
            }

        return validate

    def report(self, model: BaseAlgorithm, label: str, size: int) -> Report:
        """Play the same held-out episodes by what the variant lists and by the agent."""
        settings = self.settings.held_out
        env, metric, reference = self._make(settings, size), self._metric, self._reference
        names = dict.fromkeys((reference, *self.settings.variant.contenders))
        played = play_all(env, names, EPISODE_SEED)
        agent = play_episodes(self._make(settings, size, settings.action), ModelAgent(model), EPISODE_SEED)
        rows = compare({**played, label: agent}, reference, metric)
        text = aligned(*comparison_cells(rows, metric))
        if not self._has_share:
            text += "\n\n" + aligned(*user_cells(rows))
        rounds = native(env).max_episode_steps
        return Report(
            title=title(self.env, self.settings.scenario, self._cases(size, rounds)),
            text=text,
            about=self._about(size, rounds),
            rows=rows,
            bars=[self._bar(row) for row in rows],
            axis=METRICS[metric].header,
            headline=self.headline,
        )

    @cached_property
    def _metric(self) -> str:
        return default_metric(self._make(self.settings, 2))

    @cached_property
    def _reference(self) -> str:
        return default_reference(self._make(self.settings, 2))

    @property
    def _has_share(self) -> bool:
        return METRICS[self._metric].has_share

    def _make(self, settings: Settings, episodes: int, action: str = "residual") -> VectorEnv[Any, Any, Any]:
        """Environment of so many episodes; references play with the encoding that can express any decision."""
        arguments = {"action": action, **_chosen(settings.variant)}
        return make_episode_env(self.env, episodes, settings.scenario, arguments)

    def _cases(self, size: int, rounds: int) -> str:
        chosen = "".join(f"{name}={value}, " for name, value in _chosen(self.settings.held_out.variant).items())
        return f"{chosen}{size} held-out episodes of {rounds} rounds; reference: {self._reference}"

    def _about(self, size: int, rounds: int) -> dict[str, Any]:
        return {
            "env": self.env,
            "arguments": {name: str(value) for name, value in _chosen(self.settings.held_out.variant).items()},
            "episodes": size,
            "rounds": rounds,
            "seed": EPISODE_SEED,
            "metric": self._metric,
            "reference": self._reference,
            **self.settings.scenario.to_dict(),
        }

    def _bar(self, row: EpisodeRow) -> Bar:
        return Bar(row.name, row.mean, row.low, row.high, row.mean if row.share is None else row.share)


def _chosen(variant: Variant) -> dict[str, Any]:
    """Of a variant's arguments, those that are not its defaults."""
    given = {field.name: (getattr(variant, field.name), field.default) for field in fields(variant)}
    return {name: value for name, (value, default) in given.items() if value != default}
