"""Base of the environments without the barrier, which may hide acceptance, and channels before they are used."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import ClassVar, Self

from typing_extensions import override

from multispin_env.checks import check_bool, check_name, check_real, shown
from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.estimators import Filter
from multispin_env.controllers.factory import CLAIRVOYANT, check_controller_name
from multispin_env.envs.continuous.encodings import ContinuousCodec
from multispin_env.envs.continuous.engine import ContinuousEngine, TokenAccount
from multispin_env.envs.continuous.reference import REFERENCE, reference_rate
from multispin_env.envs.continuous.rendering.film import TraceFilm
from multispin_env.envs.continuous.rendering.picture import TracePicture
from multispin_env.envs.continuous.rendering.traces import Traces
from multispin_env.envs.objectives import Objective, TokensMinusTime
from multispin_env.envs.observations import CONTINUOUS_STATE, COUNTED, ENTRIES, MIDDLE, ObservationCodec
from multispin_env.envs.settings import Comparison, Family, InfoKeys, Learning, Settings, Variant
from multispin_env.physics.acceptance import ByRequest, check_mean_rounds
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.passes import DISCIPLINES, discipline_of
from multispin_env.physics.radio import GaussMarkov
from multispin_env.registry import CONTINUOUS_ENCODINGS
from multispin_env.scenario import Scenario

BARRIER = "optimal"
"""What waits for all."""

REPORTS = ("fresh", "old")
"""Whether the channel shown of a device that starts a draft is that of the new cycle, or of the last one."""

HIDDEN = ("filter", "beta", "task-mean")
"""Estimators to compare where acceptance is hidden, the best first."""

LATE = ("mmse", "quantile", "last-report")
"""The same where only reports of channels are old."""


@dataclass(frozen=True, kw_only=True)
class ContinuousVariant(Variant):
    """Base of the environments without the barrier; its fields are arguments of all of them, as `Continuous` says.

    A subclass replaces what is special: the system, what is rewarded and shown, or what is added up.
    """

    family: ClassVar[Family] = Family(
        name="continuous",
        encodings=CONTINUOUS_ENCODINGS,
        any_decision="full",
        max_episode_steps=None,
        recorder=Traces,
        drawing=TracePicture,
        film=TraceFilm,
    )
    entries: ClassVar[Mapping[str, str]] = MappingProxyType(dict.fromkeys(CONTINUOUS_STATE, ""))
    """Entries where nothing is hidden."""

    discipline: str = "serial"
    coherence_time: float = GaussMarkov.coherence_time
    horizon: float = 20.0
    rho: float | None = None
    patience: float | None = 2.0
    reference: str | None = None
    acceptance_visible: bool = True
    task_visible: bool = True
    spread: float | tuple[float, ...] | None = ByRequest.spread
    channel_report: str = REPORTS[0]

    def __post_init__(self) -> None:
        check_name("discipline", self.discipline, DISCIPLINES)
        check_real("coherence_time", self.coherence_time, 0.0, open_low=True)
        check_real("horizon", self.horizon, 0.0, open_low=True)
        if self.rho is not None:
            check_real("rho", self.rho, 0.0, open_low=True)
        if self.patience is not None:
            check_real("patience", self.patience, 0.0)
        if self.reference is not None:
            check_controller_name("reference", self.reference)
        check_bool("acceptance_visible", self.acceptance_visible)
        check_bool("task_visible", self.task_visible)
        check_name("channel_report", self.channel_report, REPORTS)
        check_mean_rounds(self._request_cycles, "mean_cycles")
        _ = self._hidden_acceptance  # refuses a bad spread
        for entry in fields(self):
            value = getattr(self, entry.name)
            if (
                self.acceptance_visible
                and entry.name in ("task_visible", "spread", "mean_cycles")
                and value != entry.default
            ):
                raise ValueError(
                    f"{entry.name}: expected {entry.default!r} where acceptance_visible is True, got {shown(value)}"
                )

    @property
    def comparison(self) -> Comparison:
        """Whole episodes; nothing bounds requests with rates of their own."""
        return Comparison(
            InfoKeys("tokens", "draft_length", "duration", None),
            contenders_in(self, "prices", "groups", "prices", "greedy", "synchronous"),
            baseline=BARRIER,
            seconds=self.horizon,
            has_bound=self.acceptance_visible,
        )

    @property
    def learning(self) -> Learning:
        """Who is in a batch changes at once, so that there are no slopes."""
        return Learning(
            slopes=False,
            discount=0.5,
            discount_of="second",
            starts={"residual": (REFERENCE,), "tuned": ("prices", REFERENCE)},
            sees_state=self.acceptance_visible and self.channel_report == REPORTS[0],
        )

    def system(self, scenario: Scenario) -> ContinuousSystem:
        """What does not change while time passes."""
        return self._endless(scenario)

    def objective(self, scenario: Scenario) -> Objective:
        """What verifications are rewarded for."""
        return TokensMinusTime(self._price(scenario), scale=float(scenario.num_users))

    def account(self, core: ContinuousCore) -> TokenAccount:
        """What is added up over episodes."""
        return TokenAccount(core)

    @override
    def engine(self, settings: Settings, num_copies: int) -> ContinuousEngine:
        return ContinuousEngine(settings, num_copies)

    @override
    def with_uplink(self, discipline: str) -> Self:
        return replace(self, discipline=discipline)

    @override
    def actions(self, scenario: Scenario, encoding: str) -> ContinuousCodec:
        reference = self.reference or self.learning.starts.get(encoding, (REFERENCE,))[0]
        cls = CONTINUOUS_ENCODINGS.load(encoding)
        return cls(scenario, discipline_of(self.discipline), self.patience, reference=reference)

    @override
    def observations(self, scenario: Scenario) -> ObservationCodec:
        """The whole state, or what may be known of it."""
        wanted = set(self.entries)
        if not self.acceptance_visible:
            wanted = wanted - {"acceptance"} | set(COUNTED)
        if not self.task_visible:
            wanted.discard("task")
        if self.channel_report != REPORTS[0]:
            wanted.add("mean_channel")
        belief = None if self.acceptance_visible else Filter(scenario, self.assumptions(scenario))
        return ObservationCodec(scenario, tuple(key for key in ENTRIES if key in wanted), self._price(scenario), belief)

    def assumptions(self, scenario: Scenario) -> Assumptions:
        """Mean and spread of acceptance by task, and what an old report says of the channel."""
        prior = self._endless(scenario).acceptance.prior(scenario)
        known = tuple(prior.mean.tolist()), tuple(prior.spread.tolist())
        late = self.channel_report != REPORTS[0]
        return Assumptions(*known, _correlation(self, scenario) if late else 0.0, int(late))

    @property
    def _request_cycles(self) -> float:
        """Cycles of its device that a request lasts on average, unless it ends with its last token: for ever."""
        return math.inf

    @property
    def _hidden_acceptance(self) -> ByRequest:
        """Law of acceptance where it is hidden."""
        return ByRequest(self.spread, self._request_cycles)

    def _endless(self, scenario: Scenario) -> ContinuousSystem:
        """The system with requests that never end."""
        system = ContinuousSystem.of(scenario, self.discipline, self.coherence_time)
        return system if self.acceptance_visible else replace(system, acceptance=self._hidden_acceptance)

    def _price(self, scenario: Scenario) -> float:
        """ρ in tokens a second: what was chosen, else the rate of the reference rule, measured once."""
        return reference_rate(self.system(scenario)) if self.rho is None else self.rho


def contenders_in(variant: ContinuousVariant, leader: str, *names: str) -> tuple[str, ...]:
    """Name these and the barrier; where something is hidden, the leader with the truth, and some that guess."""
    late = variant.channel_report != REPORTS[0]
    if variant.acceptance_visible and not late:
        return (*names, BARRIER)
    estimators: Sequence[str] = LATE if variant.acceptance_visible else HIDDEN
    if late and not variant.acceptance_visible:
        estimators = [f"{name}+{LATE[0]}" for name in HIDDEN]
    leading = [f"{leader}+{name}" for name in (CLAIRVOYANT, *estimators)]
    others = [name for name in names if name != leader]
    return (*leading, *(f"{name}+{estimators[0]}" for name in (*others[:2], BARRIER)))


def _correlation(variant: ContinuousVariant, scenario: Scenario) -> float:
    """Correlation of the channels of a device's cycles.

    For laws that are not known here it is 0; where channels change with time, it is that over a draft of 4 tokens and
    the verification of all.
    """
    cycle = MIDDLE * scenario.mean_draft_time + scenario.verification_time
    known = {"static": 1.0, "gauss-markov": math.exp(-cycle / variant.coherence_time)}
    return known.get(scenario.channel, 0.0)
