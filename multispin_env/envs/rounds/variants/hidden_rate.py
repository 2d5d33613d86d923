"""What the environments with hidden acceptance share: requests that end, seen only through their counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from multispin_env.checks import check_bool
from multispin_env.envs.rounds.memories import Counts, Memory
from multispin_env.envs.rounds.variant import RoundsVariant
from multispin_env.physics.acceptance.requests import check_mean_rounds
from multispin_env.scenario import Scenario

FLAGS = ("task_visible", "history", "privileged")


@dataclass(frozen=True, kw_only=True)
class HiddenRate(RoundsVariant):
    """Acceptance rates are not observed; tokens drafted and accepted are.

    Parameters
    ----------
    mean_rounds
        Rounds that a request lasts on average, ≥ 1; infinite means that requests never end.
    task_visible
        Whether the task of a request is observed.
    history
        Whether counts since the request began are observed beside those of the last round.
    privileged
        Whether ``info`` holds the acceptance rate.

    Raises
    ------
    ValueError
        For a value out of range.
    """

    independent_rounds: ClassVar[bool] = False
    fully_observed: ClassVar[bool] = False
    draws_tokens: ClassVar[bool] = True
    entries: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            **dict.fromkeys(("compute", "channel"), ""),
            "task": "task_visible",
            **dict.fromkeys(("drafted", "accepted", "age"), ""),
            **dict.fromkeys(("hits", "misses"), "history"),
        }
    )
    contenders: ClassVar[tuple[str, ...]] = (
        "optimal+clairvoyant",
        "optimal+filter",
        "optimal+beta",
        "optimal+task-mean",
        "homogeneous+task-mean",
        "fixed",
    )

    mean_rounds: float = 16.0
    task_visible: bool = True
    history: bool = False
    privileged: bool = False

    def __post_init__(self) -> None:
        check_mean_rounds(self.mean_rounds)
        for flag in FLAGS:
            check_bool(flag, getattr(self, flag))

    def memories(self, scenario: Scenario, num_copies: int) -> tuple[Memory, ...]:
        """Counts of drafted and accepted tokens."""
        return (Counts(scenario.num_users, num_copies),)
