"""Two tokens more after a draft that was accepted, one less after another."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer
from multispin_env.controllers.continuous.greedy import take_all
from multispin_env.controllers.continuous.launch import longest_paying
from multispin_env.controllers.continuous.remembering import Remembering, RuleMemory
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Demand

BALANCED = 1 / 3
"""Probability of a full acceptance at which +2 and −1 cancel out."""


@dataclass(frozen=True, eq=False)
class PlusTwoMinusOne(Remembering):
    """A draft is two tokens longer than the last if all of that was accepted, else one shorter.

    It is the schedule ``"heuristic"`` of assisted generation in Hugging Face Transformers, and was that of llama.cpp
    (pull request 3006). Theirs serve one prompt at a time; here each device has a length of its own, and the server
    takes whatever is there. As theirs, a draft that was cut to what the request wants counts as any other, and the
    length is kept for the next request. With endless requests there are no counts: the length is then the longest at
    which the walk would not fall in the mean, α^L ≥ 1/3.

    Parameters
    ----------
    start
        L of the first draft.
    """

    start: int = 5

    def __post_init__(self) -> None:
        check_integer("start", self.start, self.shortest, self.scenario.max_draft_length)

    def fresh(self, state: ContinuousState) -> RuleMemory:
        """The first length."""
        return (np.full(state.phase.shape, self.start),)

    def learned(self, memory: RuleMemory, demand: Demand) -> RuleMemory:
        """Lengths after the last verification; without a draft in it, as they were."""
        (length,) = memory
        change = np.where(demand.accepted >= demand.drafted, 2, -1) * (demand.drafted > 0)
        return (np.clip(length + change, self.shortest, self.scenario.max_draft_length),)

    def told(self, state: ContinuousState, memory: RuleMemory) -> ContinuousDecision:
        """Draft as many, all drafts taken, the shortest upload first."""
        return take_all(memory[0])

    def untold(self, state: ContinuousState) -> ContinuousDecision:
        """The length at which the walk is balanced."""
        price: FloatArray = np.full(state.phase.shape, BALANCED)
        return take_all(np.maximum(longest_paying(self.scenario, state.acceptance_rate, price), self.shortest))
