"""What every environment of rounds is."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

from multispin_env.arrays import FloatArray
from multispin_env.controllers.assumptions import Assumptions
from multispin_env.controllers.base import RoundsController
from multispin_env.controllers.factory import make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.engine import MakeRenderer
from multispin_env.envs.page import page
from multispin_env.envs.rendering.film import RoundsFilm
from multispin_env.envs.rendering.picture import Picture
from multispin_env.envs.rendering.renderers import Film, renderers
from multispin_env.envs.rendering.views import Histories
from multispin_env.envs.rounds.actions import ActionCodec
from multispin_env.envs.rounds.engine import Parts, RoundsEngine
from multispin_env.envs.rounds.memories import Memory
from multispin_env.envs.rounds.objectives import Goodput, Objective
from multispin_env.envs.rounds.observations import SHOWN, ObservationCodec
from multispin_env.envs.settings import DEFAULT_SCENARIO, Settings, Told, Variant
from multispin_env.physics.dynamics import Dynamics
from multispin_env.physics.types import SystemState
from multispin_env.physics.validation import checked_state
from multispin_env.registry import ENCODINGS, Registry
from multispin_env.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class RoundsVariant(Variant):
    """Base of the environments in which everybody waits for everybody; by itself, everything is known.

    A subclass replaces what is special: what is shown, what changes between rounds, what is rewarded or remembered.
    Where its docstring says ``{observation}``, its page has the table of what is shown; arguments then need defaults.
    """

    encodings: ClassVar[Registry] = ENCODINGS
    renderers: ClassVar[Mapping[str, MakeRenderer]] = renderers(Histories, Picture)
    film: ClassVar[type[Film]] = RoundsFilm
    told: ClassVar[Told] = Told("accepted_tokens", "draft_length", "round_latency", "goodput")

    entries: ClassVar[Mapping[str, str]] = MappingProxyType(dict.fromkeys(SHOWN, ""))
    """Entries of the observation beside ``shared``, with the argument that shows them; empty for those always shown."""

    @property
    def privileged(self) -> bool:
        """Whether ``info`` holds what the observation hides."""
        return False

    def dynamics(self, scenario: Scenario) -> Dynamics:
        """What changes between rounds; ``ValueError`` where the scenario does not allow it."""
        return Dynamics.of(scenario)

    def objective(self, scenario: Scenario, num_copies: int) -> Objective:
        """What the rounds of n copies are rewarded for."""
        return Goodput(scenario)

    def memories(self, scenario: Scenario, num_copies: int) -> tuple[Memory, ...]:
        """What n copies remember of past rounds beside that."""
        return ()

    def planned(self, scenario: Scenario, reported: SystemState, mean_gain: FloatArray) -> SystemState:
        """State (n, K) that encodings with the equal-latency root take for the true one; what is reported."""
        return reported

    def actions(self, scenario: Scenario, encoding: str) -> ActionCodec:
        """Codec between actions and decisions."""
        return self.encodings.load(encoding)(scenario, self.common_draft_length)

    def best_controller(self, scenario: Scenario) -> RoundsController:
        """The controller of its optimum."""
        return super().best_controller(scenario) if self.optimum is None else make_controller(self.optimum, scenario)

    def contender(self, scenario: Scenario, name: str, **options: Any) -> RoundsController | PlugIn:
        """A controller of rounds, which will know the truth, or one with estimators: it knows what may be observed."""
        made: RoundsController | PlugIn = make_controller(name, scenario, self.assumptions(scenario), **options)
        return made

    def checked_state(self, scenario: Scenario, state: SystemState) -> SystemState:
        """States (..., K) as arrays."""
        return checked_state(scenario, state)

    def observations(self, scenario: Scenario) -> ObservationCodec:
        """Codec of what is shown: entries that are always there, and those whose argument is set."""
        shown = (key for key, argument in self.entries.items() if not argument or getattr(self, argument))
        return ObservationCodec(scenario, tuple(shown))

    @classmethod
    def page(cls) -> str:
        """Docstring with the table of every entry that can be shown; numbers are those of the default scenario."""
        scenario = Scenario.preset(DEFAULT_SCENARIO, **cls.scenario_defaults)
        return page(cls.__doc__, ObservationCodec(scenario, tuple(cls.entries)), cls.entries)

    def assumptions(self, scenario: Scenario) -> Assumptions:
        """Mean and spread of acceptance by task, and how old reports are."""
        dynamics = self.dynamics(scenario)
        prior = dynamics.acceptance.prior(scenario)
        return Assumptions(tuple(prior.mean.tolist()), tuple(prior.spread.tolist()), 0.0, dynamics.delay)

    def engine(self, settings: Settings, num_copies: int) -> RoundsEngine:
        """Engine of its parts."""
        scenario = settings.scenario
        parts = Parts(
            scenario=scenario,
            dynamics=self.dynamics(scenario),
            actions=self.actions(scenario, settings.action),
            observations=self.observations(scenario),
            objective=self.objective(scenario, num_copies),
            memories=self.memories(scenario, num_copies),
            plan=partial(self.planned, scenario),
            prices_drawn=settings.reward == "sampled",
            draws_tokens=self.draws_tokens,
            tells_hidden=self.privileged,
            best=self.best_controller(scenario) if settings.optimum else None,
        )
        return RoundsEngine(parts, num_copies)
