"""Whole episodes, where something is hidden or remembered."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

from gymnasium.vector import VectorEnv

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_name
from multispin_env.controllers.base import Controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.controllers.rounds.systems import SYSTEMS
from multispin_env.envs.settings import Variant
from multispin_env.envs.shells import MultiSpinVectorEnv
from multispin_env.evaluation.comparison import METRICS, Row, compare_episodes
from multispin_env.evaluation.contenders import (
    Contender,
    contenders_of,
    make_contender,
    native,
    with_uplink_of,
)
from multispin_env.evaluation.episode_stats import EpisodeStats
from multispin_env.evaluation.episodes import ReportProgress, make_episode_env, play_episodes, play_system
from multispin_env.evaluation.policy import Policy
from multispin_env.evaluation.seeds import EPISODE_SEED
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario


@dataclass(frozen=True, eq=False)
class Episodes:
    """Whole episodes of an environment, one in each copy.

    The encoding ``action`` is for agents that are plain functions. A `Policy` has its own; controllers and plug-ins
    play with one that can express whatever they decide.
    """

    noun: ClassVar[str] = "episodes"
    default_size: ClassVar[int] = 200
    watched_size: ClassVar[int] = 50
    reference_title: ClassVar[str] = "reference"

    env_id: str
    size: int  # n ≥ 2
    scenario: Scenario | str
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of the environment, all but its action encoding
    seed: int = EPISODE_SEED  # of the first episode
    action: str | None = None

    def env(self, action: str | None = None, variant: Variant | None = None) -> VectorEnv[Any, Any, Any]:
        """The environment with an action encoding, by default one for any decision, and as a contender needs it."""
        kind = self._variant if variant is None else variant
        chosen, changed = (
            self._variant.family.any_decision if action is None else action,
            differing(kind, self._variant),
        )
        key = (chosen, repr(changed))
        if key not in self._envs:
            arguments = {**self.arguments, **changed, "action": chosen}
            self._envs[key] = make_episode_env(self.env_id, self.size, self.scenario, arguments)
        return self._envs[key]

    @cached_property
    def _envs(self) -> dict[tuple[str, str], VectorEnv[Any, Any, Any]]:
        return {}

    @cached_property
    def _variant(self) -> Variant:
        """What the environment is for agents."""
        check_name("env", self.env_id, ENVIRONMENTS.names())
        kind: type[Variant] = ENVIRONMENTS.load(self.env_id)
        own = {field.name for field in fields(kind)}
        return kind(**{name: value for name, value in self.arguments.items() if name in own})

    @cached_property
    def metric(self) -> str:
        """What fits that which the environment rewards."""
        return self._base.objective.metric

    @cached_property
    def reference(self) -> str:
        """The environment's optimum, with the truth; where there is none, the first that its variant lists."""
        return self._variant.comparison.reference

    @cached_property
    def contenders(self) -> tuple[str, ...]:
        """What the environment's variant lists, else every controller whose decisions its actions can express."""
        return contenders_of(self._base.settings)

    @property
    def systems(self) -> tuple[str, ...]:
        """Other systems to compare with: all where rounds are independent, else none."""
        return tuple(SYSTEMS) if self._base.settings.variant.comparison.states else ()

    def play(self, contender: Contender | str, progress: ReportProgress | None = None) -> EpisodeStats:
        """Let a controller, a plug-in, an agent, or what has a name, play every episode; see `play_episodes`.

        For the name of a system see `play_system`.
        """
        if isinstance(contender, str) and contender in SYSTEMS:
            return play_system(self.env(), contender, self.seed, progress)
        chosen = make_contender(contender, self.env()) if isinstance(contender, str) else contender
        return play_episodes(self.env_for(chosen), chosen, self.seed, progress)

    def env_for(self, contender: Contender) -> VectorEnv[Any, Any, Any]:
        """The environment in which a contender plays: with its action encoding, and as it needs it."""
        return self.env(self._action_of(contender), with_uplink_of(contender, self._variant))

    def _action_of(self, contender: Contender) -> str | None:
        if isinstance(contender, Policy):
            return contender.settings.action
        return None if isinstance(contender, Controller | PlugIn) else self.action

    def values(self, contender: Contender | str) -> FloatArray:
        """The metric (n,) of a contender, or of the one of a name."""
        return METRICS[self.metric].values(self.play(contender))

    def table(self, contenders: Mapping[str, Contender | str]) -> list[Row]:
        """Compare by the metric; details are all that the statistics hold."""
        return compare_episodes(
            {name: self.play(contender) for name, contender in contenders.items()}, self.reference, self.metric
        )

    @property
    def best_known(self) -> str:
        """Name of the reference."""
        return self.reference

    @property
    def title(self) -> str:
        """How many, and how long."""
        kind = "held-out episodes" if self.seed == EPISODE_SEED else "episodes"
        return f"{self.size} {kind} of {self._variant.comparison.span(self._base.max_episode_steps)}"

    @property
    def about(self) -> dict[str, Any]:
        """Environment, sizes, seed, metric, reference and scenario."""
        return {
            "env": self.env_id,
            "arguments": {name: str(value) for name, value in self.arguments.items()},
            "episodes": self.size,
            "rounds": self._base.max_episode_steps,
            "seed": self.seed,
            "metric": self.metric,
            "reference": self.reference,
            "scenario": self._base.scenario.to_dict(),
        }

    @property
    def _base(self) -> MultiSpinVectorEnv:
        return native(self.env())


def differing(variant: Variant, other: Variant) -> dict[str, Any]:
    """Arguments of an environment that are not those of another."""
    pairs = ((entry.name, getattr(variant, entry.name)) for entry in fields(variant))
    return {name: value for name, value in pairs if value != getattr(other, name)}
