"""Verify what is there, with one draft length for all."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import IntArray
from multispin_env.checks import check_integer
from multispin_env.controllers.continuous.base import Scheduler
from multispin_env.controllers.continuous.goodput import estimated_rates
from multispin_env.physics.continuous.types import ContinuousState, Join, Order


@dataclass(frozen=True, eq=False)
class Greedy(Scheduler):
    """The server takes whatever is there as soon as it is free; all drafts have one length (ours).

    Parameters
    ----------
    draft_length
        L; ``None``: the length with the greatest estimated rate (`estimated_rates`), from each state.
    """

    draft_length: int | None = None

    def __post_init__(self) -> None:
        if self.draft_length is not None:
            low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
            check_integer("draft_length", self.draft_length, low, high)

    def decide(self, state: ContinuousState) -> Order:
        """One length, all drafts taken, the shortest upload first."""
        shape = state.phase.shape
        length = np.full(shape, self.draft_length) if self.draft_length is not None else self._best(state)
        return take_all(length)

    def _best(self, state: ContinuousState) -> IntArray:
        lengths = np.arange(self.scenario.min_draft_length, self.scenario.max_draft_length + 1)
        best = lengths[estimated_rates(self.scenario, state, lengths).argmax(-1)]
        return np.repeat(best[:, None], state.phase.shape[-1], -1)


def take_all(length: IntArray) -> Order:
    """The order (n, K) under which the server takes whatever is there, the shortest upload first."""
    return Order(length, np.full(length.shape, Join.TAKE), priority=np.zeros(length.shape))
