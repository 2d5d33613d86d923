"""Base of the configurations of environments: an id is one class, whose objects are hashable and stored as JSON."""

import filecmp
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self

import gymnasium as gym
from gymnasium.vector import VectorEnv

from multispin_env.checks import (
    check_bool,
    check_complete,
    check_fields,
    check_instance,
    check_keywords,
    check_name,
    checked_field,
    listed,
    shown,
)
from multispin_env.controllers.base import Assumptions, Controller, DecisionT, RoundsController, State
from multispin_env.controllers.names import controller_names, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.knowledge import Knowledge
from multispin_env.envs.observations import ObservationCodec
from multispin_env.envs.rendering.traces import Trace
from multispin_env.envs.simulator import Simulator
from multispin_env.field_files import is_file_name
from multispin_env.files import sibling_file
from multispin_env.registry import ENVIRONMENTS, SCENARIOS, Registry
from multispin_env.scenario import Scenario
from multispin_env.server import DRAFTING, LAW, MEMORY

if TYPE_CHECKING:  # not needed at import
    from multispin_env.envs.actions import ActionCodec

_COMMON = ("scenario", "action", "reward", "optimum")  # fields of `EnvConfig`

DEFAULT_SCENARIO = "llama2"
"""Default scenario of all environments."""


@dataclass(frozen=True)
class InfoKeys:
    """Keys of ``info`` that comparisons sum over steps."""

    tokens: str  # (K,) gained tokens
    drafted: str  # (K,) drafted tokens
    time: str  # s
    goodput: str | None  # tokens/s of a step; None if steps are not averaged
    episode: tuple[str, ...] = ()  # (n,), totals of the episode so far


