"""Least laxity first, and no time for what will be late."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import FloatArray, dense_rank
from multispin_env.checks import check_real
from multispin_env.controllers.continuous.cycle import SHORTEST, Cycle
from multispin_env.controllers.continuous.modifier import Modifier
from multispin_env.controllers.options import Option, Tunable, check_option, per_device
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Phase
from multispin_env.scenario import Scenario

NO_HURRY = 1e6
"""Seconds of laxity of what is never due; beyond it, and below minus that, laxities do not differ."""


@dataclass(frozen=True, eq=False)
class Deadlines(Modifier):
    """The upload with the least laxity goes first, and a request with none is dropped (ours; docs/serving.md).

    The laxity of a request is the time that is left until it is due, less the time that its tokens need; before its
    first token also that until this one is due, less the shortest time in which it can come (`soonest`). Among uploads
    that the decision puts in different places, such as those of different batches, its own priority counts more. On an
    uplink that is not serial nothing goes first, so requests are dropped only.

    Parameters
    ----------
    need
        Seconds > 0 that a token is taken to need. ``None``: what it needs in a cycle of the device that is as short as
        can be hoped for (`Cycle`), with the length of the decision.
    haste
        > 0, a factor on that time: with more of it, requests are hurried and dropped earlier. It may be an array that
        broadcasts to the states (..., K).
    """

    tunable: ClassVar[Mapping[str, Tunable]] = {"haste": Tunable(0.25, 2.5, by_device=True)}

    need: float | None = None
    haste: Option = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.need is not None:
            check_real("need", self.need, 0.0, open_low=True)
        check_option("haste", self.haste, 0.0, open_low=True)

    @override
    def changed(self, state: ContinuousState, decision: ContinuousDecision) -> ContinuousDecision:
        each: FloatArray | float | None = self.need
        if each is None:
            each = Cycle.of(self.scenario, state, SHORTEST).token_time(decision.draft_length)
        each = each * per_device("haste", self.haste, state.phase.shape)
        left = laxity(state, each, soonest(self.scenario, state))
        drop = state.busy & (left < 0.0)
        if decision.drop is not None:
            drop = drop | decision.drop
        if decision.share is not None:
            return decision.changed(drop=drop)
        place = 0.0 if decision.priority is None else 2.0 * NO_HURRY * dense_rank(decision.priority)
        return decision.changed(priority=place + left, drop=drop)


def soonest(scenario: Scenario, state: ContinuousState) -> FloatArray:
    """Seconds (n, K) until the next tokens can come, if the device had the band and the server for itself."""
    low = scenario.min_draft_length
    begun = state.busy & (state.phase != Phase.FREE)
    under_way = state.drafting_left + state.air_left + np.asarray(scenario.pass_time(1, 1 + state.draft_length))
    return np.where(begun, under_way, Cycle.alone(scenario, state).time(low))


def laxity(state: ContinuousState, each: FloatArray | float, first: FloatArray) -> FloatArray:
    """Seconds (n, K) that requests have more than they need; `NO_HURRY` where nothing is due.

    They need ``each`` seconds a token, and ``first`` seconds (n, K) until the first token can come.
    """
    now, demand = state.time[:, None], state.demand
    last_token, first_token = demand.due - now - each * demand.wanted, demand.first_due - now - first
    return np.clip(np.minimum(last_token, first_token), -NO_HURRY, NO_HURRY)
