"""Environment of rounds in which drafts drain batteries, so that rounds depend on each other; not in the paper."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import Array, FloatArray
from multispin_env.checks import check_bool, checked_field
from multispin_env.envs.base import single_env
from multispin_env.envs.config import InfoKeys
from multispin_env.envs.objectives import Objective, TokensMinusTime
from multispin_env.envs.observations import BATTERY_STATE, ObservationCodec
from multispin_env.envs.rounds.known import RoundsConfig
from multispin_env.physics.acceptance import BY_REQUEST, ByRequest
from multispin_env.physics.rounds import Dynamics
from multispin_env.physics.types import Outcome, SystemState
from multispin_env.scenario import Scenario
from multispin_env.solver.energy import DEFAULTS, EnergySample, charging_power, energy_law


@dataclass(frozen=True)
class TokensMinusTimeAndEnergy(TokensMinusTime):
    """`TokensMinusTime` with a price for the joules that leave the batteries.

    Parameters
    ----------
    rho, scale
        See `TokensMinusTime`.
    joule_price
        Price ν of a joule, in tokens.
    regret_of
        Scenario for which ``info`` has the regret; ``None`` for no regret.
    """

    joule_price: float
    regret_of: Scenario | None = None

    @override
    def tokens(self, outcome: Outcome) -> FloatArray:
        assert outcome.stored is not None
        return np.asarray(np.add.reduce(outcome.tokens + self.joule_price * outcome.stored, -1))

    @override
    def info(self, state: SystemState, outcome: Outcome) -> dict[str, Array]:
        scenario, price = self.regret_of, self.joule_price
        if scenario is None:
            return {}
        rate, charge = energy_law(scenario).rate, charging_power(scenario, state)
        best = EnergySample(scenario, state.changed(batteries=None), charge).best(price, rate)
        most = best.tokens - price * best.joules + (price * charge - rate) * best.time
        time_price: Any = rate - price * charge if scenario.budget_time else rate
        return {"regret": most - TokensMinusTimeAndEnergy(time_price, 1.0, price).reward(outcome)}


@dataclass(frozen=True, kw_only=True)
class Energy(RoundsConfig):
    """Drafting drains batteries, which a constant power charges.

    ## Description

    Like `MultiSpin/Heterogeneous-v0`, but a drafted token costs device k the energy

        e_k = draft_energy + transmit_power Q / (B r_k)  joules,

    and the device has a battery with b_k joules, so that it drafts at most ⌊b_k / e_k⌋ tokens, or none. After a round
    of τ seconds, b_k ← min(C_k, b_k − e_k L_k + P_k τ). P_k is half (`charge_share`) of the mean power that such a
    device spends at the optimum without batteries, and C_k is the energy of 20 of its rounds (`battery_rounds`).

    A round that drafts less leaves more for later rounds with better channels or higher acceptance rates. So the
    controller `optimal`, which maximises the goodput of a round, is not the best policy. No policy has a higher
    long-run rate than D, the bound of `ms.energy_bound`. The rules `energy-prices`, `drift` and `shaped` price joules.
    Acceptance rates belong to requests of 20 rounds on average. Everything not described here is as in
    `MultiSpin/Heterogeneous-v0`.

    ## Action Space

    As in `MultiSpin/Heterogeneous-v0`. Draft lengths are first cut to ⌊b_k / e_k⌋; the closed form uses the cut ones.

    ## Observation Space

    | entry        | shape | value                 | meaning                                      | min  | max  |
    |--------------|-------|-----------------------|----------------------------------------------|------|------|
    | `compute`    | (K,)  | T_k / T̄               | draft time of a token                        | 0.85 | 1.15 |
    | `channel`    | (K,)  | r_k / r̄               | spectral efficiency                          | 0    | 2.03 |
    | `acceptance` | (K,)  | α_k                   | acceptance rate                              | 0    | 1    |
    | `affordable` | (K,)  | x / L_max             | x = min(⌊b_k / e_k⌋, L_max), longest draft   | 0    | 1    |
    | `level`      | (K,)  | x                     | x = b_k / C_k, relative charge               | 0    | 1    |
    | `capacity`   | (K,)  | C_k / (C_k + L_max e) | capacity; e is `draft_energy`                | 0    | 1    |
    | `charge`     | (K,)  | P_k / (P_k + e/T_ver) | power that charges the battery               | 0    | 1    |
    | `shared`     | (4,)  | log10                 | T_ver / T̄, K, K Q / (B r̄ T̄), D T_ver / K     | -20  | 20   |

    With `budget_time=H`, `time_left` (K,) replaces `charge`: 1 − t / H, the part of the time H that is left.

    ## Rewards

    (Σ_k N_k − D τ + ν Σ_k (b'_k − b_k)) / K, where b'_k is the charge after the round. Its mean is (rate − D) times the
    mean duration of a round, divided by K: negative, and 0 only for a policy that reaches the bound. The charge is a
    potential with the price ν of a joule in tokens, so that it changes no long-run rate; it makes rewards almost
    independent of the level. With a discount of 0.999 or more per round, the best policy is that of the long-run rate
    up to 0.04 %; a discount of 0.99 loses up to 0.4 %, 0 loses 0.9 to 2.6 %. `reward="expected"` counts expected tokens
    E[N_k], `"sampled"` counts drawn tokens.

    ## Starting State

    As in `MultiSpin/Heterogeneous-v0`, with acceptance rates from a Beta distribution and half-full batteries.

    ## Episode End

    Never terminates. Truncates after `rounds`, by default 4000: filling a battery takes about 60 rounds, and in 64
    rounds a controller that empties it exceeds D. With `budget_time`, an episode terminates after that time.

    ## Arguments

    - `scenario`: as in `MultiSpin/Heterogeneous-v0`. Presets have `num_users=8`, `acceptance="by-request"`,
      `min_draft_length=0` and `battery_rounds=20` here.
    - fields of `Scenario` for energy: `draft_energy` and `transmit_power`; `battery_rounds`, `charge_share` and
      `budget_time`. With `budget_time=H`, batteries start full, are not charged, and hold what `charge_share` gives in
      H seconds.
    - `rounds`: length of an episode, default 4000.
    - `regret`: whether `info` holds the regret, default false, since it takes a search in every state.
    - `action`, `reward`, `render_mode`: as in `MultiSpin/Heterogeneous-v0`.

    ## Info

    As in `MultiSpin/Heterogeneous-v0` without an optimum; `battery` (K,) and `capacity` (K,), b'_k and C_k in joules.
    With `regret=True` also `regret`, f − (Σ_k N_k − D τ + ν Σ_k (b'_k − b_k)) in tokens, where f is the largest value
    in this state for any lengths and full batteries. f has mean 0 whatever the policy does. So the mean regret divided
    by the mean duration estimates D − rate with a much smaller variance than the reward.
    """

    env_id: ClassVar[str] = "MultiSpin/Energy-v0"
    # a mean of goodputs is not the rate
    info_keys: ClassVar[InfoKeys] = InfoKeys("accepted_tokens", "draft_length", "round_latency", None)
    optimal: ClassVar[str | None] = None
    independent: ClassVar[bool] = False
    has_slopes: ClassVar[bool] = False

    scenario_defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    entries: ClassVar[tuple[str, ...]] = BATTERY_STATE
    rounds: int = 4000
    regret: bool = checked_field(False, check_bool)

    @property
    @override
    def dynamics(self) -> Dynamics:
        known = super().dynamics
        acceptance = ByRequest(mean_rounds=20.0) if known.acceptance == BY_REQUEST else known.acceptance
        return replace(known, acceptance=acceptance, batteries=energy_law(self.scenario).batteries)

    @override
    def objective(self, num_envs: int) -> Objective:
        law = energy_law(self.scenario)
        rate = law.rate - law.price * law.power if self.scenario.budget_time else law.rate
        regret_of = self.scenario if self.regret else None
        return TokensMinusTimeAndEnergy(rate, float(self.scenario.num_users), law.price, regret_of)

    @cached_property
    @override
    def observations(self) -> ObservationCodec:
        shown = (*BATTERY_STATE[:-1], "time_left") if self.scenario.budget_time else BATTERY_STATE
        return ObservationCodec(self.scenario, shown, energy_law(self.scenario).rate)


EnergyEnv = single_env(Energy)
