"""Drafts at each device's own pace: the length that is best for itself (ours)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.controllers.base import ContinuousController
from multispin_env.controllers.continuous.cycle import USUAL, Cycle
from multispin_env.controllers.continuous.deadlines import Deadlines
from multispin_env.controllers.continuous.greedy import take_all
from multispin_env.controllers.options import Option, Tunable, check_option, per_device
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState
from multispin_env.physics.radio import full_share_token_time
from multispin_env.physics.tokens import TokenLaw


@dataclass(frozen=True, eq=False)
class OwnPace(ContinuousController):
    """The server takes whatever is there, and each device drafts what brings it most tokens a second.

    Its cycle is longer the more devices are busy (`Cycle`), so drafts are longer under load. Where the uplink is
    scarce, a price of its time shortens the drafts of devices in a bad channel, and valuable drafts can go first: that
    makes more tokens in all, and fewer for some. Options may be arrays that broadcast to the states (..., K).

    Parameters
    ----------
    queue
        κ ≥ 0: seconds that an upload takes for each second of the whole band.
    passes
        m ≥ 0: passes of half of the busy devices in a cycle.
    air_price
        λ ≥ 0, tokens for a second of the whole band.
    value_weight
        w ≥ 0: the upload of a draft that brings E[N] tokens goes before those with a smaller ⌊w E[N]⌋; 0: the shortest
        goes first.
    """

    tunable: ClassVar[Mapping[str, Tunable]] = {
        "queue": Tunable(0.5, 8.0, by_device=True),
        "passes": Tunable(0.5, 5.0, by_device=True),
        "air_price": Tunable(0.0, 160.0, by_device=True),
        "value_weight": Tunable(0.0, 2.0, by_device=True),
    }

    queue: Option = USUAL[0]
    passes: Option = USUAL[1]
    air_price: Option = 0.0
    value_weight: Option = 0.0

    def __post_init__(self) -> None:
        for name in self.tunable:
            check_option(name, getattr(self, name), 0.0)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        queue, passes, air_price, weight = (
            per_device(name, getattr(self, name), state.phase.shape) for name in self.tunable
        )
        token_air = full_share_token_time(self.scenario, state.spectral_efficiency)
        length = Cycle.of(self.scenario, state, (queue, passes)).best_length(air_price * token_air)
        drafts = np.where(state.draft_length > 0, state.draft_length, length)
        value = weight * TokenLaw.of(state.acceptance_rate).expected(drafts)
        return take_all(length).changed(priority=-np.floor(value))


@dataclass(frozen=True, eq=False)
class LoadAware(Deadlines):
    """`OwnPace` with `Deadlines`: longer drafts and earlier drops under load, without a constant to tune."""

    base: ContinuousController = field(default=None, init=False)  # type: ignore[assignment]  # the rule itself once it is made

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", OwnPace(self.scenario))
        super().__post_init__()

    @override
    def tuned(self, options: Mapping[str, Option]) -> ContinuousController:
        return Deadlines(self.scenario, self.base, self.need, self.haste).tuned(options)
