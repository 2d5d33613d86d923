"""Cases on which contenders are compared: states if rounds are independent, otherwise whole episodes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from gymnasium.vector import VectorEnv

from multispin_env.arrays import FloatArray
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.checks import check_integer
from multispin_env.controllers.base import Controller, RoundsController
from multispin_env.controllers.names import ContenderName, controller_names, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.objectives import Goodput
from multispin_env.evaluation.comparison import METRICS, Row, compare_episodes
from multispin_env.evaluation.contenders import (
    SLOW,
    Contender,
    Decide,
    as_contender,
    contender_errors,
    contenders_of,
    native,
)
from multispin_env.evaluation.defaults import reference_of, span_of
from multispin_env.evaluation.episodes import (
    BeginPart,
    EpisodeStats,
    ReportProgress,
    Watch,
    no_progress,
    play_episodes,
    play_system,
)
from multispin_env.evaluation.policy import Policy
from multispin_env.evaluation.statistics import EPISODE_SEED, HELD_OUT_SEED, TUNING_SEED, VALIDATION_SEED
from multispin_env.physics.energy import token_energy
from multispin_env.physics.rounds import expected_outcome, sample_state
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

CERTIFICATE = 1e-6  # proven relative gap of the optimum in tables


class _Compared(ABC):
    shares_by_case: ClassVar[bool] = False  # whether rows describe the shares of the reference by case

    @property
    @abstractmethod
    def metric(self) -> str:
        """Metric that matches the reward."""

    @property
    @abstractmethod
    def reference(self) -> str:
        """Contender with which tables compare the others."""

    @abstractmethod
    def play(self, contender: Any, progress: ReportProgress | None = None) -> EpisodeStats:
        """Play every case with a contender or a named contender or system."""

    def play_all(self, contenders: Mapping[str, Any], begin: BeginPart = no_progress) -> dict[str, EpisodeStats]:
        """Play every case with each contender; errors of a contender become `ContenderError`."""
        all_stats = {}
        for name, contender in contenders.items():
            with contender_errors(name):
                all_stats[name] = self.play(contender, begin(name))
        return all_stats

    def values(self, contender: Any, progress: ReportProgress | None = None, metric: str | None = None) -> FloatArray:
        """Return a metric (n,), by default that of the cases, of a contender or of a named contender or system."""
        return METRICS[metric or self.metric].values(self.play(contender, progress))

    def table(self, contenders: Mapping[str, Any], begin: BeginPart = no_progress) -> list[Row]:
        """Compare contenders by the metric."""
        return self.rows(self.play_all(contenders, begin), self.reference, self.metric)

    def rows(self, all_stats: Mapping[str, EpisodeStats], reference: str, metric: str) -> list[Row]:
        """Compare the statistics of contenders in these cases; see `compare_episodes`."""
        return compare_episodes(all_stats, reference, metric, shares=self.shares_by_case)


@dataclass(frozen=True, eq=False)
class StateCases(_Compared):
    """Independent states, each with the expected outcome of one round."""

    noun: ClassVar[str] = "states"
    default_size: ClassVar[int] = 500  # of a table
    validation_size: ClassVar[int] = 200  # during training
    reference_title: ClassVar[str] = "optimum"
    metric = "goodput"
    shares_by_case: ClassVar[bool] = True

    scenario: Scenario
    state: SystemState  # arrays (n, K)
    seed: int = HELD_OUT_SEED
    reference: str = "optimal"
    contenders: tuple[str, ...] = ()  # empty for all controllers of rounds but `SLOW`, and `SYSTEMS`
    certify: float | None = CERTIFICATE  # relative gap of the optimum to prove; None for no proof

    def __post_init__(self) -> None:
        if not self.contenders:
            names = dict.fromkeys((*controller_names("rounds", self.scenario), *SYSTEMS))
            object.__setattr__(self, "contenders", tuple(name for name in names if name not in SLOW))

    @classmethod
    def draw(cls, scenario: Scenario, size: int = default_size, seed: int = HELD_OUT_SEED, **others: Any) -> Self:
        """Draw ``size`` states from the seed; ``others`` are fields of the class."""
        return cls(scenario, sample_state(scenario, np.random.default_rng(seed), size), seed, **others)

    @cached_property
    def size(self) -> int:
        """Number of states n."""
        return len(self.state.draft_time)

    def play(self, contender: Decide | str, progress: ReportProgress | None = None) -> EpisodeStats:
        """Play one round in every state with a controller, a function from states to decisions, or a name."""
        if isinstance(contender, str) and contender in SYSTEMS:
            return EpisodeStats.of_system(self.scenario, SYSTEMS[contender](self.scenario, self.state)[None])
        decision = (self.make(contender) if isinstance(contender, str) else contender)(self.state)
        outcome = expected_outcome(self.scenario, self.state, decision)
        returns = outcome.goodput / self.scenario.autoregressive_goodput
        drafted = decision.draft_length.astype(float)
        token, drafting = token_energy(self.scenario, self.state), self.scenario.devices.joules(self.state.draft_energy)
        energy = self.scenario.uplink.round_joules(drafted, outcome.upload_time, token, drafting)
        joules = np.add.reduce(energy, -1)
        parts = outcome.tokens, drafted, outcome.round_latency, returns, outcome.goodput
        return EpisodeStats(1, *parts, joules=joules)

    def make(self, name: str) -> RoundsController:
        """Make a controller from its name; ``"optimal"`` proves its gap to the optimum if ``certify`` is set."""
        certified: dict[str, Any] = {"certify": self.certify} if name == "optimal" and self.certify is not None else {}
        return make_controller(name, self.scenario, **certified)

    @property
    def title(self) -> str:
        """Number of states as text."""
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


@dataclass(frozen=True, eq=False)
class Episodes(_Compared):
    """Whole episodes, one in each environment of a vector.

    Controllers and plug-ins use an action encoding that can express any decision, a `Policy` uses its own encoding, and
    other contenders use that of ``config``.
    """

    noun: ClassVar[str] = "episodes"
    default_size: ClassVar[int] = 200
    validation_size: ClassVar[int] = 50
    reference_title: ClassVar[str] = "reference"

    config: EnvConfig
    size: int  # n ≥ 2
    seed: int | tuple[int, ...] = EPISODE_SEED  # of the first episode, or of each

    def env(self, config: EnvConfig | None = None) -> VectorEnv[Any, Any, Any]:
        """Return the cached environment of a configuration; by default, with an encoding for any decision."""
        config = self.config.for_any_decision if config is None else config
        if config not in self._envs:
            self._envs[config] = config.make_vec(check_integer("episodes", self.size, 2))
        return self._envs[config]

    @cached_property
    def _envs(self) -> dict[EnvConfig, VectorEnv[Any, Any, Any]]:
        return {}

    @cached_property
    def metric(self) -> str:
        """Metric that matches the reward."""
        return native(self.env()).objective.metric

    @cached_property
    def reference(self) -> str:
        """Name of the optimal controller, which sees the true state, or of the environment's first contender."""
        return reference_of(self.config)

    @cached_property
    def contenders(self) -> tuple[str, ...]:
        """Contenders of the environment, or else all controllers whose decisions its actions can express."""
        return contenders_of(self.config.for_any_decision)

    @property
    def systems(self) -> tuple[str, ...]:
        """Other systems to compare with: all if rounds are independent, otherwise none."""
        return tuple(SYSTEMS) if self.config.independent else ()

    @property
    def system_metrics(self) -> tuple[str, ...]:
        """Metrics that other systems have; their return is a goodput too."""
        returns = has_goodput_reward(self.config) and self.config.reward != "share"
        return ("goodput", "token_goodput", *(("return",) if returns else ()))

    def play(self, contender: Any, progress: ReportProgress | None = None, watch: Watch | None = None) -> EpisodeStats:
        """Play every episode with a system or a contender of `multispin_env.compare`; see `play_episodes`."""
        if isinstance(contender, str) and contender in SYSTEMS:
            return play_system(self.env(), contender, self.seed, progress)
        contender = as_contender(contender, self.config)
        return play_episodes(self.env_for(contender), contender, self.seed, progress, watch)

    def env_for(self, contender: Contender) -> VectorEnv[Any, Any, Any]:
        """Return the environment of a contender, with its action encoding and uplink discipline."""
        config = self.config.for_contender(contender)
        if isinstance(contender, Controller | PlugIn):
            return self.env(config.for_any_decision)
        return self.env(config.replace(action=contender.config.action) if isinstance(contender, Policy) else config)

    @property
    def title(self) -> str:
        """Number and length of the episodes as text."""
        kind = "held-out episodes" if self.seed == EPISODE_SEED else "episodes"
        return f"{self.size} {kind} of {span_of(self.config)}"

    @property
    def about(self) -> dict[str, Any]:
        """Environment, sizes, seed, metric, reference and scenario."""
        return {
            "env": self.config.env_id,
            "action": self.config.action,
            "arguments": {name: str(value) for name, value in self.config.non_defaults.items()},
            "episodes": self.size,
            "rounds": self.config.arguments.get("rounds"),
            "seed": self.seed,
            "metric": self.metric,
            "reference": self.reference,
            "scenario": self.config.scenario.to_dict(),
        }


