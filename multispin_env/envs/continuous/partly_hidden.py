"""What environments without the barrier may hide: acceptance, and channels before they are used."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from multispin_env.checks import check_bool, check_name, shown
from multispin_env.controllers.names import CLAIRVOYANT
from multispin_env.envs.continuous.entries import COUNTED
from multispin_env.envs.settings import Variant
from multispin_env.physics.acceptance.by_request import ByRequest
from multispin_env.physics.acceptance.requests import check_mean_rounds

REPORTS = ("fresh", "old")
"""Whether the channel shown of a device that starts a draft is that of the new cycle, or of the last one."""

HIDDEN = ("filter", "beta", "task-mean")
"""Estimators to compare where acceptance is hidden, the best first."""

LATE = ("mmse", "quantile", "last-report")
"""The same where only reports of channels are old."""

RIVALS = 2
"""Other contenders that are compared with an estimator, beside the baseline."""

OF_ACCEPTANCE = ("task_visible", "spread", "mean_cycles")
"""Arguments that say something only where acceptance is hidden."""


@dataclass(frozen=True, kw_only=True)
class PartlyHidden(Variant):
    """Base of environments that can hide parts of the state.

    Parameters
    ----------
    acceptance_visible
        Whether acceptance rates are observed. Where they are not, every request has its own (`ByRequest`), and counts
        of verifications are observed.
    task_visible
        Whether the task of a request is then observed.
    spread
        Standard deviation of the rate over the requests of a task, as `ByRequest` has it.
    channel_report
        ``"fresh"``: the channel of a device that starts a draft is known; ``"old"``: that of its last cycle is.

    Raises
    ------
    ValueError
        For a bad value, or one that says nothing since acceptance is visible.
    """

    leader: ClassVar[str]
    """The best that is known where something is hidden, if it has the truth."""

    acceptance_visible: bool = True
    task_visible: bool = True
    spread: float | tuple[float, ...] | None = ByRequest.spread
    channel_report: str = REPORTS[0]

    def check_hidden(self) -> None:
        """``ValueError`` for a bad argument of these."""
        check_bool("acceptance_visible", self.acceptance_visible)
        check_bool("task_visible", self.task_visible)
        check_name("channel_report", self.channel_report, REPORTS)
        check_mean_rounds(self.mean_cycles, "mean_cycles")
        _ = self.hidden_acceptance  # refuses a bad spread
        for entry in fields(self):
            value = getattr(self, entry.name)
            if self.acceptance_visible and entry.name in OF_ACCEPTANCE and value != entry.default:
                raise ValueError(
                    f"{entry.name}: expected {entry.default!r} where acceptance_visible is True, got {shown(value)}"
                )

    @property
    def mean_cycles(self) -> float:
        """Cycles of its device that a request lasts on average, unless it ends with its last token: for ever."""
        return math.inf

    @property
    def hidden_acceptance(self) -> ByRequest:
        """Law of acceptance where it is hidden."""
        return ByRequest(self.spread, self.mean_cycles)

    @property
    def late_reports(self) -> bool:
        """Whether channels are observed too late."""
        return self.channel_report != REPORTS[0]

    @property
    def fully_observed(self) -> bool:
        """Whether nothing is hidden."""
        return self.acceptance_visible and not self.late_reports

    @property
    def draws_tokens(self) -> bool:
        """Whether tokens are drawn in any case: where acceptance is hidden, they are observed."""
        return not self.acceptance_visible

    @property
    def compared(self) -> tuple[str, ...]:
        """Its contenders; where something is hidden, the leader with the truth, and it and some others that guess."""
        if self.fully_observed:
            return self.contenders
        estimators: Sequence[str] = LATE if self.acceptance_visible else HIDDEN
        if self.late_reports and not self.acceptance_visible:
            estimators = [f"{name}+{LATE[0]}" for name in HIDDEN]
        leading = [f"{self.leader}+{name}" for name in (CLAIRVOYANT, *estimators)]
        others = [name for name in self.contenders if name != self.leader]
        return (*leading, *(f"{name}+{estimators[0]}" for name in (*others[:RIVALS], self.baseline)))

    def shown(self, table: Iterable[str], whole: Iterable[str]) -> tuple[str, ...]:
        """Entries of the observation beside ``shared``: of a table of all, in its decision.

        Parameters
        ----------
        table
            All entries that the environment can show.
        whole
            Those that it shows where nothing is hidden.
        """
        wanted = set(whole)
        if not self.acceptance_visible:
            wanted = wanted - {"acceptance"} | COUNTED.keys()
        if not self.task_visible:
            wanted.discard("task")
        if self.late_reports:
            wanted.add("mean_channel")
        return tuple(key for key in table if key in wanted)
