"""What every environment without the barrier is."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

from multispin_env.checks import check_name, check_real
from multispin_env.controllers.assumptions import Assumptions
from multispin_env.controllers.base import Controller
from multispin_env.controllers.estimators.filter import Filter
from multispin_env.controllers.factory import check_controller_name, make_controller
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.envs.continuous.accounts import OpenAccount, TokenAccount
from multispin_env.envs.continuous.actions import OrderCodec
from multispin_env.envs.continuous.engine import ContinuousEngine, Parts
from multispin_env.envs.continuous.entries import ENTRIES
from multispin_env.envs.continuous.objectives import PassageAim, TokensMinusTime
from multispin_env.envs.continuous.observations import ContinuousObservations
from multispin_env.envs.continuous.partly_hidden import PartlyHidden
from multispin_env.envs.continuous.reference import REFERENCE, reference_rate
from multispin_env.envs.continuous.rendering.film import TraceFilm
from multispin_env.envs.continuous.rendering.picture import TracePicture
from multispin_env.envs.continuous.rendering.traces import Traces
from multispin_env.envs.engine import MakeRenderer
from multispin_env.envs.observations import MIDDLE
from multispin_env.envs.page import page
from multispin_env.envs.rendering.renderers import Film, renderers
from multispin_env.envs.settings import DEFAULT_SCENARIO, Settings, Told
from multispin_env.physics.continuous.channels import CHANNEL_LAWS, GaussMarkovInTime
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.physics.continuous.types import ContinuousState
from multispin_env.physics.continuous.uplink import DISCIPLINES, discipline_of
from multispin_env.physics.continuous.validation import checked_continuous_state
from multispin_env.registry import ORDER_ENCODINGS, Registry
from multispin_env.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class ContinuousVariant(PartlyHidden):
    """Base of the environments without the barrier; its fields are arguments of all of them.

    Where its docstring says ``{observation}``, its page has the table of what is shown.
    """

    encodings: ClassVar[Registry] = ORDER_ENCODINGS
    renderers: ClassVar[Mapping[str, MakeRenderer]] = renderers(Traces, TracePicture)
    film: ClassVar[type[Film]] = TraceFilm
    told: ClassVar[Told] = Told("tokens", "draft_length", "duration", None)
    any_decision: ClassVar[str] = "full"
    discount: ClassVar[float] = 0.5
    discount_of: ClassVar[str] = "second"
    max_episode_steps: ClassVar[int | None] = None
    has_slopes: ClassVar[bool] = False
    optimum: ClassVar[str | None] = None
    independent_rounds: ClassVar[bool] = False
    observed: ClassVar[type[ContinuousObservations]] = ContinuousObservations
    """Codec of what is shown."""
    starts: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"residual": (REFERENCE,), "tuned": ("prices", REFERENCE)}
    )
    entries: ClassVar[Mapping[str, str]] = MappingProxyType(dict.fromkeys(ENTRIES, ""))
    """Entries of the observation beside ``shared``; all are always shown."""

    discipline: str = "serial"
    channel_law: str = "independent"
    coherence_time: float = GaussMarkovInTime.coherence_time
    horizon: float = 20.0
    rho: float | None = None
    patience: float | None = 2.0
    reference: str | None = None

    def __post_init__(self) -> None:
        check_name("discipline", self.discipline, DISCIPLINES)
        check_name("channel_law", self.channel_law, CHANNEL_LAWS)
        check_real("coherence_time", self.coherence_time, 0.0, open_low=True)
        check_real("horizon", self.horizon, 0.0, open_low=True)
        if self.rho is not None:
            check_real("rho", self.rho, 0.0, open_low=True)
        if self.patience is not None:
            check_real("patience", self.patience, 0.0)
        if self.reference is not None:
            check_controller_name("reference", self.reference)
        self.check_hidden()

    def system(self, scenario: Scenario) -> ContinuousSystem:
        """What does not change while time passes; ``ValueError`` where the scenario names a channel by round."""
        return self.endless(scenario)

    def endless(self, scenario: Scenario) -> ContinuousSystem:
        """The same, with requests that never end."""
        if scenario.channel != Scenario.channel:
            raise ValueError(
                f"channel: expected {Scenario.channel!r}, since channel_law says how channels change here, "
                f"got {scenario.channel!r}"
            )
        system = ContinuousSystem.of(scenario, self.channel_law, self.discipline, self.coherence_time)
        return system if self.acceptance_visible else replace(system, acceptance=self.hidden_acceptance)

    def contender(self, scenario: Scenario, name: str, **options: Any) -> Controller[Any, Any] | PlugIn:
        """A controller, which will know the true state, or one with estimators, which will know what may be seen."""
        made: Controller[Any, Any] | PlugIn = make_controller(name, scenario, self.assumptions(scenario), **options)
        return made

    def checked_state(self, scenario: Scenario, state: ContinuousState) -> ContinuousState:
        """States (..., K) as arrays."""
        return checked_continuous_state(scenario, state)

    def suited(self, contender: Any) -> "ContinuousVariant":
        """With the uplink that a controller's decisions are for, and as patient as they say."""
        rule = contender.base if isinstance(contender, PlugIn) else contender
        return replace(self, discipline=rule.discipline) if isinstance(rule, Controller) else self

    def span(self, max_episode_steps: int) -> str:
        """Simulated time."""
        return f"{self.horizon:g} s"

    def price(self, scenario: Scenario) -> float:
        """ρ in tokens a second: what was chosen, else the rate of the reference rule, measured once."""
        return reference_rate(self.system(scenario)) if self.rho is None else self.rho

    def actions(self, scenario: Scenario, encoding: str) -> OrderCodec:
        """Codec between actions and decisions."""
        uplink = discipline_of(self.discipline)
        reference = self.starts.get(encoding, (REFERENCE,))[0] if self.reference is None else self.reference
        return self.encodings.load(encoding)(scenario, uplink, self.patience, self.drops, reference)

    def observations(self, scenario: Scenario) -> ContinuousObservations:
        """Codec of what is shown: the whole state, or what may be known of it."""
        whole = self.observed(scenario, self.price(scenario))
        belief = None if self.acceptance_visible else Filter(scenario, self.assumptions(scenario))
        return replace(whole, shown=self.shown(whole.table, whole.shown), belief=belief)

    def objective(self, scenario: Scenario) -> PassageAim:
        """What verifications are rewarded for."""
        return TokensMinusTime(self.price(scenario), scale=float(scenario.num_users))

    @property
    def account(self) -> OpenAccount:
        """What is added up over episodes."""
        return TokenAccount

    def assumptions(self, scenario: Scenario) -> Assumptions:
        """Mean and spread of acceptance by task, and what an old report says of the channel."""
        prior = self.endless(scenario).acceptance.prior(scenario)
        known = tuple(prior.mean.tolist()), tuple(prior.spread.tolist())
        return Assumptions(*known, self._correlation(scenario), int(self.late_reports))

    def _correlation(self, scenario: Scenario) -> float:
        """Of the channels of a device's cycles, where reports are old.

        Where they change with time, over that of a draft of 4 tokens and of the verification of all.
        """
        if not self.late_reports or self.channel_law == "independent":
            return 0.0
        if self.channel_law == "static":
            return 1.0
        cycle = MIDDLE * scenario.mean_draft_time + scenario.verification_time
        return math.exp(-cycle / self.coherence_time)

    @classmethod
    def page(cls) -> str:
        """Docstring with the table of the observation; numbers are those of the default scenario."""
        scenario = Scenario.preset(DEFAULT_SCENARIO, **cls.scenario_defaults)
        return page(cls.__doc__, cls.observed(scenario, scenario.autoregressive_goodput), cls.entries)

    def engine(self, settings: Settings, num_copies: int) -> ContinuousEngine:
        """Engine of its parts."""
        scenario = settings.scenario
        shortest = float(scenario.pass_time(1, 1 + scenario.min_draft_length))
        if self.horizon < shortest:
            raise ValueError(f"horizon: expected at least one verification, {shortest:g} s, got {self.horizon!r}")
        parts = Parts(
            system=self.system(scenario),
            actions=self.actions(scenario, settings.action),
            observations=self.observations(scenario),
            objective=self.objective(scenario),
            horizon=self.horizon,
            prices_drawn=settings.reward == "sampled",
            draws_tokens=self.draws_tokens,
            account=self.account,
        )
        return ContinuousEngine(parts, num_copies)
