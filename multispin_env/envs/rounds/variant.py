"""Base of the environments of rounds, in which everybody waits for everybody."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.controllers.base import Assumptions
from multispin_env.envs.objectives import Goodput, Objective
from multispin_env.envs.observations import ROUND_STATE, ObservationCodec
from multispin_env.envs.rendering.film import RoundsFilm
from multispin_env.envs.rendering.picture import Picture
from multispin_env.envs.rendering.views import Histories
from multispin_env.envs.rounds.encodings import RoundsCodec
from multispin_env.envs.rounds.engine import RoundsEngine
from multispin_env.envs.settings import MAX_EPISODE_STEPS, Comparison, Family, InfoKeys, Learning, Settings, Variant
from multispin_env.physics.rounds import Dynamics
from multispin_env.physics.types import SystemState
from multispin_env.registry import ENCODINGS
from multispin_env.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class RoundsVariant(Variant):
    """Base of the environments of rounds; by itself, everything is known.

    A subclass replaces what is special: what is shown, what changes between rounds, what is planned with, or what is
    rewarded. If it has an argument ``privileged``, that lets ``info`` hold the true state.
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

    contenders: ClassVar[tuple[str, ...]] = ()
    """Where the state is not all that there is to know: what plays whole episodes, the best that is known first."""

    @property
    def comparison(self) -> Comparison:
        """All controllers on independent states, where the state is all."""
        keys = InfoKeys("accepted_tokens", "draft_length", "round_latency", "goodput")
        return Comparison(keys, self.contenders, optimum="optimal", states=not self.contenders)

    @property
    def learning(self) -> Learning:
        """No round has to do with another, where the state is all."""
        return Learning(sees_state=not self.contenders)

    def dynamics(self, scenario: Scenario) -> Dynamics:
        """What changes between rounds; ``ValueError`` where the scenario does not allow it."""
        return Dynamics.of(scenario)

    def objective(self, scenario: Scenario, num_copies: int) -> Objective:
        """What the rounds of n copies are rewarded for."""
        return Goodput(scenario)

    def planned(self, scenario: Scenario, reported: SystemState, mean_gain: FloatArray) -> SystemState:
        """State (n, K) that actions are decoded with, of what is reported and of the mean gains."""
        return reported

    @override
    def engine(self, settings: Settings, num_copies: int) -> RoundsEngine:
        return RoundsEngine(settings, num_copies)

    @override
    def actions(self, scenario: Scenario, encoding: str) -> RoundsCodec:
        return ENCODINGS.load(encoding)(scenario)

    @override
    def observations(self, scenario: Scenario) -> ObservationCodec:
        """Entries that are always there, and those whose argument is set."""
        shown = (key for key, argument in self.entries.items() if not argument or getattr(self, argument))
        return ObservationCodec(scenario, tuple(shown))

    @override
    def assumptions(self, scenario: Scenario) -> Assumptions:
        """Mean and spread of acceptance by task, and how old reports are."""
        dynamics = self.dynamics(scenario)
        prior = dynamics.acceptance.prior(scenario)
        return Assumptions(tuple(prior.mean.tolist()), tuple(prior.spread.tolist()), 0.0, dynamics.delay)
