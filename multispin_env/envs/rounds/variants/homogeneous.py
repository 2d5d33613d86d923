"""One common draft length."""

from dataclasses import dataclass, replace

from typing_extensions import override

from multispin_env.envs.rounds.encodings import RoundsCodec
from multispin_env.envs.rounds.variant import RoundsVariant
from multispin_env.envs.settings import Comparison
from multispin_env.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class Homogeneous(RoundsVariant):
    """One common draft length, and a bandwidth for each device.

    ## Description

    As `MultiSpin/Heterogeneous-v0`, but all devices draft the same number of tokens ([MS] section IV).

    ## Action Space

    As `MultiSpin/Heterogeneous-v0`; the common length is read from the mean of column 0 over users, so that the
    action stays one row for each user. `encode_action` refuses decisions with different lengths.

    ## Observation Space

    As `MultiSpin/Heterogeneous-v0`.

    {observation}

    ## Rewards

    As `MultiSpin/Heterogeneous-v0`.

    ## Starting State

    As `MultiSpin/Heterogeneous-v0`.

    ## Episode End

    As `MultiSpin/Heterogeneous-v0`.

    ## Arguments

    As `MultiSpin/Heterogeneous-v0`; the optimum is the best common length with its best bandwidth.

    ## Version History

    - v0: first version.
    """

    @property
    @override
    def comparison(self) -> Comparison:
        return replace(super().comparison, optimum="homogeneous")

    @override
    def actions(self, scenario: Scenario, encoding: str) -> RoundsCodec:
        return replace(super().actions(scenario, encoding), common_draft_length=True)
