"""Verify what is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import IntArray
from multispin_env.checks import check_integer
from multispin_env.controllers.base import ContinuousController
from multispin_env.controllers.continuous.goodput import estimated_rates
from multispin_env.controllers.continuous.launch import longest_paying
from multispin_env.controllers.options import Option, Tunable, check_option, per_device
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Join
from multispin_env.physics.radio import full_share_token_time

LEAST_CHANCE = 0.1
"""With which the last token of a draft is accepted."""


@dataclass(frozen=True, eq=False)
class Greedy(ContinuousController):
    """The server takes whatever is there as soon as it is free (ours).

    Parameters
    ----------
    draft_length
        L of all drafts. ``None``: with endless requests the one with the greatest estimated rate (`estimated_rates`),
        from each state; with requests that end, what fits into the budget.
    budget
        Seconds > 0 that a draft may take, as a part of the time of a pass of all devices: the longest L with
        L (T_k + 2 u_k) within it, of which the last token is accepted with a probability of `LEAST_CHANCE` at least. It
        may be an array that broadcasts to the states (..., K).
    """

    tunable: ClassVar[Mapping[str, Tunable]] = {"budget": Tunable(0.1, 1.5, by_device=True)}

    draft_length: int | None = None
    budget: Option = 0.6

    def __post_init__(self) -> None:
        if self.draft_length is not None:
            low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
            check_integer("draft_length", self.draft_length, low, high)
        check_option("budget", self.budget, 0.0, open_low=True)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        shape = state.phase.shape
        if self.draft_length is not None:
            length = np.full(shape, self.draft_length)
        else:
            length = self._best(state) if state.demand.never_ends.all() else self._within_budget(state)
        return take_all(length)

    def _best(self, state: ContinuousState) -> IntArray:
        lengths = np.arange(self.scenario.min_draft_length, self.scenario.max_draft_length + 1)
        best = lengths[estimated_rates(self.scenario, state, lengths).argmax(-1)]
        return np.repeat(best[:, None], state.phase.shape[-1], -1)

    def _within_budget(self, state: ContinuousState) -> IntArray:
        scenario = self.scenario
        budget = per_device("budget", self.budget, state.phase.shape)
        pace = state.draft_time + 2.0 * full_share_token_time(scenario, state.spectral_efficiency)
        most = np.floor(budget * scenario.verification_time / pace).astype(np.int64)
        likely = longest_paying(scenario, state.acceptance_rate, np.full(pace.shape, LEAST_CHANCE))
        return np.clip(most, scenario.min_draft_length, likely)


def take_all(length: IntArray) -> ContinuousDecision:
    """The decision (n, K) under which the server takes whatever is there, the shortest upload first."""
    return ContinuousDecision(length, np.full(length.shape, Join.TAKE), priority=np.zeros(length.shape))
