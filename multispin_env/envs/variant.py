"""Variants: definitions of environment ids, with defaults for comparisons and learning."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.names import ContenderName
from multispin_env.envs.actions import ActionCodec
from multispin_env.envs.observations import ObservationCodec
from multispin_env.envs.rendering.charts import Recorder
from multispin_env.envs.rendering.renderers import Film, Sheet
from multispin_env.envs.simulator import Simulator
from multispin_env.registry import Registry
from multispin_env.scenario import Scenario

DEFAULT_SCENARIO = "llama2"
"""Default scenario of all environments."""


@dataclass(frozen=True)
class Family:
    """Common properties of all environments of a family."""

    name: str  # "rounds" or "continuous", an argument of `controller_names`
    encodings: Registry  # allowed values of ``action``
    universal_encoding: str  # the encoding that can express every decision
    recorder: Callable[[Any, int], Recorder]  # from an `EnvConfig` and a number of environments
    drawing: Callable[[], Sheet]  # draws the views of a recorder
    film: Callable[[list[Any], list[Any]], Film]  # from the views of two episodes, one view for each step


@dataclass(frozen=True)
class InfoKeys:
    """Keys of ``info`` that comparisons sum over steps."""

    tokens: str  # (K,) gained tokens
    drafted: str  # (K,) drafted tokens
    time: str  # s
    goodput: str | None  # tokens/s of a step; None if steps are not averaged
    episode: tuple[str, ...] = ()  # (n,), totals of the episode so far


@dataclass(frozen=True)
class Comparison:
    """Defaults of comparisons in an environment.

    Parameters
    ----------
    info
        Keys of ``info`` to sum.
    contenders
        Default contenders; empty for all controllers. Without an optimum, the first is the best known one.
    optimum
        Controller that is optimal if the state is known; ``None`` if there is none.
    baseline
        Contender that films show next to the best known one.
    states
        Whether rounds are independent, so that contenders are compared on states instead of whole episodes.
    rounds
        Length of an episode in rounds; ``None`` if it is measured in seconds.
    seconds
        Length of an episode in seconds; ``None`` if it is measured in rounds.
    has_bound
        Whether `rate_bound` is an upper bound on tokens per second here.
    """

    info: InfoKeys
    contenders: tuple[str, ...] = ()
    optimum: str | None = None
    baseline: str = "fixed"
    states: bool = False
    rounds: int | None = None
    seconds: float | None = None
    has_bound: bool = False

    @property
    def reference(self) -> str:
        """Name of the best known contender: the clairvoyant optimum, else the first contender."""
        return self.contenders[0] if self.optimum is None else ContenderName.parse(self.optimum).clairvoyant_name

    @property
    def span(self) -> str:
        """Length of an episode as text."""
        if self.rounds is None:
            return f"{self.seconds:g} s"
        return f"{self.rounds} rounds" if self.rounds > 1 else "one round"


@dataclass(frozen=True)
class Learning:
    """Defaults of learning in an environment."""

    rewards: tuple[str, ...] = ("expected", "sampled")  # values of ``reward``; the first is the default
    slopes: bool = True  # whether rewards have derivatives with respect to actions
    discount: float = 0.0  # γ; 0 if decisions do not influence later rewards
    discount_of: str = "step"  # unit of γ: "step", or "second" if decisions change the duration of steps
    # for each encoding whose action 0 is a rule: the rules to choose from, with the default first
    starts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sees_state: bool = False  # whether the observation is exactly the state, so that a policy can decide for states
    held_out: "Variant | None" = None  # environment for evaluation, if it differs from that for training


@dataclass(frozen=True, kw_only=True)
class Variant(ABC):
    """Base of the definitions of environments; fields of a subclass are the environment's own keyword arguments.

    All fields need defaults. A field that may be a path has ``metadata={"file": NAME}``: the name of the file's copy in
    the folder of a stored configuration.
    """

    family: ClassVar[Family]

    scenario_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Fields of `Scenario` that presets have in this environment, instead of their own."""

    drafts_ahead: ClassVar[bool] = True
    """Whether ``draft_ahead=True`` is allowed."""

    entries: ClassVar[Mapping[str, str]]
    """Entries of the observation except ``shared``, each with the argument that shows it, or "" if always shown."""

    @property
    @abstractmethod
    def comparison(self) -> Comparison:
        """Defaults of comparisons."""

    @property
    @abstractmethod
    def learning(self) -> Learning:
        """Defaults of learning."""

    @abstractmethod
    def engine(self, config: Any, num_envs: int) -> Simulator:
        """Make the simulator of an `EnvConfig`; ``ValueError`` for a scenario that the environment does not support."""

    def with_uplink(self, discipline: str) -> "Variant":
        """Return the variant with another uplink discipline; rounds have only one."""
        return self

    @abstractmethod
    def actions(self, scenario: Scenario, encoding: str) -> ActionCodec[Any, Any]:
        """Return the codec between actions and decisions."""

    @abstractmethod
    def observations(self, scenario: Scenario) -> ObservationCodec:
        """Return the codec between states and observations."""

    @abstractmethod
    def assumptions(self, scenario: Scenario) -> Assumptions:
        """Return prior knowledge from past data, for plug-in controllers."""
