"""Cases, the same for everyone: independent states where all is known, else whole episodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from gymnasium.vector import VectorEnv

from multispin_env.arrays import FloatArray
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.checks import check_name
from multispin_env.controllers.base import Controller, RoundsController
from multispin_env.controllers.names import ContenderName, controller_names, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.comparison import METRICS, Row, compare_episodes, compare_values
from multispin_env.evaluation.contenders import (
    Contender,
    Decide,
    contenders_of,
    make_contender,
    native,
    results_by_name,
)
from multispin_env.evaluation.episodes import (
    BeginPart,
    EpisodeStats,
    ReportProgress,
    make_episode_env,
    no_progress,
    play_episodes,
    play_system,
)
from multispin_env.evaluation.policy import Policy
from multispin_env.evaluation.statistics import EPISODE_SEED, HELD_OUT_SEED, TUNING_SEED, VALIDATION_SEED
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

CERTIFICATE = 1e-6
"""Relative gap to which the optimum of a table is proven."""


@dataclass(frozen=True, eq=False)
class States:
    """Independent states, each a round by itself, priced by its expectation."""

    noun: ClassVar[str] = "states"
    default_size: ClassVar[int] = 500  # of a table
    validation_size: ClassVar[int] = 200  # that a training run watches itself on
    metric: ClassVar[str] = "goodput"
    reference_title: ClassVar[str] = "optimum"

    scenario: Scenario
    state: SystemState  # arrays (n, K)
    seed: int = HELD_OUT_SEED  # that they were drawn with
    reference: str = "optimal"
    contenders: tuple[str, ...] = ()  # none: all controllers that can play, and `SYSTEMS`
    certify: float | None = CERTIFICATE  # relative gap to which the optimum is proven; None for the rule alone

    def __post_init__(self) -> None:
        if not self.contenders:
            names = dict.fromkeys((*controller_names("rounds", self.scenario), *SYSTEMS))
            object.__setattr__(self, "contenders", tuple(names))

    @classmethod
    def draw(cls, scenario: Scenario, size: int = default_size, seed: int = HELD_OUT_SEED, **others: Any) -> "States":
        """Draw so many; scenario and seed alone decide which. ``others`` are fields of the class."""
        return cls(scenario, sample_state(scenario, np.random.default_rng(seed), size), seed, **others)

    @cached_property
    def size(self) -> int:
        """n."""
        return len(self.state.draft_time)

    def play(self, contender: Decide | str, progress: ReportProgress | None = None) -> EpisodeStats:
        """Let a controller, or what decides for states as one, play every state."""
        decision = (self.make(contender) if isinstance(contender, str) else contender)(self.state)
        outcome = expected_outcome(self.scenario, self.state, decision)
        returns = outcome.goodput / self.scenario.autoregressive_goodput
        return EpisodeStats(
            1, outcome.tokens, decision.draft_length.astype(float), outcome.round_latency, returns, outcome.goodput
        )

    def make(self, name: str) -> RoundsController:
        """Make the controller of a name; the optimum is certified."""
        certified: dict[str, Any] = {"certify": self.certify} if name == "optimal" and self.certify is not None else {}
        return make_controller(name, self.scenario, **certified)

    def values(self, contender: Decide | str, progress: ReportProgress | None = None) -> FloatArray:
        """Expected goodput (n,) in tokens/s of a contender, of the controller of a name, or of a system."""
        if isinstance(contender, str) and contender in SYSTEMS:
            goodput: FloatArray = SYSTEMS[contender](self.scenario, self.state)
            return goodput
        return self.play(contender, progress).goodput

    def table(self, contenders: Mapping[str, Decide | str], begin: BeginPart = no_progress) -> list[Row]:
        """Compare by goodput; details are about the share of the reference in each state."""
        values = results_by_name(contenders, lambda name, contender: self.values(contender, begin(name)))
        check_name("reference", self.reference, values)
        shares = {name: own / values[self.reference] for name, own in values.items()}
        return compare_values(values, self.reference, details={name: _spread(share) for name, share in shares.items()})

    @property
    def best_known(self) -> str:
        """The optimum."""
        return "the optimum"

    @property
    def title(self) -> str:
        """How many."""
        return f"{self.size} held-out states"

    @property
    def about(self) -> dict[str, Any]:
        """Size, seed, reference and scenario."""
        return {
            "states": self.size,
            "seed": self.seed,
            "metric": self.metric,
            "reference": self.reference,
            "scenario": self.scenario.to_dict(),
        }


def _spread(share: FloatArray) -> dict[str, float]:
    return {
        "share_mean": float(share.mean()),
        "share_quantile_5": float(np.quantile(share, 0.05)),
        "share_lowest": float(share.min()),
    }


@dataclass(frozen=True, eq=False)
class Episodes:
    """Whole episodes of an environment, one in each copy.

    Controllers and plug-ins play with an encoding that can express whatever they decide, a `Policy` with its own, all
    others with that of ``config``.
    """

    noun: ClassVar[str] = "episodes"
    default_size: ClassVar[int] = 200
    validation_size: ClassVar[int] = 50
    reference_title: ClassVar[str] = "reference"

    config: EnvConfig
    size: int  # n ≥ 2
    seed: int = EPISODE_SEED  # of the first episode
    max_episode_steps: int | None = None  # None: as ``gymnasium.make_vec`` has it

    def env(self, config: EnvConfig | None = None) -> VectorEnv[Any, Any, Any]:
        """Return the environment, by default with an encoding for any decision; made once for a configuration."""
        chosen = self.config.for_any_decision if config is None else config
        if chosen not in self._envs:
            steps = {} if self.max_episode_steps is None else {"max_episode_steps": self.max_episode_steps}
            self._envs[chosen] = make_episode_env(chosen, self.size, **steps)
        return self._envs[chosen]

    @cached_property
    def _envs(self) -> dict[EnvConfig, VectorEnv[Any, Any, Any]]:
        return {}

    @cached_property
    def metric(self) -> str:
        """What fits that which the environment rewards."""
        return self._base.objective.metric

    @cached_property
    def reference(self) -> str:
        """The environment's optimum, with the truth; where there is none, the first that its variant lists."""
        return self.config.variant.comparison.reference

    @cached_property
    def contenders(self) -> tuple[str, ...]:
        """What the environment's variant lists, else every controller whose decisions its actions can express."""
        return contenders_of(self.config.for_any_decision)

    @property
    def systems(self) -> tuple[str, ...]:
        """Other systems to compare with: all where rounds are independent, else none."""
        return tuple(SYSTEMS) if self.config.variant.comparison.states else ()

    def play(self, contender: Contender | str, progress: ReportProgress | None = None) -> EpisodeStats:
        """Let a contender, or what has a name, play every episode; see `play_episodes` and `play_system`."""
        if isinstance(contender, str) and contender in SYSTEMS:
            return play_system(self.env(), contender, self.seed, progress)
        chosen = make_contender(contender, self.env()) if isinstance(contender, str) else contender
        return play_episodes(self.env_for(chosen), chosen, self.seed, progress)

    def env_for(self, contender: Contender) -> VectorEnv[Any, Any, Any]:
        """Return the environment in which a contender plays: with its action encoding and its uplink."""
        config = self.config.for_contender(contender)
        if isinstance(contender, Controller | PlugIn):
            return self.env(config.for_any_decision)
        return self.env(config.replace(action=contender.config.action) if isinstance(contender, Policy) else config)

    def values(self, contender: Contender | str, progress: ReportProgress | None = None) -> FloatArray:
        """The metric (n,) of a contender, or of the one of a name."""
        return METRICS[self.metric].values(self.play(contender, progress))

    def table(self, contenders: Mapping[str, Contender | str], begin: BeginPart = no_progress) -> list[Row]:
        """Compare by the metric; details are all that the statistics hold."""
        played = results_by_name(contenders, lambda name, contender: self.play(contender, begin(name)))
        return compare_episodes(played, self.reference, self.metric)

    @property
    def best_known(self) -> str:
        """Name of the reference."""
        return self.reference

    @property
    def title(self) -> str:
        """How many, and how long."""
        kind = "held-out episodes" if self.seed == EPISODE_SEED else "episodes"
        return f"{self.size} {kind} of {self.config.variant.comparison.span(self._base.max_episode_steps)}"

    @property
    def about(self) -> dict[str, Any]:
        """Environment, sizes, seed, metric, reference and scenario."""
        return {
            "env": self.config.env_id,
            "action": self.config.action,
            "arguments": {name: str(value) for name, value in self.config.changes.items()},
            "episodes": self.size,
            "rounds": self._base.max_episode_steps,
            "seed": self.seed,
            "metric": self.metric,
            "reference": self.reference,
            "scenario": self.config.scenario.to_dict(),
        }

    @property
    def _base(self) -> MultiSpinVectorEnv:
        return native(self.env())


