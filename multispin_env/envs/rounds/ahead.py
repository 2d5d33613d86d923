"""Environment of rounds in which devices draft ahead, so that rounds depend on each other; not in the paper."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

from typing_extensions import override

from multispin_env.checks import check_real, checked_field
from multispin_env.controllers.rounds.ahead import max_rounds
from multispin_env.envs.base import single_env
from multispin_env.envs.config import InfoKeys
from multispin_env.envs.objectives import Objective, TokensMinusTime
from multispin_env.envs.observations import AHEAD_STATE, ObservationCodec
from multispin_env.envs.rounds.known import RoundsConfig
from multispin_env.physics.continuous.averages import LARGE
from multispin_env.physics.continuous.core import ContinuousSystem
from multispin_env.simulation.reference import reference_rate

_PRICE_RULE = "ahead-price"


@dataclass(frozen=True, kw_only=True)
class DraftAhead(RoundsConfig):
    """Rounds in which devices continue to draft while their drafts are uploaded and verified.

    ## Description

    Like `MultiSpin/Heterogeneous-v0`, but the draft model of a device never stops. At the start of a round, a device
    has already drafted a *chain* of A_k tokens after its last verified token; A_k is its *head start*. The chain grows
    by one token every T_k seconds. The upload of the first L_k tokens of the chain begins when they are drafted, after
    (L_k − A_k)^+ T_k instead of L_k T_k seconds. A round takes τ = max_k ((L_k − A_k)^+ T_k + upload) + T_ver + T_rtt.
    If all L_k tokens are accepted, the server adds one token. If this token is the next one of the chain (a *hit*), the
    tokens after it are kept; otherwise they are lost. The next head start is

        A'_k = 1{hit} · min(max(A_k + (τ − T_rtt) / T_k − L_k − 1, 0), L_max),
        P(hit) = g_k α_k^L_k,

    a real number that includes the drafted part of a token. g_k is α_k with the scenario's `guess="greedy"`,
    α_k / (2 − α_k) with `"shared-seed"` and α_k² with `"independent"`. The distribution of N_k does not change.

    So a decision influences later rounds: a longer draft gains more tokens now, but hits are rarer. The controller
    `optimal`, which maximises the rate of one round, is no longer the best policy. `ms.bounds.rate_optimum` is the best
    rate of one or two devices with constant channels; for more devices no optimum is known.

    ## Action Space

    As in `MultiSpin/Heterogeneous-v0`. Drafts of 0 tokens are allowed, and are useful here: the server does not wait
    for them, and its token is a hit with probability g_k. The closed form of `"residual"` and `"lengths"` includes head
    starts: its latency φ solves Σ_k L_k u_k / (φ − (L_k − A_k)^+ T_k) = 1, with the upload time u_k of a token in the
    whole band.

    ## Observation Space

    `Dict` of float32 `Box`es, dimensionless: the complete state to which the next action applies. Earlier rounds matter
    only through the head start.

    | entry        | shape | value       | meaning                                  | min  | max  |
    |--------------|-------|-------------|------------------------------------------|------|------|
    | `compute`    | (K,)  | T_k / T̄     | draft time of a token                    | 0.85 | 1.15 |
    | `channel`    | (K,)  | r_k / r̄     | spectral efficiency                      | 0    | 2.03 |
    | `acceptance` | (K,)  | α_k         | acceptance rate                          | 0    | 1    |
    | `head_start` | (K,)  | A_k / L_max | tokens of the chain at the start         | 0    | 1    |
    | `shared`     | (4,)  | log10       | T_ver / T̄, K, K Q / (B r̄ T̄), ρ T_ver / K | -20  | 20   |

    min and max hold for the presets. If the verification time depends on draft lengths, `shared` also holds log10
    of T_ver / T̄ for drafts of 4 and of L_max tokens.

    ## Rewards

    (Σ_k N_k − ρ τ) / K. Its mean is 0 for policies with a rate of ρ tokens/s (total tokens over total time), and
    positive for faster ones. The goodput of each round as a reward would favour short rounds. If the rate of an agent
    exceeds ρ, set `rho` to that rate for further training. `reward="expected"` counts expected tokens E[N_k],
    `"sampled"` counts drawn tokens; hits are always drawn, from the random numbers of the tokens.

    A head start is lost in the first round without a hit, so a discount factor of 0.9 per round is enough.

    ## Starting State

    As in `MultiSpin/Heterogeneous-v0`, without head starts.

    ## Episode End

    Truncates after `rounds` rounds; with `rounds=1` it terminates, as in `MultiSpin/Heterogeneous-v0`.

    ## Arguments

    - `scenario`: preset name (`"llama2"`, `"qwen3.5"`, `"qwen2.5"`, `"r1"`), file name or `Scenario`. A file or
      `Scenario` keeps its own `draft_ahead` and `min_draft_length`.
    - any field of `Scenario` by name, e.g. `num_users=8`, `guess="shared-seed"`, `server="a100-32b"`. Presets have
      `draft_ahead=True` and `min_draft_length=0` here. With `draft_ahead=False` head starts are 0, and rounds are those
      of `MultiSpin/Heterogeneous-v0`: the same system without drafting ahead.
    - `rho`: ρ in tokens/s, > 0; default `None`: the rate of the controller `ahead-price` in this scenario, measured
      once.
    - `rounds`: rounds of an episode, ≥ 1, default 64.
    - `action`, `reward`: as in `MultiSpin/Heterogeneous-v0`.
    - `render_mode`: `None`, `"rgb_array"` or `"human"`.

    ## Info

    As in `MultiSpin/Heterogeneous-v0` without an optimum, with the `joules` of all tokens drafted in the round, whether
    sent or not; and `head_start` (K,), the tokens of the chain at the start of the round; `drafted_ahead` (K,), its
    tokens after the server's token at the end of the round; and `hit` (K,), whether `drafted_ahead` becomes the next
    head start. A new request begins without a head start.
    """

    env_id: ClassVar[str] = "MultiSpin/DraftAhead-v0"
    # a mean of goodputs is not the rate
    info_keys: ClassVar[InfoKeys] = InfoKeys("accepted_tokens", "draft_length", "round_latency", None)
    optimal: ClassVar[str | None] = None
    independent: ClassVar[bool] = False
    has_slopes: ClassVar[bool] = False

    scenario_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"draft_ahead": True, "min_draft_length": 0})
    drafts_ahead: ClassVar[bool] = True
    entries: ClassVar[tuple[str, ...]] = AHEAD_STATE

    rho: float | None = checked_field(None, check_real, 0.0, open_low=True)

    @override
    def objective(self, num_envs: int) -> Objective:
        return TokensMinusTime(self._price, scale=float(self.scenario.num_users))

    @cached_property
    @override
    def observations(self) -> ObservationCodec:
        return ObservationCodec(self.scenario, self.knowledge.shown(self.entries), self._price)

    @property
    def _price(self) -> float:
        if self.rho is not None:
            return self.rho
        # the rule is slow for many devices: measure fewer, with the same bandwidth and server time for each
        scenario = self.scenario
        part = max(scenario.num_users / LARGE, 1.0)
        if part > 1.0:
            scenario = scenario.replace(
                num_users=LARGE,
                total_bandwidth=scenario.total_bandwidth / part,
                verification_time_per_draft=scenario.verification_time_per_draft * part,
                context_time=scenario.context_time * part,
                verification_pieces=tuple((start, slope * part) for start, slope in scenario.verification_pieces),
            )
        system = ContinuousSystem.of(scenario, "reserved")
        return part * reference_rate(system, _PRICE_RULE, max_rounds(scenario.num_users))


DraftAheadEnv = single_env(DraftAhead)