Cases = StateCases | Episodes


def listed_contenders(cases: Cases) -> dict[str, str]:
    """Return the reference and the default contenders of cases, as an argument for ``table``."""
    return {name: name for name in (cases.reference, *cases.contenders)}


def changed_settings(arguments: Mapping[str, Any]) -> str:
    """Return changed arguments as text for headings, each with a leading comma."""
    return "".join(f", {name}={value}" for name, value in arguments.items())


def heading(config: EnvConfig, what: str) -> str:
    """Return the title of a table: the environment, its system and ``what`` the table contains."""
    scenario = config.scenario
    system = f"{config.env_id}{changed_settings(config.non_defaults)}, {scenario.label}"
    return f"{system}, K = {scenario.num_users}, B = {scenario.total_bandwidth / 1e6:g} MHz, {what}"


def held_out(config: EnvConfig, size: int | None = None, offset: int = 0) -> Cases:
    """Return cases that training and tuning never use: states if rounds are independent, otherwise episodes.

    The default size is that of tables. A nonzero ``offset`` is added to the seed and gives new cases.
    """
    seeds = HELD_OUT_SEED + offset, EPISODE_SEED + offset
    return _cases(config.held_out, size or cases_of(config).default_size, *seeds, CERTIFICATE)


def validation_cases(config: EnvConfig) -> Cases:
    """Return cases for validation during training; the gap of the optimum is not proven, to save time."""
    return _cases(config, cases_of(config).validation_size, VALIDATION_SEED, TUNING_SEED, None)


def cases_of(config: EnvConfig) -> type[StateCases] | type[Episodes]:
    """Return the kind of cases for an environment; rounds with a user's own physics or reward are played in it."""
    known = config.independent and not config.simulator(1).own_physics and has_goodput_reward(config)
    return StateCases if known else Episodes


def has_goodput_reward(config: EnvConfig) -> bool:
    """Return whether the reward is the package's goodput, or a share of it."""
    return type(config.simulator(1).objective) is Goodput


def _cases(config: EnvConfig, size: int, state_seed: int, episode_seed: int, certify: float | None) -> Cases:
    if cases_of(config) is Episodes:
        return Episodes(config, size, episode_seed)
    best, names = ContenderName.parse(reference_of(config)).controller, contenders_of(config)
    return StateCases.draw(config.scenario, size, state_seed, reference=best, contenders=names, certify=certify)