Cases = States | Episodes


def listed_contenders(cases: Cases) -> dict[str, str]:
    """The reference of cases and all that is worth comparing there, each once, for their ``table``."""
    return {name: name for name in (cases.reference, *cases.contenders)}


def changed_settings(arguments: Mapping[str, Any]) -> str:
    """Return settings that a user chose as headings show them, each behind a comma."""
    return "".join(f", {name}={value}" for name, value in arguments.items())


def heading(config: EnvConfig, what: str) -> str:
    """Title of a table in a line: the environment, its system, and what the table shows of it."""
    scenario = config.scenario
    system = f"{config.env_id}{changed_settings(config.changes)}, {scenario.label}"
    return f"{system}, K = {scenario.num_users}, B = {scenario.total_bandwidth / 1e6:g} MHz, {what}"


def held_out(config: EnvConfig, size: int | None = None, offset: int = 0) -> Cases:
    """Return cases that training and tuning never see: states where rounds are independent, else episodes.

    By default as many as tables have. Another ``offset`` of the seed gives fresh cases.
    """
    kind = cases_of(config)
    chosen, measured = size or kind.default_size, config.held_out
    if kind is States:
        return _states(measured, chosen, HELD_OUT_SEED + offset, CERTIFICATE)
    return Episodes(measured, chosen, EPISODE_SEED + offset)


def validation_cases(config: EnvConfig) -> Cases:
    """Return cases that a training run watches itself on; the optimum is not certified, which takes less time."""
    kind = cases_of(config)
    if kind is States:
        return _states(config, kind.validation_size, VALIDATION_SEED, None)
    return Episodes(config, kind.validation_size, TUNING_SEED)


def cases_of(config: EnvConfig) -> type[States] | type[Episodes]:
    """Return the kind of cases that an environment is compared on."""
    return States if config.variant.comparison.states else Episodes


def _states(config: EnvConfig, size: int, seed: int, certify: float | None) -> States:
    best = ContenderName.parse(config.variant.comparison.reference).controller
    names = contenders_of(config)
    return States.draw(config.scenario, size, seed, reference=best, contenders=names, certify=certify)
