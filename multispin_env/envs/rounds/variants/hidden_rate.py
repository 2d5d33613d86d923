"""Base of the environments with hidden acceptance: requests that end, seen only through their counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from multispin_env.checks import check_bool
from multispin_env.envs.rounds.engine import RoundsEngine
from multispin_env.envs.rounds.variant import INFO, RoundsVariant
from multispin_env.envs.settings import Comparison, Learning, Settings
from multispin_env.physics.acceptance.requests import check_mean_rounds

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

    entries: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            **dict.fromkeys(("compute", "channel"), ""),
            "task": "task_visible",
            **dict.fromkeys(("drafted", "accepted", "age"), ""),
            **dict.fromkeys(("hits", "misses"), "history"),
        }
    )

    mean_rounds: float = 16.0
    task_visible: bool = True
    history: bool = False
    privileged: bool = False

    def __post_init__(self) -> None:
        check_mean_rounds(self.mean_rounds)
        for flag in FLAGS:
            check_bool(flag, getattr(self, flag))

    @property
    def comparison(self) -> Comparison:
        """Whole episodes, led by what knows the truth."""
        estimators = ("optimal+clairvoyant", "optimal+filter", "optimal+beta", "optimal+task-mean")
        return Comparison(INFO, (*estimators, "homogeneous+task-mean", "fixed"), optimum="optimal")

    @property
    def learning(self) -> Learning:
        """Less than the state is seen."""
        return Learning()

    def engine(self, settings: Settings, num_copies: int) -> RoundsEngine:
        """Engine that tells the hidden rate if it should."""
        scenario = settings.scenario
        made_of = self.dynamics(scenario), self.objective(scenario, num_copies)
        return RoundsEngine(settings, num_copies, *made_of, tells_hidden=self.privileged)
