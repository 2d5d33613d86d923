"""Environments without the barrier; acceptance may be hidden, and channel reports may be outdated."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar, Self

from typing_extensions import override

from multispin_env.checks import check_bool, check_name, check_real, checked_field, shown
from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.estimators import Filter
from multispin_env.controllers.names import check_controller_name
from multispin_env.envs.base import single_env
from multispin_env.envs.config import EnvConfig, InfoKeys
from multispin_env.envs.continuous.encodings import ContinuousCodec
from multispin_env.envs.continuous.simulator import ContinuousSimulator, TokenAccount
from multispin_env.envs.knowledge import Knowledge
from multispin_env.envs.objectives import Objective, TokensMinusTime
from multispin_env.envs.observations import CONTINUOUS_STATE, TYPICAL_LENGTH, ObservationCodec
from multispin_env.envs.rendering.traces import Trace
from multispin_env.physics.acceptance import ByRequest, check_mean_rounds
from multispin_env.physics.continuous.core import ContinuousCore, ContinuousSystem
from multispin_env.physics.continuous.passes import DISCIPLINES, discipline_of
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState
from multispin_env.physics.radio import GaussMarkov
from multispin_env.registry import CONTINUOUS_ENCODINGS, Registry
from multispin_env.simulation.reference import REFERENCE, reference_rate

_REPORTS = ("fresh", "old")
"""Values of `channel_report`: a device that starts a draft reports the channel of its new or of its last cycle."""


@dataclass(frozen=True, kw_only=True)
class ContinuousConfig(EnvConfig[ContinuousState, ContinuousDecision]):
    """Base of the configurations without the barrier; the page of `Continuous` explains the arguments.

    A subclass overrides the system, the objective, the entries or the totals.
    """

    family: ClassVar[str] = "continuous"
    encodings: ClassVar[Registry] = CONTINUOUS_ENCODINGS
    universal_encoding: ClassVar[str] = "full"
    timeline: ClassVar[type[Trace]] = Trace
    entries: ClassVar[tuple[str, ...]] = CONTINUOUS_STATE
    info_keys: ClassVar[InfoKeys] = InfoKeys("tokens", "draft_length", "duration", None)
    starts: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType(
        {"residual": (REFERENCE,), "tuned": ("prices", REFERENCE)}
    )

    discipline: str = checked_field("serial", check_name, DISCIPLINES)
    coherence_time: float = checked_field(GaussMarkov.coherence_time, check_real, 0.0, open_low=True)
    horizon: float = checked_field(20.0, check_real, 0.0, open_low=True)
    rho: float | None = checked_field(None, check_real, 0.0, open_low=True)
    timeout: float | None = checked_field(2.0, check_real, 0.0, optional=True)
    reference: str | None = checked_field(None, check_controller_name)
    acceptance_visible: bool = checked_field(True, check_bool)
    task_visible: bool = checked_field(True, check_bool)
    spread: float | tuple[float, ...] | None = ByRequest.spread
    channel_report: str = checked_field(_REPORTS[0], check_name, _REPORTS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scenario.uplink.require_paper("without the barrier", "link")
        _ = self._hidden_acceptance  # making it checks the spread
        for name, field in self.own_fields().items() if self.acceptance_visible else ():
            if name in ("task_visible", "spread", "mean_cycles") and getattr(self, name) != field.default:
                expected = f"{field.default!r} with acceptance_visible=True"
                raise ValueError(f"{name}: expected {expected}, got {shown(getattr(self, name))}")

    @property
    @override
    def knowledge(self) -> Knowledge:
        late = self.channel_report == "old"
        return Knowledge(self.acceptance_visible, self.task_visible, mean_gain=late, delay=int(late))

    @property
    def system(self) -> ContinuousSystem:
        """Constant part of the simulation."""
        return self._endless

    def objective(self, num_envs: int) -> Objective:
        """Return the objective of a verification."""
        return TokensMinusTime(self._price, scale=float(self.scenario.num_users))

    def account(self, core: ContinuousCore) -> TokenAccount:
        """Return the totals of episodes for ``info``."""
        return TokenAccount(core)

    @override
    def simulator(self, num_envs: int) -> ContinuousSimulator:
        shortest = float(self.scenario.law.time(1, 1 + self.scenario.min_draft_length))
        if self.horizon < shortest:
            raise ValueError(f"horizon: expected at least {shortest:g} s for a verification, got {self.horizon!r}")
        core = ContinuousCore(self.system, num_envs, drawn=self.drawn)
        return ContinuousSimulator(self, self.objective(num_envs), core, self.account(core), self.horizon)

    @override
    def with_uplink(self, discipline: str) -> Self:
        return replace(self, discipline=discipline)

    @property
    @override
    def actions(self) -> ContinuousCodec:
        reference = self.reference or self.starts.get(self.action, (REFERENCE,))[0]
        cls = CONTINUOUS_ENCODINGS.load(self.action)
        return cls(self.scenario, discipline_of(self.discipline), self.timeout, reference=reference)

    @cached_property
    @override
    def observations(self) -> ObservationCodec:
        known = (*self.entries, "head_start") if self.scenario.draft_ahead else self.entries
        if "wanted" in known and self.scenario.devices.reads:
            known = (*known, "reading")
        belief = None if self.knowledge.acceptance else Filter(self.scenario, self.assumptions)
        return ObservationCodec(self.scenario, self.knowledge.shown(known), self._price, belief)

    @property
    @override
    def assumptions(self) -> Assumptions:
        prior = self._endless.acceptance.prior(self.scenario)
        acceptance = tuple(prior.mean.tolist()), tuple(prior.spread.tolist())
        if not self.knowledge.delay:
            return Assumptions(*acceptance, 0.0, 0)
        cycle = TYPICAL_LENGTH * self.scenario.mean_draft_time + self.scenario.verification_time
        correlations = {"static": 1.0, "gauss-markov": math.exp(-cycle / self.coherence_time)}  # from cycle to cycle
        return Assumptions(*acceptance, correlations.get(self.scenario.channel, 0.0), 1)

    @property
    def _hidden_acceptance(self) -> ByRequest:
        return ByRequest(self.spread, self.arguments.get("mean_cycles", math.inf))  # finite requests keep their rate

    @cached_property
    def _endless(self) -> ContinuousSystem:
        system = ContinuousSystem.of(self.scenario, self.discipline, self.coherence_time)
        return system if self.acceptance_visible else replace(system, acceptance=self._hidden_acceptance)

    @cached_property
    def _price(self) -> float:
        return reference_rate(self.system) if self.rho is None else self.rho


@dataclass(frozen=True, kw_only=True)
class Continuous(ContinuousConfig):
    """No barrier: the server verifies the drafts that have arrived while other devices draft and upload.

    ## Description

    Every device drafts, uploads, waits for the server and is verified; then it starts the next cycle at once. The
    server verifies one batch at a time, while the other devices continue. One step is one verification. A decision
    holds from the end of one verification to the end of the next, so steps differ in duration. The objective is tokens
    per second. This environment is an extension of the paper: the paper's system, in which every batch waits for all
    devices, is a special case.

    ## Action Space

    `Box(-5, 5, (K, columns), float32)`, one row for each user; `action` chooses the encoding:

    | `action`               | columns | meaning                                                                       |
    |------------------------|---------|-------------------------------------------------------------------------------|
    | `"residual"` (default) | 3       | change of the decision of the controller `reference`                          |
    | `"plain"`              | 3       | draft length, log scale; leave, take or wait; priority on the uplink or share |
    | `"full"`               | 6       | as `"plain"`; target batch; timeout, drafts to wait for (means over users)    |
    | `"tuned"`              | 5       | options of the controller `reference`: default at 0, limits at ±5             |

    `"residual"` changes the controller's decision: the draft length on a log scale, the batch, and the order on the
    uplink. The second column moves a device to one batch earlier (-4.5 to -3.5) or later (above 3.5), or keeps the
    controller's batch (-3.5 to 3.5). Below -4.5 no batch waits for the device, and it uploads last.

    `"plain"` uses no controller. The next batch takes an arrived draft if the second column is above -5/3, and waits
    for the device if it is above 5/3; if all entries are below -5/3, all arrived drafts are taken. On a serial uplink,
    the third column is a priority: the smallest comes first and preempts others; among equal ones the upload with the
    least work left at the decision, then the draft that is complete first, then the lower index. On other uplinks, it
    is the logarithm of a share of the band. Draft lengths apply to free devices.

    `"tuned"` has a column for each option in `ms.make_controller(reference, scenario).tunable`, so an agent sets the
    constants of a rule, depending on the observation. For an option common to all devices, the mean over users counts.

    `env.unwrapped.encode_action(decision)` and `decode_action(action)` convert between `ms.ContinuousDecision` and
    actions.

    ## Observation Space

    `Dict` of float32 `Box`es, dimensionless: the complete state at the end of a verification.

    | entry        | shape    | value            | meaning                                        | min  | max  |
    |--------------|----------|------------------|------------------------------------------------|------|------|
    | `phase`      | (K · 4,) | one-hot          | free, drafting, uploading or ready             | 0    | 1    |
    | `compute`    | (K,)     | T_k / T̄          | draft time of a token                          | 0.85 | 1.15 |
    | `channel`    | (K,)     | r_k / r̄          | spectral efficiency                            | 0    | 2.03 |
    | `acceptance` | (K,)     | α_k              | acceptance rate                                | 0    | 1    |
    | `draft`      | (K,)     | L_k / L_max      | tokens of the draft under way                  | 0    | 1    |
    | `ready`      | (K,)     | x / (x + T_ver)  | x = time until ready if alone in the band      | 0    | 1    |
    | `cycle`      | (K,)     | x / (x + T_ver)  | x = time since the cycle started               | 0    | 1    |
    | `aim`        | (K,)     | x / (abs(x) + 4) | x = batches from the next to the target batch  | -1   | 1    |
    | `shared`     | (6,)     | see below        | scales of the system, ρ, and uploads under way | -20  | 20   |

    min and max hold for the presets: `compute` is within 1 ± `draft_time_spread`, and the maximum of `channel` belongs
    to a gain of 64 times the largest mean gain. For a free device, `channel` is that of the cycle that starts now, and
    `cycle` is the duration of the cycle that has just ended. `aim` matters in encodings with a target batch. In the
    others, a draft aims at the next batch, so that `aim` counts the batches since: it falls from step to step, and that
    of a free device is of its last draft.

    `shared` holds log10 of T_ver / T̄, K, K Q / (B r̄ T̄), V(1) / T̄ and ρ T_ver / K. T_ver is the time to verify all
    drafts, V(1) the time to verify one, and K Q / (B r̄) the upload time of a token at an equal share of the band. If
    the verification time depends on draft lengths, log10 of T_ver / T̄ for drafts of 4 and of L_max tokens follow. The
    times over T̄ include `round_trip_time`; ρ T_ver / K and T_ver elsewhere on this page do not. The last number is
    x / (x + T_ver) for x seconds of pending uploads.

    ## Rewards

    (tokens − ρ · duration) / K. Its mean is 0 for policies with a rate of ρ tokens/s and positive for faster ones,
    however long their steps are. If the rate of an agent exceeds ρ, set `rho` to that rate for further training.
    `reward="expected"` counts expected tokens E[N_k], `"sampled"` counts drawn tokens.

    ## Starting State

    Draft times T̄ U(0.85, 1.15), mean gains U(0.2, 0.5) and tasks are drawn for each device; all devices are free. A
    channel is drawn when a cycle starts: at the reset, then at the end of each verification for the devices in it.

    ## Episode End

    Never terminates. Truncates with the first verification that ends after `horizon` seconds of simulated time. There
    is no limit on the number of steps, since it would favour long verifications: Gymnasium's `max_episode_steps` is not
    set.

    ## Arguments

    - `scenario`: preset name (`"llama2"`, `"qwen3.5"`, `"qwen2.5"`, `"r1"`), file name or `Scenario`.
    - any field of `Scenario` by name, e.g. `num_users=8`, `total_bandwidth=5e6`. `channel` sets how a device's channel
      changes from cycle to cycle: `"independent"` (default), `"gauss-markov"` in elapsed time, or `"static"`.
    - `draft_ahead`: whether devices continue to draft while their drafts are uploaded and verified, default false.
      Tokens drafted ahead are kept if the whole draft is accepted and the server's token equals the first of them;
      `guess` sets the probability of this. At the start of the next cycle, the kept tokens are observed as
      `head_start`, A_k / L_max in [0, 1]. With `min_draft_length=0`, a device can also send no tokens.
    - `discipline`: `"serial"` (default), one upload at a time in the whole band; `"shared"`, the band is divided among
      the current uploads; or `"reserved"`, each device has its own share of the band.
    - `coherence_time`: τ of `"gauss-markov"` in seconds, > 0, default 0.5.
    - `horizon`: seconds of simulated time until truncation, at least one verification, default 20.
    - `rho`: ρ in tokens/s, > 0; default `None`: the rate of the controller `groups` in this scenario, measured once.
    - `timeout`: longest wait of a batch in seconds, ≥ 0, default 2; `None` for no limit. It limits the delay by a
      device in a deep fade, unless `"full"` or the controller sets its own. A batch always waits for its first draft.
    - `reference`: controller at action 0; default `None`: `"groups"` for `"residual"` and `"prices"` for `"tuned"`.
    - `action`, `reward`: see above.
    - `acceptance_visible`: whether acceptance rates are observed, default true. If not, each request has its own rate,
      and the entries `task`, `drafted`, `accepted`, `age`, `hits` and `misses` of `MultiSpin/HiddenAcceptance-v0`
      replace `acceptance`. They count verifications instead of rounds: a device that was not in the last batch has 0 in
      `drafted` and `accepted`. Tokens are then drawn also with `reward="expected"`; only the reward uses their
      expectation. Only if acceptance rates are hidden can `task_visible`, `spread` and `mean_cycles` be changed.
    - `task_visible`: whether the task is observed, default true.
    - `spread`: standard deviation of the rate over the requests of a task, default 0.08; recorded ones have 0 to 0.07,
      so 0.05 is realistic. `None`: its `acceptance_std`, unrealistic in the paper's pairs, where it is that of tokens.
    - `mean_cycles`: mean lifetime of a request in cycles of its device, ≥ 1, default 16.
    - `channel_report`: `"fresh"` (default) or `"old"`. With `"old"`, a device that starts a draft reports the channel
      of its last cycle, in its first cycle r at the mean gain; the new channel is observed once the draft is under way.
      The observation then also has `mean_channel`, r at the mean gain over r̄.

    If parts of the state are hidden, the controller in `"residual"` or `"tuned"` decides from the observation: with the
    reported channel, and with the acceptance rates that the estimator `filter` infers from the counts and the task.

    ## Info

    `tokens` and `draft_length` (K,) of verified drafts, `duration` (s), `batch_size`, `start_delay` (s, idle time of
    the server), and totals of the episode so far: `time` (s), `episode_tokens` and `token_goodput` (tokens/s). If
    devices draft ahead, also, for verified drafts, `head_start` (K,), the tokens drafted ahead at the start of the
    cycle; `drafted_ahead` (K,), the tokens after the server's token at its end; and `hit` (K,), whether these are kept.
    """

    env_id: ClassVar[str] = "MultiSpin/Continuous-v0"

    mean_cycles: float = checked_field(ByRequest.mean_rounds, check_mean_rounds)


ContinuousEnv = single_env(Continuous)
