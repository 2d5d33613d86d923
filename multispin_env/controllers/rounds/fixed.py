"""Fixed BW&L: the floor."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from multispin_env.checks import check_integer
from multispin_env.controllers.base import RoundsController
from multispin_env.physics.types import Decision, SystemState


@dataclass(frozen=True, eq=False)
class Fixed(RoundsController):
    """The same length for all and B/K each ([MS] §VI, "Fixed BW&L").

    Parameters
    ----------
    draft_length
        L in tokens; the default is the paper's 8, or the nearest length that the scenario allows.
    """

    draft_length: int | None = None

    def __post_init__(self) -> None:
        if self.draft_length is not None:
            low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
            check_integer("draft_length", self.draft_length, low, high)

    @override
    def decide(self, state: SystemState) -> Decision:
        scenario = self.scenario
        length = min(8, scenario.max_draft_length) if self.draft_length is None else self.draft_length
        shape = state.draft_time.shape
        bandwidth = np.full(shape, scenario.total_bandwidth / scenario.num_users)
        return Decision(np.full(shape, length, dtype=np.int64), bandwidth)