@dataclass(frozen=True, kw_only=True)
class EnvConfig(ABC, Generic[State, DecisionT]):
    """Complete configuration of one environment; each id has one subclass, whose docstring is its page.

    Fields of a subclass are the environment's own arguments; all need defaults. A field that may be a path has
    ``metadata={"file": NAME}``: the name of the file's copy in the folder of a stored configuration. `of` makes a
    configuration from the arguments of ``gymnasium.make``.

    ``ValueError`` or ``TypeError`` for an invalid argument; the message has its name, its value and the expected ones.

    Parameters
    ----------
    scenario
        The system.
    action
        Encoding of actions, one of the class's ``encodings``.
    reward
        One of the class's ``rewards``; ``None`` for the first.
    optimum
        Whether ``info`` holds the optimum and the regret.

    Examples
    --------
    >>> import multispin_env as ms
    >>> config = ms.EnvConfig.of("MultiSpin/Serving-v0", num_users=4, load=0.6)
    >>> config.scenario.num_users, config.load, config.action
    (4, 0.6, 'residual')
    >>> config.replace(num_users=8).make_vec(2).num_envs
    2
    >>> ms.EnvConfig.from_dict(config.to_dict()) == config
    True
    """

    env_id: ClassVar[str]

    family: ClassVar[str]
    """``"rounds"`` or ``"continuous"``, an argument of `controller_names`."""

    encodings: ClassVar[Registry]
    """Allowed values of ``action``."""

    universal_encoding: ClassVar[str]
    """Encoding that can express every decision."""

    timeline: ClassVar[type[Trace]]
    """Record of an episode, for pictures."""

    info_keys: ClassVar[InfoKeys]
    """Keys of ``info`` that comparisons sum over steps."""

    optimal: ClassVar[str | None] = None
    """Controller that is optimal if the state is known; ``None`` if there is none."""

    independent: ClassVar[bool] = False
    """Whether rounds are independent, so that contenders are compared on states instead of whole episodes."""

    has_slopes: ClassVar[bool] = False
    """Whether rewards have derivatives with respect to actions."""

    starts: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    """For each encoding whose action 0 is a rule: the rules to choose from, with the default first."""

    contenders: ClassVar[tuple[str, ...] | None] = None
    """Default contenders of your own environment, best first; ``None`` for those of its base class."""

    discount: ClassVar[float | None] = None
    """Discount γ of your own environment, per round or, without the barrier, second; ``None`` for its base class's."""

    scenario_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Fields of `Scenario` that presets have in this environment, instead of their own."""

    drafts_ahead: ClassVar[bool] = True
    """Whether ``draft_ahead=True`` is allowed."""

    entries: ClassVar[tuple[str, ...]]
    """Entries of the observation except ``shared`` if acceptance and channels are known; `knowledge` changes them."""

    scenario: Scenario
    action: str = "residual"
    reward: str | None = None
    optimum: bool = checked_field(False, check_bool)

    def __post_init__(self) -> None:
        check_name("env", self.env_id, ENVIRONMENTS.names())
        check_instance("scenario", self.scenario, Scenario)
        if self.reward is None:
            object.__setattr__(self, "reward", self.rewards[0])
        check_name("action", self.action, self.encodings.names())
        check_name("reward", self.reward, self.rewards)
        check_fields(self)
        if self.scenario.draft_ahead and not self.drafts_ahead:
            raise ValueError(f"draft_ahead: expected False in {self.env_id}, got True; use MultiSpin/DraftAhead-v0")
        battery_rounds = self.scenario.battery_rounds
        if bool(battery_rounds) != ("level" in self.entries):
            own = "; a Scenario or file of your own needs battery_rounds=20, min_draft_length=0"
            expected, hint = ("0", "; use MultiSpin/Energy-v0") if battery_rounds else ("a number > 0", own)
            raise ValueError(f"battery_rounds: expected {expected} in {self.env_id}, got {battery_rounds:g}{hint}")
        if self.optimum and self.optimal is None:
            raise ValueError(f"optimum: expected False in {self.env_id}, which has no known optimum, got True")

    @property
    def rewards(self) -> tuple[str, ...]:
        """Allowed values of ``reward``; the first is the default."""
        return ("expected", "sampled", "share") if self.optimal else ("expected", "sampled")

    @property
    def knowledge(self) -> Knowledge:
        """Observed part of acceptance and channels."""
        return Knowledge()

    @property
    def sees_state(self) -> bool:
        """Whether the observation is exactly the state, so that a policy can decide for states."""
        return self.knowledge == Knowledge()

    @property
    @abstractmethod
    def actions(self) -> "ActionCodec[State, DecisionT]":
        """Codec between actions and decisions."""

    @property
    @abstractmethod
    def observations(self) -> ObservationCodec:
        """Codec between states and observations."""

    @property
    @abstractmethod
    def assumptions(self) -> Assumptions:
        """Prior knowledge from past data, for plug-in controllers."""

    @abstractmethod
    def simulator(self, num_envs: int) -> Simulator[State, DecisionT]:
        """Make the simulator of a batch; ``ValueError`` for a scenario that the environment does not support."""

    @property
    def held_out(self) -> Self:
        """Configuration of the environment in which agents trained in this one are evaluated."""
        return self

    def with_uplink(self, discipline: str) -> Self:
        """Return the configuration with another uplink discipline; rounds have only one."""
        return self

    @classmethod
    def own_fields(cls) -> dict[str, Field[Any]]:
        """Return the fields of the environment's own arguments, by name."""
        return {field.name: field for field in fields(cls) if field.name not in _COMMON}

    @classmethod
    def of(
        cls,
        env_id: str,
        scenario: Scenario | str | Mapping[str, Any] = DEFAULT_SCENARIO,
        *,
        allowed: tuple[str, ...] = (),
        **arguments: Any,
    ) -> Self:
        """Make the configuration from the arguments of ``gymnasium.make``.

        ``scenario`` is the name of a preset or file, a `Scenario`, or a dict of its fields. ``arguments`` are other
        fields of the class, and fields of the scenario. ``allowed`` are further keywords that the caller handles; the
        error for a misspelt argument can suggest them. Other errors are those of the class, also for an unknown id.
        """
        check_name("env", env_id, ENVIRONMENTS.names())
        kind: type[Self] = ENVIRONMENTS.load(env_id)
        own, overrides = kind._separated(arguments, *allowed)
        if isinstance(scenario, str) and not is_file_name(scenario):
            overrides = {**kind.scenario_defaults, **overrides}
        return kind(scenario=Scenario.resolve(scenario).replace(**overrides), **own)

    def make(self, **options: Any) -> gym.Env[Any, Any]:
        """Make the single environment; ``options`` are those of ``gymnasium.make``, such as ``render_mode``."""
        return gym.make(self.env_id, **self.kwargs, **options)

    def make_vec(self, num_envs: int, **options: Any) -> VectorEnv[Any, Any, Any]:
        """Make the native vector environment; ``options`` are its own, such as ``max_episode_steps``."""
        return gym.make_vec(
            self.env_id, num_envs=num_envs, vectorization_mode="vector_entry_point", **self.kwargs, **options
        )

    def replace(self, **changes: Any) -> Self:
        """Return a copy with other values for its fields, or for fields of its scenario."""
        own, overrides = self._separated(changes)
        if overrides or "scenario" in own:
            own["scenario"] = Scenario.resolve(own.get("scenario", self.scenario)).replace(**overrides)
        return replace(self, **own)

    @classmethod
    def _separated(cls, keywords: Mapping[str, Any], *allowed: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Separate fields of the class and of the scenario; ``TypeError`` for other names that are not allowed."""
        names = (*_COMMON, *sorted(cls.own_fields()))
        check_keywords(cls.env_id, keywords, (*names, *allowed, *Scenario.field_names()))
        own = {name: value for name, value in keywords.items() if name in names}
        return own, {name: value for name, value in keywords.items() if name not in names}

    @property
    def arguments(self) -> dict[str, Any]:
        """The environment's own arguments."""
        return {name: getattr(self, name) for name in self.own_fields()}

    @property
    def chosen_arguments(self) -> dict[str, Any]:
        """Values of `arguments` that differ from their defaults."""
        defaults = {name: field.default for name, field in self.own_fields().items()}
        return {name: value for name, value in self.arguments.items() if value != defaults[name]}

    @property
    def non_defaults(self) -> dict[str, Any]:
        """Values of the scenario, the arguments and the reward that differ from the defaults, for titles.

        The number of users, the bandwidth and a custom server are left out, since titles always show them.
        """
        scenario = self.scenario
        law = (*LAW, *DRAFTING, *MEMORY) if scenario.verification_pieces and not scenario.server else ()
        in_title = ("num_users", "total_bandwidth", *law)
        system = self.changed_fields if scenario.name in SCENARIOS.names() else {}
        reward = {} if self.reward == self.rewards[0] else {"reward": self.reward}
        return {name: value for name, value in system.items() if name not in in_title} | self.chosen_arguments | reward

    @property
    def changed_fields(self) -> dict[str, Any]:
        """Scenario fields that differ from the preset with this server and draft; ``ValueError`` without a preset."""
        scenario = self.scenario
        named = {name: getattr(scenario, name) for name in ("server", "draft", "fleet", "device_load")}
        usual = Scenario.preset(scenario.name, **named)
        usual = usual.replace(**self.scenario_defaults)
        pairs = ((name, getattr(scenario, name), getattr(usual, name)) for name in Scenario.field_names())
        return {name: value for name, value, default in pairs if value != default}

    @property
    def kwargs(self) -> dict[str, Any]:
        """All keyword arguments of ``gymnasium.make``."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as a dict for JSON; files have the names in `files`."""
        return {
            "env": self.env_id,
            "scenario": self.scenario.to_dict(),
            "action": self.action,
            "reward": self.reward,
            "arguments": {**self.arguments, **self._copies},
        }

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], folder: Path = Path(), trusted: Mapping[str, Any] | None = None
    ) -> Self:
        """Make the configuration from a dict of `to_dict`, which need not be trusted; other entries are ignored.

        ``folder`` holds the copies of files. ``trusted`` are the user's own arguments, which may be any path; ``None``
        if the caller accepts none. ``ValueError`` or ``TypeError`` for an invalid configuration, also for the name of a
        file outside ``folder``.
        """
        check_instance("config", values, Mapping, "a table, as from to_dict")
        required = ("env", "scenario", "action", "arguments")
        check_complete("config", filter(required.__contains__, values), required)
        arguments = values["arguments"]
        if not isinstance(arguments, Mapping):
            raise ValueError(f"arguments: expected a table of names and values, got {shown(arguments)}")
        check_name("env", values["env"], ("an id of your module, as --env module:ID imports it", *ENVIRONMENTS.names()))
        kind: type[Self] = ENVIRONMENTS.load(values["env"])
        loaded = dict(arguments)
        for name in _file_names(kind):
            if loaded.get(name) is not None:
                loaded[name] = _path(name, loaded[name], folder, trusted)
        scenario = Scenario.from_dict(values["scenario"])
        return kind(scenario=scenario, action=values["action"], reward=values.get("reward"), **loaded)

    @property
    def _copies(self) -> dict[str, str]:
        names = _file_names(type(self))
        return {name: copy for name, copy in names.items() if isinstance(self.arguments[name], str | PathLike)}

    @property
    def files(self) -> dict[str, Path]:
        """Paths in the arguments, by the names of their copies in the folder of a stored configuration."""
        return {copy: Path(self.arguments[name]) for name, copy in self._copies.items()}

    def with_same_files(self, other: Self) -> Self:
        """Return a copy with the paths of another configuration for files of the same content."""
        pairs = {name: (self.arguments[name], other.arguments.get(name)) for name in self._copies}
        return self.replace(**{name: theirs for name, (ours, theirs) in pairs.items() if _same_bytes(ours, theirs)})

    def for_contender(self, contender: object) -> Self:
        """Return the configuration with the uplink discipline that a contender is written for, if it has one."""
        rule = contender.base if isinstance(contender, PlugIn) else contender
        return self.with_uplink(rule.discipline) if isinstance(rule, Controller) else self

    @property
    def for_any_decision(self) -> Self:
        """Configuration with an encoding that can express every decision."""
        return replace(self, action=self.universal_encoding)

    @property
    def sampled(self) -> bool:
        """Whether rewards count drawn tokens instead of expected tokens."""
        return self.reward == "sampled"

    @property
    def drawn(self) -> bool:
        """Whether tokens are drawn in every step: for sampled rewards, or if their numbers are observed."""
        return self.sampled or not self.knowledge.acceptance

    @property
    def best_controller(self) -> RoundsController:
        """Optimal controller, which sees the true state and defines the regret."""
        assert self.optimal is not None  # `__post_init__` checks it for `optimum=True`
        return make_controller(self.optimal, self.scenario)

    def contender(self, name: str, **options: Any) -> Controller | PlugIn:
        """Make the controller with this name, or the plug-in for a name with estimators."""
        contender: Controller | PlugIn = make_controller(name, self.scenario, self.assumptions, **options)
        base = contender.base if isinstance(contender, PlugIn) else contender
        if self.family == "rounds" and not isinstance(base, RoundsController):
            names = listed(controller_names("rounds"))
            raise ValueError(f"controller: expected a controller of rounds, one of {names}, got {name!r}")
        return contender


def _file_names(kind: type[EnvConfig]) -> dict[str, str]:
    return {field.name: field.metadata["file"] for field in fields(kind) if "file" in field.metadata}


def _path(name: str, value: object, folder: Path, trusted: Mapping[str, Any] | None) -> Any:
    path = sibling_file(folder, value)
    if path is not None:
        return str(path)
    if trusted is None or name not in trusted:
        remedy = "" if trusted is None else f", or your own path with --set {name}=PATH"
        raise ValueError(f"{name}: expected a file next to the configuration{remedy}, got {shown(value)}")
    return trusted[name]


def _same_bytes(path: object, other: object) -> bool:
    try:
        return isinstance(path, str) and isinstance(other, str) and filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False
