"""Configuration of an environment: its id and all arguments, as one value that makes, stores and compares it."""

import filecmp
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from multispin_env.checks import check_bool, check_instance, check_keywords, check_name, shown
from multispin_env.controllers.base import Controller, RoundsController
from multispin_env.controllers.names import controller_names, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.engine import Engine
from multispin_env.envs.observations import ObservationCodec
from multispin_env.envs.variant import DEFAULT_SCENARIO, Variant
from multispin_env.field_files import is_file_name
from multispin_env.files import sibling_file
from multispin_env.registry import ENVIRONMENTS, SCENARIOS
from multispin_env.scenario import Scenario
from multispin_env.server import DRAFTING, LAW


@dataclass(frozen=True)
class EnvConfig:
    """Complete configuration of one environment.

    `of` makes one from the arguments that ``gymnasium.make`` takes.

    ``ValueError`` or ``TypeError`` for a bad argument, naming it, what is expected and its value.

    Parameters
    ----------
    env_id
        A registered id.
    scenario
        The system.
    variant
        The environment's own arguments, with their defaults: an object of the class that the id stands for.
    action
        Encoding of actions, one of the family's ``encodings``.
    reward
        One of the variant's ``rewards``; ``None`` for the first.
    optimum
        Whether ``info`` has the optimum and the regret.

    Examples
    --------
    >>> import multispin_env as ms
    >>> config = ms.EnvConfig.of("MultiSpin/Serving-v0", num_users=4, load=0.6)
    >>> config.scenario.num_users, config.variant.load, config.action
    (4, 0.6, 'residual')
    >>> config.replace(num_users=8).make_vec(2).num_envs
    2
    >>> ms.EnvConfig.from_dict(config.to_dict()) == config
    True
    """

    env_id: str
    scenario: Scenario
    variant: Variant
    action: str = "residual"
    reward: str | None = None
    optimum: bool = False

    def __post_init__(self) -> None:
        check_name("env", self.env_id, ENVIRONMENTS.names())
        check_instance("scenario", self.scenario, Scenario)
        check_instance("variant", self.variant, ENVIRONMENTS.load(self.env_id), f"arguments of {self.env_id}")
        if self.reward is None:
            object.__setattr__(self, "reward", self.variant.learning.rewards[0])
        check_name("action", self.action, self.variant.family.encodings.names())
        check_name("reward", self.reward, self.variant.learning.rewards)
        check_bool("optimum", self.optimum)
        if self.scenario.draft_ahead and not self.variant.drafts_ahead:
            raise ValueError(f"draft_ahead: expected False in {self.env_id}, got True; use MultiSpin/DraftAhead-v0")
        if self.optimum and self.variant.comparison.optimum is None:
            raise ValueError(f"optimum: expected False in {self.env_id}, of which no optimum is known, got True")

    @classmethod
    def of(
        cls,
        env_id: str,
        scenario: Scenario | str | Mapping[str, Any] = DEFAULT_SCENARIO,
        *,
        action: str = "residual",
        reward: str | None = None,
        optimum: bool = False,
        allowed: tuple[str, ...] = (),
        **arguments: Any,
    ) -> Self:
        """Make the configuration from the arguments of ``gymnasium.make``: fields of the variant and of the scenario.

        ``scenario`` is a preset, a file, a `Scenario`, or a table of its fields. ``allowed`` are other keyword
        arguments of the caller, which an error about an unknown one suggests. Errors are those of the class, also for
        an unknown id.
        """
        check_name("env", env_id, ENVIRONMENTS.names())
        kind: type[Variant] = ENVIRONMENTS.load(env_id)
        own = [entry.name for entry in fields(kind)]
        named = ("scenario", "action", "reward", "optimum", *allowed)
        check_keywords(env_id, arguments, (*named, *sorted(own), *Scenario.field_names()))
        overrides = {name: value for name, value in arguments.items() if name not in own}
        if isinstance(scenario, str) and not is_file_name(scenario):
            overrides = {**kind.scenario_defaults, **overrides}
        system = Scenario.resolve(scenario).replace(**overrides)
        variant = kind(**{name: value for name, value in arguments.items() if name in own})
        return cls(env_id, system, variant, action, reward, optimum)

    @classmethod
    def from_spec(cls, spec: EnvSpec) -> Self:
        """Make the configuration of a specification of Gymnasium's, as ``env.spec`` is one."""
        kwargs = {name: value for name, value in spec.kwargs.items() if name not in ("env_id", "render_mode")}
        return cls.of(spec.id, **kwargs)

    def to_spec(self) -> EnvSpec:
        """Return a specification that ``gymnasium.make`` takes."""
        spec = gym.spec(self.env_id)
        return replace(spec, kwargs={**spec.kwargs, **self.kwargs})

    def make(self, **options: Any) -> gym.Env[Any, Any]:
        """Make the single environment; ``options`` are those of ``gymnasium.make``, as ``render_mode``."""
        return gym.make(self.env_id, **self.kwargs, **options)

    def make_vec(self, num_envs: int, **options: Any) -> VectorEnv[Any, Any, Any]:
        """Make the native vector environment; ``options`` are its own, as ``max_episode_steps``."""
        return gym.make_vec(
            self.env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **self.kwargs, **options
        )

    def replace(self, **changes: Any) -> Self:
        """Return the configuration with other fields, or other fields of its variant or its scenario."""
        top = [entry.name for entry in fields(self)]
        own = list(self.arguments)
        check_keywords(self.env_id, changes, (*top, *own, *Scenario.field_names()))
        chosen = {name: value for name, value in changes.items() if name in top}
        variant = {name: value for name, value in changes.items() if name in own}
        system = {name: value for name, value in changes.items() if name not in top and name not in own}
        if variant:
            chosen["variant"] = replace(chosen.get("variant", self.variant), **variant)
        if system or "scenario" in chosen:
            chosen["scenario"] = Scenario.resolve(chosen.get("scenario", self.scenario)).replace(**system)
        return replace(self, **chosen)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments that are the environment's own: the fields of its variant."""
        return {entry.name: getattr(self.variant, entry.name) for entry in fields(self.variant)}

    @property
    def chosen_arguments(self) -> dict[str, Any]:
        """Those of `arguments` that are not the defaults."""
        defaults = {entry.name: entry.default for entry in fields(self.variant)}
        return {name: value for name, value in self.arguments.items() if value != defaults[name]}

    @property
    def changes(self) -> dict[str, Any]:
        """Fields of the scenario, arguments and reward that are not the defaults, but for what headings say anyway."""
        scenario = self.scenario
        law = (*LAW, *DRAFTING) if scenario.verification_pieces and not scenario.server else ()  # "a server of its own"
        said = ("num_users", "total_bandwidth", *law)
        system = self.changed_fields if scenario.name in SCENARIOS.names() else {}
        reward = {} if self.reward == self.variant.learning.rewards[0] else {"reward": self.reward}
        return {name: value for name, value in system.items() if name not in said} | self.chosen_arguments | reward

    @property
    def changed_fields(self) -> dict[str, Any]:
        """Fields of the scenario that are not those of its preset with its server; ``ValueError`` if it has none."""
        scenario = self.scenario
        usual = Scenario.preset(scenario.name).replace(server=scenario.server, **self.variant.scenario_defaults)
        pairs = ((name, getattr(scenario, name), getattr(usual, name)) for name in Scenario.field_names())
        return {name: value for name, value, default in pairs if value != default}

    @property
    def kwargs(self) -> dict[str, Any]:
        """All arguments, as ``gymnasium.make`` takes them beside the id."""
        named = {name: getattr(self, name) for name in ("scenario", "action", "reward", "optimum")}
        return {**named, **self.arguments}

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON can hold it; files by the names of their copies beside it (`files`)."""
        return {
            "env": self.env_id,
            "scenario": self.scenario.to_dict(),
            "action": self.action,
            "reward": self.reward,
            "arguments": {**self.arguments, **self._copies},
        }

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], folder: Path = Path(), given: Mapping[str, Any] | None = None
    ) -> Self:
        """Read the configuration that `to_dict` wrote, which may come from a stranger; other entries are ignored.

        Copies of files are in ``folder``. Arguments ``given`` by the user himself may be any path; ``None`` where he
        can't give any. ``ValueError``, ``TypeError`` or ``KeyError`` for what is no configuration, or names a file
        outside.
        """
        arguments = values["arguments"]
        if not isinstance(arguments, Mapping):
            raise ValueError(f"arguments: expected a table of names and values, got {shown(arguments)}")
        check_name("env", values["env"], ENVIRONMENTS.names())
        kind: type[Variant] = ENVIRONMENTS.load(values["env"])
        loaded = dict(arguments)
        for name in _file_names(kind):
            if loaded.get(name) is not None:
                loaded[name] = _path(name, loaded[name], folder, given)
        scenario = Scenario.from_dict(values["scenario"])
        return cls(values["env"], scenario, kind(**loaded), values["action"], values.get("reward"))

    @property
    def _copies(self) -> dict[str, str]:
        """Arguments that name files, each with the name of its copy."""
        names = _file_names(type(self.variant))
        return {name: copy for name, copy in names.items() if isinstance(self.arguments[name], str | PathLike)}

    @property
    def files(self) -> dict[str, Path]:
        """Files that arguments name, each by the name that its copy has beside a stored configuration."""
        return {copy: Path(self.arguments[name]) for name, copy in self._copies.items()}

    def with_same_files(self, other: Self) -> Self:
        """Return the configuration with the paths of another where the same bytes are there."""
        pairs = {name: (self.arguments[name], other.arguments.get(name)) for name in self._copies}
        return self.replace(**{name: theirs for name, (own, theirs) in pairs.items() if _same_bytes(own, theirs)})

    @property
    def held_out(self) -> Self:
        """Configuration of the environment in which agents that learned in this one are measured."""
        return replace(self, variant=self.variant.learning.held_out or self.variant)

    def for_contender(self, contender: Any) -> Self:
        """Return the configuration with the uplink that a controller's decisions are for; other contenders keep it."""
        rule: Any = contender.base if isinstance(contender, PlugIn) else contender
        return (
            replace(self, variant=self.variant.with_uplink(rule.discipline)) if isinstance(rule, Controller) else self
        )

    @property
    def for_any_decision(self) -> Self:
        """Configuration with an encoding that can express whatever a controller decides."""
        return replace(self, action=self.variant.family.any_decision)

    @property
    def actions(self) -> Any:
        """Codec between actions and decisions."""
        return self.variant.actions(self.scenario, self.action)

    @cached_property
    def observations(self) -> ObservationCodec:
        """Codec between fields of `Observed` and observations."""
        return self.variant.observations(self.scenario)

    @property
    def sampled(self) -> bool:
        """Whether rewards are of tokens that are drawn, not of expected ones."""
        return self.reward == "sampled"

    @property
    def drawn(self) -> bool:
        """Whether tokens are drawn in every step: also where acceptance is hidden, since they are then observed."""
        return self.sampled or not self.observations.shows_acceptance

    @property
    def best_controller(self) -> RoundsController:
        """Controller that regret is measured against, where an optimum is known; it sees the true state."""
        optimum = self.variant.comparison.optimum
        assert optimum is not None  # or `optimum` is refused
        best: RoundsController = make_controller(optimum, self.scenario)
        return best

    def contender(self, name: str, **options: Any) -> Controller[Any, Any] | PlugIn:
        """Make a controller, or with estimators a plug-in, for this environment from its name."""
        family, known = self.variant.family, self.variant.assumptions(self.scenario)
        made: Controller[Any, Any] | PlugIn = make_controller(name, self.scenario, known, **options)
        base = made.base if isinstance(made, PlugIn) else made
        if family.name == "rounds" and not isinstance(base, RoundsController):  # these also play without the barrier
            raise ValueError(f"controller: expected one of rounds, of {list(controller_names('rounds'))}, got {name!r}")
        return made

    def engine(self, num_envs: int) -> Engine[Any, Any]:
        """Make the engine of n copies of the environment."""
        return self.variant.engine(self, num_envs)


def _file_names(variant: type[Variant]) -> dict[str, str]:
    """Arguments that may be paths, each with the name that its file has beside a stored configuration."""
    return {entry.name: entry.metadata["file"] for entry in fields(variant) if "file" in entry.metadata}


def _path(name: str, value: object, folder: Path, given: Mapping[str, Any] | None) -> Any:
    path = sibling_file(folder, value)
    if path is not None:
        return str(path)
    if given is None or name not in given:
        way = "" if given is None else f", or your own path by --set {name}=PATH"
        raise ValueError(f"{name}: expected a file beside the configuration{way}, got {shown(value)}")
    return given[name]


def _same_bytes(path: object, other: object) -> bool:
    try:
        return isinstance(path, str) and isinstance(other, str) and filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False
