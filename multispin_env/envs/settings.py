"""What an environment id fixes, and what its user chooses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from inspect import cleandoc
from types import MappingProxyType
from typing import Any, ClassVar

from multispin_env.checks import check_bool, check_keywords, check_name
from multispin_env.controllers.assumptions import Assumptions
from multispin_env.controllers.base import RoundsController
from multispin_env.envs.engine import Actions, Engine, MakeRenderer, Observations
from multispin_env.field_files import is_file_name
from multispin_env.registry import Registry
from multispin_env.scenario import Scenario

REWARDS = ("expected", "sampled")


@dataclass(frozen=True)
class Told:
    """Names of what ``info`` tells of a step and comparisons add up."""

    tokens: str  # (K,) gained
    drafted: str  # (K,) tokens that were drafted for them
    time: str  # s
    goodput: str | None  # tokens/s; None where steps are not what is to be averaged
    episode: tuple[str, ...] = ()  # (n,), of the episode so far; after its last step they are those of the episode


MAX_EPISODE_STEPS = 64
"""Steps of an episode unless the environment or ``gym.make(..., max_episode_steps=...)`` says otherwise."""

DEFAULT_SCENARIO = "llama2"
"""Preset that an environment takes if its user chooses none."""


@dataclass(frozen=True, kw_only=True)
class Variant(ABC):
    """What one environment id is; a subclass's fields are the environment's own keyword arguments.

    Its docstring is what `page` makes the page of the environment of, under Gymnasium's headings.
    """

    encodings: ClassVar[Registry]
    """Encodings that its ``action`` can name."""

    renderers: ClassVar[Mapping[str, MakeRenderer]] = MappingProxyType({})
    """Render modes, each with what makes a renderer of the settings and the number of copies."""

    film: ClassVar[type[Any]]
    """What makes a film of what there was to see of two episodes, step by step."""

    max_episode_steps: ClassVar[int | None] = MAX_EPISODE_STEPS
    """Steps after which ``gym.make`` truncates an episode; ``None`` where the environment truncates by itself."""

    has_slopes: ClassVar[bool] = True
    """Whether its rewards have derivatives by actions."""

    told: ClassVar[Told]
    """What its ``info`` tells."""

    drops: ClassVar[bool] = False
    """Whether devices can give up requests."""
    starts: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    """Rules worth starting from, by the encodings whose action 0 is a rule; the first is usual."""
    rewards: ClassVar[tuple[str, ...]] = REWARDS
    """Values of ``reward``; the first is the default."""

    any_decision: ClassVar[str] = "residual"
    """Encoding that can express whatever a contender decides."""

    discount: ClassVar[float] = 0.0
    """γ that suits learning: 0 where a decision has no influence on what later ones earn."""

    discount_of: ClassVar[str] = "step"
    """What γ is of: a ``"step"``, or a ``"second"`` where steps take times that depend on what is decided."""

    common_draft_length: ClassVar[bool] = False
    """Whether all devices draft the same number of tokens."""

    optimum: ClassVar[str | None] = "optimal"
    """RoundsController that is optimal where the state is known; ``None`` if none is."""

    scenario_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Fields of a scenario that is given by name, unless its user chooses others."""

    baseline: ClassVar[str] = "fixed"
    """What the best known is shown beside, if nothing else is asked for."""

    contenders: ClassVar[tuple[str, ...]] = ()
    """What a comparison plays if it is told nothing else; empty for all controllers."""

    independent_rounds: ClassVar[bool] = True
    """Whether rounds have nothing to do with each other, so that states can be compared instead of whole episodes."""

    files: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Arguments that may be paths, each with the name that its file has beside a configuration."""

    @property
    def fully_observed(self) -> bool:
        """Whether an observation is the state, no less and no more, so that a policy can decide for states."""
        return True

    @property
    def draws_tokens(self) -> bool:
        """Whether tokens are drawn in every step, also where their expectation is priced."""
        return False

    @property
    def compared(self) -> tuple[str, ...]:
        """Its `contenders`, as what its user chose makes them."""
        return self.contenders

    @property
    def late_reports(self) -> bool:
        """Whether what is observed of the channel is old."""
        return False

    @property
    def bound_law(self) -> str | None:
        """Law of the channels with which `rate_bound` holds for its tokens over time; ``None`` where it does not."""
        return None

    @property
    def held_out(self) -> "Variant":
        """Where agents that learnt here are measured: here, unless they could learn by heart what it is made of."""
        return self

    @classmethod
    def page(cls) -> str:
        """What the help of the environment and its page in the documentation say."""
        return cleandoc(cls.__doc__ or "")

    @abstractmethod
    def engine(self, settings: "Settings", num_copies: int) -> Engine:
        """What steps n copies; ``ValueError`` where the scenario does not allow it."""

    @abstractmethod
    def actions(self, scenario: Scenario, encoding: str) -> Actions:
        """Codec between actions and what is decided."""

    @abstractmethod
    def observations(self, scenario: Scenario) -> Observations:
        """Codec between what is seen and observations."""

    def best_controller(self, scenario: Scenario) -> RoundsController:
        """The controller that regret is measured against; it knows the state. ``ValueError`` if there is none."""
        raise ValueError(f"optimum: no optimum of {type(self).__name__} is known")

    @abstractmethod
    def contender(self, scenario: Scenario, name: str, **options: Any) -> Any:
        """Make what decides here from its name; ``ValueError`` or ``TypeError`` for an unknown name or option."""

    @abstractmethod
    def checked_state(self, scenario: Scenario, state: Any) -> Any:
        """States as arrays; ``ValueError`` for bad ones."""

    def suited(self, contender: Any) -> "Variant":
        """The same environment, as a contender needs it to play its decisions."""
        return self

    def span(self, max_episode_steps: int) -> str:
        """How long an episode is, in words."""
        return f"{max_episode_steps} rounds"

    @abstractmethod
    def assumptions(self, scenario: Scenario) -> Assumptions:
        """What an engineer may know of it from past data."""


@dataclass(frozen=True)
class Settings:
    """One environment: what its user chose.

    Parameters
    ----------
    scenario
        The system.
    variant
        What its id fixes, with the environment's own arguments.
    action
        Encoding of actions, one of the variant's ``encodings``.
    reward
        One of the variant's ``rewards``; None: the first.
    optimum
        Whether ``info`` tells the optimum and the regret.
    """

    scenario: Scenario
    variant: Variant
    action: str = "residual"
    reward: str | None = None
    optimum: bool = False

    def __post_init__(self) -> None:
        if self.reward is None:
            object.__setattr__(self, "reward", self.variant.rewards[0])
        check_name("action", self.action, self.variant.encodings.names())
        check_name("reward", self.reward, self.variant.rewards)
        check_bool("optimum", self.optimum)
        if self.optimum and self.variant.optimum is None:
            raise ValueError(
                f"optimum: expected False, since no optimum of {type(self.variant).__name__} is known, got True"
            )

    @classmethod
    def make(
        cls,
        owner: str,
        variant: type[Variant],
        scenario: Scenario | str | Mapping[str, Any],
        chosen: Mapping[str, Any],
        others: Mapping[str, Any],
    ) -> "Settings":
        """Settings from the keyword arguments of an environment.

        Parameters
        ----------
        owner
            Name of the environment, for error messages.
        variant
            What its id fixes.
        scenario
            A preset's name, that of a file, a `Scenario`, or a table of its fields.
        chosen
            Keyword arguments that the class itself knows.
        others
            All others; fields of the variant and of `Scenario` are allowed.

        Raises
        ------
        TypeError, ValueError
            For an unexpected keyword or a bad value.
        """
        own = {entry.name for entry in fields(variant)}
        check_keywords(owner, others, ("scenario", *chosen, *sorted(own), *Scenario.field_names()))
        overrides = {name: value for name, value in others.items() if name not in own}
        if isinstance(scenario, str) and not is_file_name(scenario):
            overrides = {**variant.scenario_defaults, **overrides}
        return cls(
            Scenario.resolve(scenario).replace(**overrides),
            variant(**{name: value for name, value in others.items() if name in own}),
            **{name: chosen[name] for name in ("action", "reward", "optimum")},
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the environment that are its own: the fields of its variant."""
        return {entry.name: getattr(self.variant, entry.name) for entry in fields(self.variant)}

    @property
    def chosen_arguments(self) -> dict[str, Any]:
        """Those of `arguments` that are not the variant's defaults."""
        defaults = {entry.name: entry.default for entry in fields(self.variant)}
        return {name: value for name, value in self.arguments.items() if value != defaults[name]}

    @property
    def held_out(self) -> "Settings":
        """The environment that agents which learnt in this one are measured in."""
        return replace(self, variant=self.variant.held_out)

    @property
    def actions(self) -> Actions:
        """Codec between actions and what is decided."""
        return self.variant.actions(self.scenario, self.action)

    @cached_property
    def observations(self) -> Observations:
        """Codec between what is seen and observations."""
        return self.variant.observations(self.scenario)

    @property
    def best_controller(self) -> RoundsController:
        """The controller that regret is measured against; it knows the state. ``ValueError`` if there is none."""
        return self.variant.best_controller(self.scenario)

    def engine(self, num_copies: int) -> Engine:
        """What steps n copies of the environment."""
        return self.variant.engine(self, num_copies)
