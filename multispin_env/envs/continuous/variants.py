"""Environments without the barrier, which may hide acceptance, and channels before they are used."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import ClassVar, Self

from typing_extensions import override

from multispin_env.checks import check_bool, check_name, check_real, shown
from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.estimators import Filter
from multispin_env.controllers.names import CLAIRVOYANT, check_controller_name
from multispin_env.envs.base import MultiSpinEnv, MultiSpinVectorEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.continuous.encodings import ContinuousCodec
from multispin_env.envs.continuous.engine import ContinuousEngine, TokenAccount
from multispin_env.envs.objectives import Objective, TokensMinusTime
from multispin_env.envs.observations import CONTINUOUS_STATE, COUNTED, ENTRIES, TYPICAL_LENGTH, ObservationCodec
from multispin_env.envs.rendering.continuous import TraceFilm, TracePicture, Traces
from multispin_env.envs.variant import Comparison, Family, InfoKeys, Learning, Variant
from multispin_env.physics.acceptance import ByRequest, check_mean_rounds
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.passes import DISCIPLINES, discipline_of
from multispin_env.physics.radio import GaussMarkov
from multispin_env.registry import CONTINUOUS_ENCODINGS
from multispin_env.scenario import Scenario
from multispin_env.simulation.reference import REFERENCE, reference_rate

_BARRIER = "optimal"

_REPORTS = ("fresh", "old")
"""Whether the channel shown of a device that starts a draft is that of the new cycle, or of the last one."""

_HIDDEN = ("filter", "beta", "task-mean")
"""Estimators to compare where acceptance is hidden, the best first."""

_LATE = ("mmse", "quantile", "last-report")
"""The same where only reports of channels are old."""


@dataclass(frozen=True, kw_only=True)
class ContinuousVariant(Variant):
    """Base of the environments without the barrier; its fields are arguments of all of them, as `Continuous` says.

    A subclass replaces what is special: the system, what is rewarded and shown, or what is added up.
    """

    family: ClassVar[Family] = Family(
        name="continuous",
        encodings=CONTINUOUS_ENCODINGS,
        universal_encoding="full",
        max_episode_steps=None,
        recorder=Traces,
        drawing=TracePicture,
        film=TraceFilm,
    )
    entries: ClassVar[Mapping[str, str]] = MappingProxyType(dict.fromkeys(CONTINUOUS_STATE, ""))

    discipline: str = "serial"
    coherence_time: float = GaussMarkov.coherence_time
    horizon: float = 20.0
    rho: float | None = None
    timeout: float | None = 2.0
    reference: str | None = None
    acceptance_visible: bool = True
    task_visible: bool = True
    spread: float | tuple[float, ...] | None = ByRequest.spread
    channel_report: str = _REPORTS[0]

    def __post_init__(self) -> None:
        check_name("discipline", self.discipline, DISCIPLINES)
        check_real("coherence_time", self.coherence_time, 0.0, open_low=True)
        check_real("horizon", self.horizon, 0.0, open_low=True)
        if self.rho is not None:
            check_real("rho", self.rho, 0.0, open_low=True)
        if self.timeout is not None:
            check_real("timeout", self.timeout, 0.0)
        if self.reference is not None:
            check_controller_name("reference", self.reference)
        check_bool("acceptance_visible", self.acceptance_visible)
        check_bool("task_visible", self.task_visible)
        check_name("channel_report", self.channel_report, _REPORTS)
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
            select_contenders(self, "prices", "groups", "prices", "greedy", "synchronous"),
            baseline=_BARRIER,
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
            sees_state=self.acceptance_visible and self.channel_report == _REPORTS[0],
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
    def engine(self, config: EnvConfig, num_envs: int) -> ContinuousEngine:
        scenario = config.scenario
        shortest = float(scenario.pass_time(1, 1 + scenario.min_draft_length))
        if self.horizon < shortest:
            raise ValueError(f"horizon: expected at least one verification, {shortest:g} s, got {self.horizon!r}")
        core = ContinuousCore(self.system(scenario), num_envs, drawn=config.drawn)
        return ContinuousEngine(config, self.objective(scenario), core, self.account(core), self.horizon)

    @override
    def with_uplink(self, discipline: str) -> Self:
        return replace(self, discipline=discipline)

    @override
    def actions(self, scenario: Scenario, encoding: str) -> ContinuousCodec:
        reference = self.reference or self.learning.starts.get(encoding, (REFERENCE,))[0]
        cls = CONTINUOUS_ENCODINGS.load(encoding)
        return cls(scenario, discipline_of(self.discipline), self.timeout, reference=reference)

    @override
    def observations(self, scenario: Scenario) -> ObservationCodec:
        wanted = set(self.entries)
        if not self.acceptance_visible:
            wanted = wanted - {"acceptance"} | set(COUNTED)
        if not self.task_visible:
            wanted.discard("task")
        if self.channel_report != _REPORTS[0]:
            wanted.add("mean_channel")
        if scenario.draft_ahead:
            wanted.add("head_start")
        belief = None if self.acceptance_visible else Filter(scenario, self.assumptions(scenario))
        return ObservationCodec(scenario, tuple(key for key in ENTRIES if key in wanted), self._price(scenario), belief)

    def assumptions(self, scenario: Scenario) -> Assumptions:
        """Mean and spread of acceptance by task, and what an old report says of the channel."""
        prior = self._endless(scenario).acceptance.prior(scenario)
        known = tuple(prior.mean.tolist()), tuple(prior.spread.tolist())
        late = self.channel_report != _REPORTS[0]
        return Assumptions(*known, _correlation(self, scenario) if late else 0.0, int(late))

    @property
    def _request_cycles(self) -> float:
        return math.inf

    @property
    def _hidden_acceptance(self) -> ByRequest:
        return ByRequest(self.spread, self._request_cycles)

    def _endless(self, scenario: Scenario) -> ContinuousSystem:
        system = ContinuousSystem.of(scenario, self.discipline, self.coherence_time)
        return system if self.acceptance_visible else replace(system, acceptance=self._hidden_acceptance)

    def _price(self, scenario: Scenario) -> float:
        return reference_rate(self.system(scenario)) if self.rho is None else self.rho


def select_contenders(variant: ContinuousVariant, leader: str, *names: str) -> tuple[str, ...]:
    """Name these and the barrier; where something is hidden, the leader with the truth, and some that guess."""
    late = variant.channel_report != _REPORTS[0]
    if variant.acceptance_visible and not late:
        return (*names, _BARRIER)
    estimators: Sequence[str] = _LATE if variant.acceptance_visible else _HIDDEN
    if late and not variant.acceptance_visible:
        estimators = [f"{name}+{_LATE[0]}" for name in _HIDDEN]
    leading = [f"{leader}+{name}" for name in (CLAIRVOYANT, *estimators)]
    others = [name for name in names if name != leader]
    return (*leading, *(f"{name}+{estimators[0]}" for name in (*others[:2], _BARRIER)))


def _correlation(variant: ContinuousVariant, scenario: Scenario) -> float:
    """Correlation of the channels of a device's cycles.

    For laws that are not known here it is 0; where channels change with time, it is that over a draft of 4 tokens and
    the verification of all.
    """
    cycle = TYPICAL_LENGTH * scenario.mean_draft_time + scenario.verification_time
    known = {"static": 1.0, "gauss-markov": math.exp(-cycle / variant.coherence_time)}
    return known.get(scenario.channel, 0.0)


class ContinuousEnv(MultiSpinEnv):
    """No barrier: the server verifies what is there while other devices draft and upload.

    ## Description

    Every device drafts, uploads, waits for the server and is verified; then it starts anew at once. The server verifies
    one batch at a time, and meanwhile the others go on. One step is one verification: a decision
    holds from the end of one to the end of the next, and steps take different times. What to
    maximise is tokens over time. The paper's system, in which everybody waits for everybody, is a special case (ours).

    ## Action Space

    `Box(-1, 1, (K, columns), float32)`, one row for each user; `action` chooses the encoding:

    | `action`               | columns | meaning                                                                     |
    |------------------------|---------|-----------------------------------------------------------------------------|
    | `"residual"` (default) | 3       | how the decision differs from that of `reference`, which is 0               |
    | `"plain"`              | 3       | draft length, log scale; leave, take or wait; priority on the uplink or share |
    | `"full"`               | 6       | the same; batch aimed at; timeout, drafts to wait for (means over users)   |
    | `"tuned"`              | 5       | options of the controller `reference`: at 0 its own, at ±1 their ends        |

    `"residual"`: the length around the rule's, on a log scale; aside (below -0.6), a batch earlier (to -0.2), the
    rule's own (to 0.2) or a batch later; uplink order around the rule's. `"plain"` has nothing of any rule inside: the
    next batch takes a device that is there if the second column is above -1/3, and waits for it if it is above 1/3;
    where all are below, it takes all. On a serial uplink the smallest priority comes first, and interrupts; else the
    column is the logarithm of a share of the band. Lengths are for devices that are free now.
    `"tuned"` has a column for each option that `ms.make_controller(reference, scenario).tunable` lists; of options that
    all devices share, the mean over users is read. So an agent sets the constants of a rule, from what it sees.
    `env.unwrapped.encode_action(decision)` and `decode_action(action)` translate to and from `ms.ContinuousDecision`.

    ## Observation Space

    `Dict` of float32 `Box`es, dimensionless: the whole state when a verification ends.

    | entry        | shape    | value            | meaning                                        | min  | max  |
    |--------------|----------|------------------|------------------------------------------------|------|------|
    | `phase`      | (K · 4,) | one-hot          | free, drafting, uploading or ready             | 0    | 1    |
    | `compute`    | (K,)     | T_k / T̄          | draft time of a token                          | 0.85 | 1.15 |
    | `channel`    | (K,)     | r_k / r̄          | spectral efficiency                            | 0    | 2.03 |
    | `acceptance` | (K,)     | α_k              | acceptance rate                                | 0    | 1    |
    | `draft`      | (K,)     | L_k / L_max      | tokens of the draft under way                  | 0    | 1    |
    | `ready`      | (K,)     | x / (x + T_ver)  | x = time until ready if alone in the band      | 0    | 1    |
    | `cycle`      | (K,)     | x / (x + T_ver)  | x = time since the cycle started               | 0    | 1    |
    | `aim`        | (K,)     | x / (abs(x) + 4) | x = batches from the next to the one aimed at  | -1   | 1    |
    | `shared`     | (6,)     | see below        | scales of the system, ρ, and uploads under way | -20  | 20   |

    min and max are those of the presets: `compute` is within 1 ± `draft_time_spread`, and `channel` ends where the gain
    is 64 times the largest mean. The channel of a free device is that of the cycle which starts now, its age that of
    the cycle which ended. V(1) is the time to verify one draft, T_ver that of all. `aim` is for the encodings that say
    which batch a draft aims at. `shared` holds log10 of T_ver / T̄, K, K Q / (B r̄ T̄), the upload time of a token at an
    equal share over T̄, V(1) / T̄ and ρ T_ver / K; where verification costs tokens, also of T_ver / T̄ for drafts of 4
    tokens and of the most; then x / (x + T_ver) for x seconds of air time pending.

    ## Rewards

    (tokens − ρ · duration) / K, so that longer steps are not better because they are longer: the mean is 0 for policies
    that make ρ tokens/s and positive for those that make more. An agent whose own rate is above ρ should go on with
    that rate as `rho`. `reward="expected"` takes E[N_k], `"sampled"` draws the tokens.

    ## Starting State

    Draft times T̄ U(0.85, 1.15), mean gains U(0.2, 0.5) and tasks are drawn for each device; all devices are free.

    ## Episode End

    Never terminates. Truncates with the verification that ends after `horizon` seconds of simulated time, whatever the
    number of steps. Gymnasium's `max_episode_steps` would cut after so many verifications instead, which favours long
    ones; it is not set.

    ## Arguments

    - `scenario`: preset name (`"llama2"`, `"qwen3.5"`) or a `Scenario`.
    - any field of `Scenario` by name, e.g. `num_users=8`, `total_bandwidth=5e6`. `channel` says how a device's channel
      changes from cycle to cycle: `"independent"` (default), `"gauss-markov"` in elapsed time, or `"static"`.
    - `draft_ahead`: whether devices draft on while their drafts are uploaded and verified, default false. What a device
      has of a chain when its cycle starts is then observed as `head_start`, A_k / L_max in [0, 1]. The chain is kept if
      the whole draft is accepted and its next token is the server's; `guess` says how likely that is. With
      `min_draft_length=0` a device can also send nothing.
    - `discipline`: how uploads share the band, `"serial"` (default), `"shared"` or `"reserved"`.
    - `coherence_time`: τ of `"gauss-markov"` in seconds, > 0, default 0.5.
    - `horizon`: seconds of simulated time until truncation, at least one verification, default 20.
    - `rho`: ρ in tokens/s, > 0; default `None`, the rate of the controller `groups` in this scenario, measured once.
    - `timeout`: seconds that a batch waits at most in encodings that do not say it, ≥ 0, default 2; `None` for ever.
      A device in a deep fade then holds nobody up for longer. Somebody is always waited for.
    - `reference`: controller that action 0 is; default `None`, `"groups"` for `"residual"` and `"prices"` for
      `"tuned"`.
    - `action`, `reward`: see above.
    - `acceptance_visible`: whether acceptance is observed, default true. If not, requests have rates of their own, as
      in `MultiSpin/HiddenAcceptance-v0`. In the position of `acceptance` there are its `task`, `drafted`, `accepted`,
      `age`, `hits` and `misses`, of verifications: a device that was not in the last one has 0 in `drafted` and
      `accepted`. Tokens are then drawn also with `reward="expected"`; only the reward takes their expectation.
    - `task_visible`: whether the task is then observed, default true.
    - `spread`: standard deviation of the rate over the requests of a task, default 0.08; `None` takes the scenario's ±.
    - `mean_cycles`: how many of its device's cycles such a request lasts on average, ≥ 1, default 16.
    - `channel_report`: `"fresh"` (default), or `"old"`: the channel of a device that starts a draft is observed as it
      was in its last cycle, before the first as the mean gain has it. The new one is known once the draft is under way.
      `mean_channel` is shown besides, r at the mean gain over r̄.

    Where something is hidden, actions are decoded with what is seen: the controller inside `"residual"` or `"tuned"`
    takes the old channel, and for acceptance what the estimator `filter` makes of the counts and the task.

    ## Info

    `tokens` and `draft_length` (K,) of what was verified, `duration` (s), `batch_size`, `start_delay` (s, how long the
    server was idle), and of the episode so far `time` (s), `episode_tokens` and `token_goodput` (tokens/s); after the
    last step they are those of the episode. Where devices draft ahead, also, of what was verified, `head_start` (K,),
    the tokens that a cycle began with; `drafted_ahead` (K,), those behind the server's token at its end; and `hit`
    (K,), whether these are kept.

    ## Version History

    - v0: first version.
    """

    env_id = "MultiSpin/Continuous-v0"


class ContinuousVectorEnv(MultiSpinVectorEnv):
    """Native vector of `ContinuousEnv`; `MultiSpinVectorEnv` explains its arguments."""

    env_id = ContinuousEnv.env_id


@dataclass(frozen=True, kw_only=True)
class Continuous(ContinuousVariant):
    """Steps without the barrier, with requests that never end."""

    mean_cycles: float = ByRequest.mean_rounds

    @property
    def _request_cycles(self) -> float:
        return self.mean_cycles
