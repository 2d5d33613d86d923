"""Controllers that remember what verifications have shown."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from multispin_env.controllers.base import ContinuousController
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Demand

RuleMemory = tuple[NDArray[Any], ...]
"""Arrays (n, K)."""


@dataclass(frozen=True, eq=False)
class Remembering(ContinuousController):
    """A controller that keeps arrays of each device of each copy: to be called exactly once a verification.

    It learns from the counts of the last verification (`Demand`), so where requests are endless there is nothing to
    learn from, and a subclass says with `untold` what it does then: that is a function of the state alone. What is
    remembered of a copy is forgotten when its state is new (``batch == 0``), and all of it with a batch of another
    size, or with `reset`. A device keeps what was learned when its request ends.
    """

    _kept: dict[str, RuleMemory] = field(default_factory=dict, init=False, repr=False)

    def reset(self) -> None:
        """Forget everything."""
        self._kept.clear()

    @property
    def shortest(self) -> int:
        """The shortest draft that it chooses: without a token there is nothing to learn."""
        return max(1, self.scenario.min_draft_length)

    def decide(self, state: ContinuousState) -> ContinuousDecision:
        """Take in one verification of every copy, and decide for the time to the next."""
        if state.demand.never_ends.all():
            return self.untold(state)
        fresh = self.fresh(state)
        memory = self.learned(self._of_these(fresh), state.demand)
        new = state.batch[:, None] == 0
        memory = tuple(np.where(new, begun, array) for begun, array in zip(fresh, memory, strict=True))
        self._kept["memory"] = memory
        return self.told(state, memory)

    def _of_these(self, fresh: RuleMemory) -> RuleMemory:
        memory = self._kept.get("memory", fresh)
        return memory if memory[0].shape == fresh[0].shape else fresh

    @abstractmethod
    def fresh(self, state: ContinuousState) -> RuleMemory:
        """What is remembered of copies that nothing is known of, arrays (n, K)."""

    @abstractmethod
    def learned(self, memory: RuleMemory, demand: Demand) -> RuleMemory:
        """Memory after one more verification; new arrays."""

    @abstractmethod
    def told(self, state: ContinuousState, memory: RuleMemory) -> ContinuousDecision:
        """Decision for states (n, K) from what is remembered."""

    @abstractmethod
    def untold(self, state: ContinuousState) -> ContinuousDecision:
        """Decision for states (n, K) without counts."""
