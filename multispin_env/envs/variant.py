"""Variants: what one environment id is, how contenders are compared there and how agents learn."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.names import ContenderName
from multispin_env.envs.engine import ActionCodec, Engine
from multispin_env.envs.observations import ObservationCodec
from multispin_env.envs.rendering.charts import Recorder
from multispin_env.envs.rendering.renderers import Film, Sheet
from multispin_env.registry import Registry
from multispin_env.scenario import Scenario

MAX_EPISODE_STEPS = 64
"""Steps of an episode unless the environment or ``gym.make(..., max_episode_steps=...)`` says otherwise."""

DEFAULT_SCENARIO = "llama2"
"""Preset that an environment takes if its user chooses none."""


@dataclass(frozen=True)
class Family:
    """What all environments of a family share."""

    name: str  # "rounds" or "continuous", as `controller_names` takes it
    encodings: Registry  # that ``action`` can name
    universal_encoding: str  # that of them which can express whatever a contender decides
    max_episode_steps: int | None  # after which ``gym.make`` truncates; None where environments do so by themselves
    recorder: Callable[[Any, int], Recorder]  # of an `EnvConfig` and a number of copies; it remembers their episodes
    drawing: Callable[[], Sheet]  # draws what was remembered
    film: Callable[[list[Any], list[Any]], Film]  # of what there was to see of two episodes, step by step


@dataclass(frozen=True)
class InfoKeys:
    """Names of what ``info`` tells of a step and comparisons add up."""

    tokens: str  # (K,) gained
    drafted: str  # (K,) tokens that were drafted for them
    time: str  # s
    goodput: str | None  # tokens/s; None where steps are not what is to be averaged
    episode: tuple[str, ...] = ()  # (n,), of the episode so far; after its last step they are those of the episode


@dataclass(frozen=True)
class Comparison:
    """How contenders are compared in an environment.

    Parameters
    ----------
    info
        What is added up.
    contenders
        What is played by default; empty for all controllers. Without an optimum the first is the best that is known.
    optimum
        Controller that is optimal where the state is known; ``None`` if none is.
    baseline
        What the best known is shown beside, if nothing else is asked for.
    states
        Whether rounds are independent, so that states are compared instead of whole episodes.
    seconds
        Of an episode; ``None`` where it has so many rounds.
    has_bound
        Whether `rate_bound` holds for tokens over time, for the channels that it knows.
    """

    info: InfoKeys
    contenders: tuple[str, ...] = ()
    optimum: str | None = None
    baseline: str = "fixed"
    states: bool = False
    seconds: float | None = None
    has_bound: bool = False

    @property
    def reference(self) -> str:
        """Name of the best that is known: the optimum, with the truth, else the first contender."""
        return self.contenders[0] if self.optimum is None else ContenderName.parse(self.optimum).as_clairvoyant

    def span(self, max_episode_steps: int) -> str:
        """How long an episode is, in words."""
        return f"{max_episode_steps} rounds" if self.seconds is None else f"{self.seconds:g} s"


@dataclass(frozen=True)
class Learning:
    """How agents learn in an environment."""

    rewards: tuple[str, ...] = ("expected", "sampled")  # values of ``reward``; the first is the default
    slopes: bool = True  # whether rewards have derivatives by actions
    discount: float = 0.0  # γ that suits: 0 where a decision has no influence on what later ones earn
    # what γ is of: a "step", or a "second" where steps take times that depend on what is decided
    discount_of: str = "step"
    # rules to start from, by the encodings whose action 0 is a rule; the first is usual
    starts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # whether an observation is the state, no less and no more, so that a policy can decide for states
    sees_state: bool = False
    # where agents are measured; None for here, unless they could learn by heart what it is made of
    held_out: "Variant | None" = None


@dataclass(frozen=True, kw_only=True)
class Variant(ABC):
    """What one environment id is; a subclass's fields are the environment's own keyword arguments.

    All of them need defaults. The field of an argument that may be a path has ``metadata={"file": NAME}``, the name
    that its file has beside a configuration.
    """

    family: ClassVar[Family]

    scenario_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Fields of a scenario that is given by name, unless its user chooses others."""

    drafts_ahead: ClassVar[bool] = True
    """Whether devices may draft ahead there."""

    entries: ClassVar[Mapping[str, str]]
    """Entries of the observation beside ``shared``, with the argument that shows them; empty for those always shown."""

    @property
    @abstractmethod
    def comparison(self) -> Comparison:
        """How contenders are compared."""

    @property
    @abstractmethod
    def learning(self) -> Learning:
        """How agents learn."""

    @abstractmethod
    def engine(self, config: Any, num_envs: int) -> Engine[Any, Any]:
        """Engine of n copies of an `EnvConfig`; ``ValueError`` where the scenario does not allow it."""

    def with_uplink(self, discipline: str) -> "Variant":
        """Return the environment with the uplink that a controller's decisions are for; rounds have but one."""
        return self

    @abstractmethod
    def actions(self, scenario: Scenario, encoding: str) -> ActionCodec[Any, Any]:
        """Codec between actions and what is decided."""

    @abstractmethod
    def observations(self, scenario: Scenario) -> ObservationCodec:
        """Codec between what is seen and observations."""

    @abstractmethod
    def assumptions(self, scenario: Scenario) -> Assumptions:
        """What an engineer may know of it from past data."""
