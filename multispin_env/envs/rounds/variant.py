"""Base of the environments of rounds, in which everybody waits for everybody."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from multispin_env.controllers.assumptions import Assumptions
from multispin_env.envs.objectives import Goodput, Objective
from multispin_env.envs.observations import ROUND_STATE, ObservationCodec
from multispin_env.envs.rendering.film import RoundsFilm
from multispin_env.envs.rendering.picture import Picture
from multispin_env.envs.rendering.views import Histories
from multispin_env.envs.rounds.encodings import RoundsCodec
from multispin_env.envs.rounds.engine import RoundsEngine
from multispin_env.envs.settings import MAX_EPISODE_STEPS, Comparison, Family, InfoKeys, Learning, Settings, Variant
from multispin_env.physics.dynamics import Dynamics
from multispin_env.registry import ENCODINGS
from multispin_env.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class RoundsVariant(Variant):
    """Base of the environments of rounds; by itself, everything is known.

    A subclass replaces what is special: what is shown, what changes between rounds, what is rewarded, or the engine
    that is made of this.
    """

    family: ClassVar[Family] = Family(
        name="rounds",
        encodings=ENCODINGS,
        any_decision="residual",
        max_episode_steps=MAX_EPISODE_STEPS,
        recorder=Histories,
        drawing=Picture,
        film=RoundsFilm,
    )
    entries: ClassVar[Mapping[str, str]] = MappingProxyType(dict.fromkeys(ROUND_STATE, ""))

    @property
    def comparison(self) -> Comparison:
        """All controllers on independent states, where the optimum is known."""
        keys = InfoKeys("accepted_tokens", "draft_length", "round_latency", "goodput")
        return Comparison(keys, optimum="optimal", states=True)

    @property
    def learning(self) -> Learning:
        """No round has to do with another."""
        return Learning(sees_state=True)

    def dynamics(self, scenario: Scenario) -> Dynamics:
        """What changes between rounds; ``ValueError`` where the scenario does not allow it."""
        return Dynamics.of(scenario)

    def objective(self, scenario: Scenario, num_copies: int) -> Objective:
        """What the rounds of n copies are rewarded for."""
        return Goodput(scenario)

    def engine(self, settings: Settings, num_copies: int) -> RoundsEngine:
        """Engine of dynamics and objective."""
        scenario = settings.scenario
        return RoundsEngine(settings, num_copies, self.dynamics(scenario), self.objective(scenario, num_copies))

    def actions(self, scenario: Scenario, encoding: str) -> RoundsCodec:
        """Codec between actions and decisions."""
        return ENCODINGS.load(encoding)(scenario)

    def observations(self, scenario: Scenario) -> ObservationCodec:
        """Codec of what is shown: entries that are always there, and those whose argument is set."""
        shown = (key for key, argument in self.entries.items() if not argument or getattr(self, argument))
        return ObservationCodec(scenario, tuple(shown))

    def assumptions(self, scenario: Scenario) -> Assumptions:
        """Mean and spread of acceptance by task, and how old reports are."""
        dynamics = self.dynamics(scenario)
        prior = dynamics.acceptance.prior(scenario)
        return Assumptions(tuple(prior.mean.tolist()), tuple(prior.spread.tolist()), 0.0, dynamics.delay)
