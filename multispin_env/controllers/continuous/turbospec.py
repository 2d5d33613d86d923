"""TurboSpec: one draft length for all, by the load."""

from dataclasses import dataclass

import numpy as np

from multispin_env.controllers.base import ContinuousController
from multispin_env.controllers.continuous.goodput import estimated_rates, present
from multispin_env.controllers.continuous.greedy import take_all
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState


@dataclass(frozen=True, eq=False)
class TurboSpec(ContinuousController):
    """All drafts have the length with the greatest estimated goodput at the load of now (TurboSpec, arXiv 2406.14066).

    TurboSpec, once SmartSpec, predicts the tokens that are accepted in a second for each length from the batch, from
    what acceptance was before and from profiled times, and takes the best length. Here α and the law of verification
    are known, and not measured; and its goodput of a step, in which all draft and then all are verified, is that of
    `device_rates`, because here drafts and uploads of some go on while others are verified. The batch is the devices
    that have a request now. The server takes whatever is there. With endless requests it is `Greedy`.
    """

    def decide(self, state: ContinuousState) -> ContinuousDecision:
        """One length, all drafts taken, the shortest upload first."""
        lengths = np.arange(self.scenario.min_draft_length, self.scenario.max_draft_length + 1)
        best = lengths[estimated_rates(self.scenario, state, lengths, present(state)).argmax(-1)]
        return take_all(np.repeat(best[:, None], state.phase.shape[-1], -1))
