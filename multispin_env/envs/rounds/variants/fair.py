"""Proportional fairness of long-run throughput."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

from typing_extensions import override

from multispin_env.checks import check_real
from multispin_env.envs.objectives import Objective, ProportionalFairness
from multispin_env.envs.rounds.variant import RoundsVariant
from multispin_env.envs.settings import Comparison
from multispin_env.physics.acceptance import ByRequest
from multispin_env.physics.rounds import Dynamics
from multispin_env.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class Fair(RoundsVariant):
    """Long-run fairness between very different devices.

    ## Description

    As `MultiSpin/Heterogeneous-v0`, everything known, but the reward is the growth of Σ_k ln R_k, where R_k is the
    discounted throughput of device k: R_k ← R_k + (N_k / T_e2e − R_k) / window. Draft times, mean gains and acceptance
    rates differ far more between devices than elsewhere. The closed form with weights 1 / R_k is the gradient rule
    (`optimal+gradient`); no optimum is known.

    ## Action Space

    As `MultiSpin/Heterogeneous-v0`.

    ## Observation Space

    {observation}

    ## Rewards

    Σ_k ln R_k after the round minus before it. `reward="expected"` takes E[N_k] for N_k, `"sampled"` draws it.

    ## Starting State

    As `MultiSpin/Heterogeneous-v0`, with T_k in T̄ (1 ± 0.8), H̄_k in U(0.02, 1), acceptance rates from a Beta law round
    the mean of the task, and R_k = 1 / T_ver. A scenario that is given as an object keeps its own ranges.

    ## Episode End

    As `MultiSpin/Heterogeneous-v0`.

    ## Arguments

    As `MultiSpin/Heterogeneous-v0` without `optimum`, and

    - `window`: rounds over which throughput is discounted, default 32.
    - `spread`: standard deviation of acceptance rates within a task, default 0.15; `None` takes the scenario's ±.

    ## Info

    As `MultiSpin/Heterogeneous-v0`, and `throughput` (K,), R_k after the round in tokens/s.

    ## Version History

    - v0: first version.
    """

    scenario_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"draft_time_spread": 0.8, "mean_gain_low": 0.02, "mean_gain_high": 1.0}
    )
    entries: ClassVar[Mapping[str, str]] = MappingProxyType({**RoundsVariant.entries, "throughput": ""})

    contenders: ClassVar[tuple[str, ...]] = (
        *("optimal+gradient", "optimal", "homogeneous", "uniform-bandwidth", "fixed", "optimal+round-robin"),
    )

    window: float = 32.0
    spread: float | None = 0.15

    def __post_init__(self) -> None:
        check_real("window", self.window, 1.0)

    @property
    @override
    def comparison(self) -> Comparison:
        return replace(super().comparison, optimum=None)

    @override
    def objective(self, scenario: Scenario, num_copies: int) -> Objective:
        return ProportionalFairness(scenario, self.window, num_copies)

    @override
    def dynamics(self, scenario: Scenario) -> Dynamics:
        """Each device keeps its own acceptance rate for an episode."""
        return Dynamics(Dynamics.of(scenario).channel, ByRequest(self.spread, float("inf")))
