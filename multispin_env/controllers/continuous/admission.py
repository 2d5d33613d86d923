"""Requests that would be late are not begun."""

from dataclasses import dataclass

from multispin_env.arrays import BoolArray
from multispin_env.checks import check_real
from multispin_env.controllers.continuous.goodput import device_rates, present
from multispin_env.controllers.continuous.modifier import Modifier
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState
from multispin_env.physics.tokens import expected_tokens


@dataclass(frozen=True, eq=False)
class Admission(Modifier):
    """A controller that does not begin requests which would be late, by the load of now (ours).

    Of a request without any tokens yet the end is predicted: the tokens that it wants, at the rate that its device has
    while all devices with a request take part (`device_rates`, for the lengths that the base chooses). It is dropped if
    that is after it is due, or if its first draft would be verified after its first token is due; so those behind it in
    line do not wait for nothing. What has begun is never dropped. Of endless requests nothing is ever late.

    To ask more of a request that others wait behind gains nothing beyond a greater ``margin``.

    Parameters
    ----------
    margin
        Predicted times count so many times, ≥ 0. Below 1 it begins what would be a little late: the load may fall.
    """

    margin: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_real("margin", self.margin, 0.0)

    def changed(self, state: ContinuousState, decision: ContinuousDecision) -> ContinuousDecision:
        """The decision with requests that are given up."""
        drop = self.too_late(state, decision)
        return decision.changed(drop=drop if decision.drop is None else decision.drop | drop)

    def too_late(self, state: ContinuousState, decision: ContinuousDecision) -> BoolArray:
        """Requests (n, K) that have not begun and would be late."""
        demand, length = state.demand, decision.draft_length
        rate = device_rates(self.scenario, state, length[:, None], present(state))[:, 0]
        token, now = self.margin / rate, state.time[:, None]
        late = now + token * demand.wanted > demand.due
        late |= now + token * expected_tokens(length, state.acceptance_rate) > demand.first_due
        new: BoolArray = (demand.wanted > 0) & (demand.wanted == demand.output)
        return new & late
