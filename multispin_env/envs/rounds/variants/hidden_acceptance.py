"""Hidden acceptance: a request has a rate of its own, which is seen only through counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from typing_extensions import override

from multispin_env.checks import check_bool
from multispin_env.envs.rounds.variant import RoundsVariant
from multispin_env.physics.acceptance import ByRequest, check_mean_rounds
from multispin_env.physics.rounds import Dynamics
from multispin_env.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class HiddenRate(RoundsVariant):
    """Acceptance rates are not observed; tokens drafted and accepted are. Its arguments are on the pages."""

    entries: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            **dict.fromkeys(("compute", "channel"), ""),
            "task": "task_visible",
            **dict.fromkeys(("drafted", "accepted", "age"), ""),
            **dict.fromkeys(("hits", "misses"), "history"),
        }
    )

    contenders: ClassVar[tuple[str, ...]] = (
        *("optimal+clairvoyant", "optimal+filter", "optimal+beta", "optimal+task-mean"),
        *("homogeneous+task-mean", "fixed"),
    )

    mean_rounds: float = 16.0
    task_visible: bool = True
    history: bool = False
    privileged: bool = False

    def __post_init__(self) -> None:
        check_mean_rounds(self.mean_rounds)
        for flag in ("task_visible", "history", "privileged"):
            check_bool(flag, getattr(self, flag))


@dataclass(frozen=True, kw_only=True)
class HiddenAcceptance(HiddenRate):
    """Acceptance rates are hidden: they must be learnt from how many drafted tokens are accepted.

    ## Description

    As `MultiSpin/Heterogeneous-v0`, but devices work on requests. A request lasts a geometric number of rounds, and
    has an acceptance rate of its own, from a Beta law round the mean of its task. The rate is never observed; the
    tokens drafted and accepted in the last round are, and how old the request is. When it ends, a new one of any task
    follows. The closed form has to be fed an estimate; `optimal+clairvoyant` knows the rate and bounds what can be won.

    ## Action Space

    As `MultiSpin/Heterogeneous-v0`.

    ## Observation Space

    {observation}

    At `age` 0 the request is new, and `drafted` and `accepted` belong to the one before.

    ## Rewards

    As `MultiSpin/Heterogeneous-v0`. With `reward="expected"` tokens are still drawn, since they are observed; only
    the reward takes their expectation, for the true rate.

    ## Starting State

    As `MultiSpin/Heterogeneous-v0`, with a new request for each device.

    ## Episode End

    As `MultiSpin/Heterogeneous-v0`.

    ## Arguments

    As `MultiSpin/Heterogeneous-v0`, and

    - `spread`: standard deviation of the rate over the requests of a task, default 0.08; `None` takes the scenario's ±.
    - `mean_rounds`: mean lifetime of a request in rounds, default 16.
    - `task_visible`: whether the task is observed, default true.
    - `history`: whether counts since the request began are observed, default false.
    - `privileged`: whether `info` holds `acceptance_rate` and `spectral_efficiency`, default false.

    ## Info

    As `MultiSpin/Heterogeneous-v0`; `accepted_tokens` are those drawn. `goodput`, `regret` and the reward depend on the
    true rates and are not for a policy to see.

    ## Version History

    - v0: first version.
    """

    spread: float | None = 0.08

    @override
    def dynamics(self, scenario: Scenario) -> Dynamics:
        return Dynamics(Dynamics.of(scenario).channel, ByRequest(self.spread, self.mean_rounds))
