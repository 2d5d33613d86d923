"""The channel is correlated in time, and reported late."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

from typing_extensions import override

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_bool, check_integer, check_real
from multispin_env.controllers.base import Assumptions
from multispin_env.envs.rounds.variant import RoundsVariant
from multispin_env.physics.radio import GaussMarkov, channel_gain, predictive_quantile, spectral_efficiency
from multispin_env.physics.rounds import Dynamics
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class DelayedChannel(RoundsVariant):
    """The channel is observed as it was some rounds ago.

    ## Description

    As `MultiSpin/Heterogeneous-v0`, but fading is a Gauss-Markov process, h' = ρ h + sqrt(1 − ρ²) w, and the channel
    observed is that of d rounds ago. A device whose channel has become worse uploads for longer than planned, and the
    round waits for it: latency is the true maximum. `optimal+clairvoyant` knows the present channel.

    ## Action Space

    As `MultiSpin/Heterogeneous-v0`; the encodings with the equal-latency root take it for the channel observed.

    ## Observation Space

    {observation}

    `channel` was reported d rounds ago.

    ## Rewards

    As `MultiSpin/Heterogeneous-v0`, for the true channel.

    ## Starting State

    As `MultiSpin/Heterogeneous-v0`; fading starts from its stationary law, d rounds before the first action.

    ## Episode End

    As `MultiSpin/Heterogeneous-v0`.

    ## Arguments

    As `MultiSpin/Heterogeneous-v0`, and

    - `correlation`: ρ, default 0.9; `clarke_correlation(doppler_frequency(speed, carrier), round time)` gives it.
    - `delay`: d, default 1.
    - `mean_gain_visible`: whether the mean gain is observed, default true.
    - `plan_quantile`: the equal-latency root in the encodings plans with this quantile of what the present gain may
      be, and `planned_channel` (K,) shows it; default `None`, the report. So an agent can learn on top of the plug-in.
    - `privileged`: whether `info` holds the true `spectral_efficiency` (and `acceptance_rate`), default false.

    ## Info

    As `MultiSpin/Heterogeneous-v0`; with `optimum=True` the optimum knows the true channel.

    ## Version History

    - v0: first version.
    """

    entries: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "compute": "",
            "channel": "",
            "mean_channel": "mean_gain_visible",
            "planned_channel": "plan_quantile",
            "acceptance": "",
        }
    )

    contenders: ClassVar[tuple[str, ...]] = (
        *("optimal+clairvoyant", "optimal+quantile", "optimal+last-report", "optimal+mmse"),
        *("homogeneous+last-report", "fixed"),
    )

    correlation: float = 0.9
    delay: int = 1
    mean_gain_visible: bool = True
    plan_quantile: float | None = None
    privileged: bool = False

    def __post_init__(self) -> None:
        GaussMarkov(self.correlation)  # refuses what is out of range
        check_integer("delay", self.delay, 0)
        check_bool("mean_gain_visible", self.mean_gain_visible)
        check_bool("privileged", self.privileged)
        if self.plan_quantile is not None:
            check_real("plan_quantile", self.plan_quantile, 0.0, 1.0, open_low=True, open_high=True)
            if not self.mean_gain_visible:
                raise ValueError("plan_quantile: expected None where mean_gain_visible is False, got a number")

    @override
    def planned(self, scenario: Scenario, reported: SystemState, mean_gain: FloatArray) -> SystemState:
        """With the quantile of what the gain may be by now, if one is chosen."""
        if self.plan_quantile is None:
            return reported
        gain = channel_gain(scenario, reported.spectral_efficiency)
        present = predictive_quantile(self.plan_quantile, gain, mean_gain, self.correlation, self.delay)
        return SystemState(reported.draft_time, spectral_efficiency(scenario, present), reported.acceptance_rate)

    @override
    def dynamics(self, scenario: Scenario) -> Dynamics:
        return Dynamics(GaussMarkov(self.correlation), Dynamics.of(scenario).acceptance, self.delay)

    @override
    def assumptions(self, scenario: Scenario) -> Assumptions:
        return replace(super().assumptions(scenario), correlation=self.correlation)
