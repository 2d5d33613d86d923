"""Environments of rounds with a known state: the full problem, one common draft length, and long-run fairness."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

from typing_extensions import override

from multispin_env.arrays import Array, FloatArray
from multispin_env.checks import check_integer, check_real, checked_field
from multispin_env.controllers.base import Assumptions
from multispin_env.envs.base import single_env
from multispin_env.envs.config import EnvConfig, InfoKeys
from multispin_env.envs.objectives import Goodput, Objective, ProportionalFairness
from multispin_env.envs.observations import ROUND_STATE, ObservationCodec
from multispin_env.envs.rendering.traces import RoundsTrace
from multispin_env.envs.rounds.encodings import RoundsCodec
from multispin_env.envs.rounds.simulator import RoundsSimulator
from multispin_env.envs.rounds.slopes import reward_slopes
from multispin_env.physics.acceptance import ByRequest
from multispin_env.physics.rounds import Dynamics
from multispin_env.physics.types import Decision, SystemState
from multispin_env.registry import ENCODINGS, Registry


@dataclass(frozen=True, kw_only=True)
class RoundsConfig(EnvConfig[SystemState, Decision]):
    """Base of the configurations of environments of rounds, with a known state.

    A subclass overrides the entries, the dynamics, the state used to decode actions, or the objective. If it has an
    argument ``privileged`` that is true, ``info`` holds the true acceptance rates and channels. An episode of one round
    terminates, since later rounds do not belong to it; a longer one truncates.
    """

    family: ClassVar[str] = "rounds"
    encodings: ClassVar[Registry] = ENCODINGS
    universal_encoding: ClassVar[str] = "shares"
    timeline: ClassVar[type[RoundsTrace]] = RoundsTrace
    drafts_ahead: ClassVar[bool] = False
    simulator_class: ClassVar[type[RoundsSimulator]] = RoundsSimulator
    entries: ClassVar[tuple[str, ...]] = ROUND_STATE

    info_keys: ClassVar[InfoKeys] = InfoKeys("accepted_tokens", "draft_length", "round_latency", "goodput")
    optimal: ClassVar[str | None] = "optimal"
    independent: ClassVar[bool] = True
    has_slopes: ClassVar[bool] = True

    rounds: int = checked_field(64, check_integer, 1)

    @property
    def dynamics(self) -> Dynamics:
        """Random changes between rounds; ``ValueError`` for a scenario that does not allow them."""
        return Dynamics.of(self.scenario)

    def objective(self, num_envs: int) -> Objective:
        """Return the objective of a round."""
        return Goodput(self.scenario)

    def planned(self, reported: SystemState, mean_gain: FloatArray) -> SystemState:
        """Return the state (n, K) used to decode actions, from the reported state and the mean gains."""
        return reported

    @override
    def simulator(self, num_envs: int) -> RoundsSimulator:
        return self.simulator_class(self, self.objective(num_envs), self.dynamics, self.planned, num_envs)

    def reward_slopes(
        self, simulator: RoundsSimulator, action: Array, weights: FloatArray | None, window: float
    ) -> FloatArray:
        """Return the derivatives of the next reward; see `MultiSpinVectorEnv.reward_slopes`."""
        return reward_slopes(simulator, action, weights, window)

    @property
    @override
    def actions(self) -> RoundsCodec:
        return ENCODINGS.load(self.action)(self.scenario)

    @cached_property
    @override
    def observations(self) -> ObservationCodec:
        return ObservationCodec(self.scenario, self.knowledge.shown(self.entries))

    @property
    @override
    def assumptions(self) -> Assumptions:
        prior = self.dynamics.acceptance.prior(self.scenario)
        return Assumptions(tuple(prior.mean.tolist()), tuple(prior.spread.tolist()), 0.0, self.knowledge.delay)


@dataclass(frozen=True, kw_only=True)
class Heterogeneous(RoundsConfig):
    """The full problem of Multi-SPIN: choose a draft length and a bandwidth for each device.

    ## Description

    K devices draft tokens with a small model and upload them over a shared uplink (FDMA); an edge server verifies
    all drafts in one batch of its large model. In every round the controller chooses the draft lengths L_k and
    bandwidths B_k; the reward is the sum token goodput of the round. From "Multi-SPIN: Multi-Access Speculative
    Inference for Cooperative Token Generation at the Edge", arXiv 2606.04581, section V.

    ## Action Space

    `Box(-5, 5, (K, columns), float32)`, one row for each user; `action` chooses the encoding:

    | `action`               | columns | meaning                                                                |
    |------------------------|---------|------------------------------------------------------------------------|
    | `"residual"` (default) | 2       | draft length, log scale; factor on the closed form's bandwidth, 1 at 0 |
    | `"shares"`             | 2       | draft length, log scale; logarithm of the bandwidth share              |
    | `"lengths"`            | 1       | draft length, log scale; bandwidth is that of the closed form          |

    With the closed form's bandwidth, all devices finish at the same time; it is optimal for given draft lengths. One
    unit changes a draft length by 38 %, a factor by 15 % and a share by 35 %, so noise with a standard deviation of 1,
    where most libraries start, costs little. The checker of Stable-Baselines3 recommends [-1, 1] instead: there, such
    noise would cover the whole range, and a third of it would be clipped. `"residual"` at most halves or doubles
    bandwidths; `"shares"` expresses all decisions. `env.unwrapped.encode_action(decision)` and `decode_action(action)`
    convert between decisions and actions.

    ## Observation Space

    `Dict` of float32 `Box`es, dimensionless: the state to which the next action applies.

    | entry        | shape | value   | meaning                                                  | min  | max  |
    |--------------|-------|---------|----------------------------------------------------------|------|------|
    | `compute`    | (K,)  | T_k / T̄ | draft time of a token                                    | 0.85 | 1.15 |
    | `channel`    | (K,)  | r_k / r̄ | spectral efficiency                                      | 0    | 2.03 |
    | `acceptance` | (K,)  | α_k     | acceptance rate                                          | 0    | 1    |
    | `shared`     | (3,)  | log10   | T_ver / T̄, K, K Q / (B r̄ T̄): verification, users, upload | -20  | 20   |

    min and max hold for the presets: `compute` is within 1 ± `draft_time_spread`, and the maximum of `channel` belongs
    to a gain of 64 times the largest mean gain, which is never drawn. r̄ is the spectral efficiency at the middle of
    the mean gains. K Q / (B r̄) is the upload time of a token at an equal share of the band. If the verification time
    depends on draft lengths, `shared` also holds log10 of T_ver / T̄ for drafts of 4 and of L_max tokens.

    ## Rewards

    Goodput in tokens/s, divided by K / T_ver: the speed-up over the server alone, which gives every user one token per
    T_ver. `reward="expected"` counts expected tokens E[N_k], `"sampled"` counts drawn tokens. `"share"` is the expected
    goodput divided by that of the optimum, which knows the true state; it is slower, since every step computes the
    optimum.

    ## Starting State

    Draft times T̄ U(0.85, 1.15), mean gains U(0.2, 0.5) and tasks are drawn for each device in every episode; Rayleigh
    fading is drawn in every round.

    ## Episode End

    By default each round is an episode: the first step terminates, because no decision changes later rounds. So the
    return is the reward, and a learner's default discount is right. With `rounds` > 1, episodes truncate after that
    many rounds with the same devices. Gymnasium's `max_episode_steps` can truncate them earlier.

    In a vector of one-round episodes, every second step is a reset, unless `autoreset_mode="SameStep"`.

    ## Arguments

    - `scenario`: preset name (`"llama2"`, `"qwen3.5"`, `"qwen2.5"`, `"r1"`), file name or `Scenario`.
    - any field of `Scenario` by name, e.g. `num_users=8`, `total_bandwidth=5e6`.
    - `action`, `reward`: see above.
    - `rounds`: rounds of an episode, ≥ 1, default 1; `rounds=64` for longer episodes.
    - `optimum`: whether `info` holds `optimal_goodput` and `regret`, default false.
    - `render_mode`: `None`, `"rgb_array"` or `"human"`.

    ## Info

    `goodput` (tokens/s), `accepted_tokens` (K,), `round_latency` (s), `draft_length` (K,), `bandwidth` (K,) in Hz;
    `joules` (K,), the energy of drafting and sending, and `joules_per_token`, their sum over that of `accepted_tokens`;
    with `optimum=True` or `reward="share"` also `optimal_goodput`, the expected goodput of the optimum, and `regret`,
    the difference of `optimal_goodput` and `goodput` (tokens/s).
    """

    env_id: ClassVar[str] = "MultiSpin/Heterogeneous-v0"

    rounds: int = 1


HeterogeneousEnv = single_env(Heterogeneous)


@dataclass(frozen=True, kw_only=True)
class Homogeneous(RoundsConfig):
    """One common draft length, and a bandwidth for each device.

    ## Description

    Like `MultiSpin/Heterogeneous-v0`, but all devices draft the same number of tokens (section IV of the paper).
    Everything not described here is as in that environment.

    ## Action Space

    As in `MultiSpin/Heterogeneous-v0`, with one row for each user; the mean of column 0 over users gives the common
    length. `encode_action` raises a `ValueError` for decisions with different lengths.

    ## Observation Space

    | entry        | shape | value   | meaning                            | min  | max  |
    |--------------|-------|---------|------------------------------------|------|------|
    | `compute`    | (K,)  | T_k / T̄ | draft time of a token              | 0.85 | 1.15 |
    | `channel`    | (K,)  | r_k / r̄ | spectral efficiency                | 0    | 2.03 |
    | `acceptance` | (K,)  | α_k     | acceptance rate                    | 0    | 1    |
    | `shared`     | (3,)  | log10   | as in `MultiSpin/Heterogeneous-v0` | -20  | 20   |

    ## Episode End

    As in `MultiSpin/Heterogeneous-v0`: by default the first step terminates.

    ## Arguments

    As in `MultiSpin/Heterogeneous-v0`; the optimum is the best common length with its best bandwidth.

    - `rounds`: rounds of an episode, ≥ 1, default 1.
    """

    env_id: ClassVar[str] = "MultiSpin/Homogeneous-v0"
    optimal: ClassVar[str | None] = "homogeneous"

    rounds: int = 1

    @property
    @override
    def actions(self) -> RoundsCodec:
        return replace(super().actions, common_draft_length=True)


HomogeneousEnv = single_env(Homogeneous)


@dataclass(frozen=True, kw_only=True)
class Fair(RoundsConfig):
    """Long-run fairness between very different devices.

    ## Description

    Like `MultiSpin/Heterogeneous-v0`, but the reward is the growth of Σ_k ln R_k, where R_k is the discounted
    throughput of device k: R_k ← R_k + (N_k / T_e2e − R_k) / window. Draft times, mean gains and acceptance rates
    differ far more between devices. The gradient rule (`optimal+gradient`) is the closed form with weights 1 / R_k; no
    optimum is known. Everything not described here is as in `MultiSpin/Heterogeneous-v0`.

    ## Observation Space

    | entry        | shape | value                   | meaning                                 | min | max  |
    |--------------|-------|-------------------------|-----------------------------------------|-----|------|
    | `compute`    | (K,)  | T_k / T̄                 | draft time of a token                   | 0.2 | 1.8  |
    | `channel`    | (K,)  | r_k / r̄                 | spectral efficiency                     | 0   | 2.02 |
    | `acceptance` | (K,)  | α_k                     | acceptance rate                         | 0   | 1    |
    | `throughput` | (K,)  | R_k / (R_k + 1 / T_ver) | R_k = discounted throughput in tokens/s | 0   | 1    |
    | `shared`     | (3,)  | log10                   | as in `MultiSpin/Heterogeneous-v0`      | -20 | 20   |

    ## Rewards

    Σ_k ln R_k after the round minus its value before. `reward="expected"` uses E[N_k] for N_k, `"sampled"` draws N_k.

    ## Starting State

    As in `MultiSpin/Heterogeneous-v0`, but with draft times T̄ U(0.2, 1.8), mean gains U(0.02, 1), acceptance rates
    from a Beta distribution with the mean of the task, and R_k = 1 / T_ver. A `Scenario` or file keeps its own ranges.

    ## Episode End

    Truncates after `rounds` rounds; with `rounds=1` it terminates, as in `MultiSpin/Heterogeneous-v0`.

    ## Arguments

    As in `MultiSpin/Heterogeneous-v0` without `optimum`, and

    - `rounds`: rounds of an episode, ≥ 1, default 64.
    - `window`: rounds over which throughput is discounted, default 32.
    - `spread`: standard deviation of acceptance rates within a task, default 0.15: twice the largest recorded between
      requests, 0.07; 0.05 is realistic. `None`: the task's `acceptance_std`, as in `MultiSpin/HiddenAcceptance-v0`.

    ## Info

    As in `MultiSpin/Heterogeneous-v0`, and `throughput` (K,), R_k after the round in tokens/s.
    """

    env_id: ClassVar[str] = "MultiSpin/Fair-v0"
    optimal: ClassVar[str | None] = None
    independent: ClassVar[bool] = False

    scenario_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"draft_time_spread": 0.8, "mean_gain_low": 0.02, "mean_gain_high": 1.0}
    )
    entries: ClassVar[tuple[str, ...]] = (*ROUND_STATE, "throughput")

    window: float = checked_field(32.0, check_real, 1.0)
    spread: float | None = 0.15

    @property
    @override
    def sees_state(self) -> bool:
        return False  # nor is the throughput part of it

    @override
    def objective(self, num_envs: int) -> Objective:
        return ProportionalFairness(self.scenario, self.window, num_envs)

    @property
    @override
    def dynamics(self) -> Dynamics:
        return replace(super().dynamics, acceptance=ByRequest(self.spread, math.inf))  # one request an episode


FairEnv = single_env(Fair)
