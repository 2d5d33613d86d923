"""Tiers of draft lengths, by a moving average of what is accepted."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.continuous.greedy import take_all
from multispin_env.controllers.continuous.remembering import Remembering, RuleMemory
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Demand
from multispin_env.physics.tokens import expected_tokens


@dataclass(frozen=True, eq=False)
class EmaTiers(Remembering):
    """Drafts have one of a few lengths, which follows a moving average of accepted tokens (SGLang).

    It is SGLang's adaptive speculative decoding (pull requests 21599 and 24055), its rule ``ema``: with A the average,
    a tier rises where A > L − 1/2 + ``up``, and falls to the length l below where A ≤ l − 1/2 + ``down``; A begins at L
    − 1. Theirs has one average, over the requests of a batch, and one length for all of them; its lengths, (1, 3, 5, 7)
    for small batches, depend on the size of the batch, and a large one ends speculation. Here each device has its own
    average and length, which do not depend on the batch, and moves by one tier at a time, where theirs may pass
    several. The lengths here are of a longer list that was tried there (pull request 23629); all else is as there. What
    a device has learned is kept for its next request. The server takes whatever is there.

    With endless requests there are no counts: a device then has the tier where it would come to rest if A were the
    tokens that are accepted in the mean, from the first tier.

    Parameters
    ----------
    tiers
        Lengths L ≥ 1, rising; cut to the scenario's range.
    first
        Which of them a device begins with, from 0. ``None``: the middle one.
    smoothing
        Weight in (0, 1] of the latest count in A.
    up, down
        Hysteresis in tokens, ``down`` ≤ ``up``.
    interval
        Verifications of the device from one change to the next.
    warm_up
        Verifications of the device before the first.
    """

    tiers: tuple[int, ...] = (1, 3, 7, 15)
    first: int | None = None
    smoothing: float = 0.2
    up: float = 0.0
    down: float = -0.25
    interval: int = 5
    warm_up: int = 10

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip(self.tiers[:-1], self.tiers[1:], strict=True))
        if not self.tiers or self.tiers[0] < 1 or not rising:
            raise ValueError(f"tiers: expected rising lengths ≥ 1, got {self.tiers}")
        if self.first is not None:
            check_integer("first", self.first, 0, len(self.tiers) - 1)
        check_real("smoothing", self.smoothing, 0.0, 1.0, open_low=True)
        check_real("up", self.up)
        check_real("down", self.down, high=self.up)
        check_integer("interval", self.interval, 1)
        check_integer("warm_up", self.warm_up, 0)

    @property
    def lengths(self) -> IntArray:
        """L of each tier, (tiers,)."""
        return np.clip(np.array(self.tiers), self.shortest, self.scenario.max_draft_length)

    def fresh(self, state: ContinuousState) -> RuleMemory:
        """The first tier, A, and how many verifications there were."""
        shape = state.phase.shape
        tier = np.full(shape, len(self.tiers) // 2 if self.first is None else self.first)
        return tier, self.lengths[tier] - 1.0, np.zeros(shape, dtype=np.int64)

    def learned(self, memory: RuleMemory, demand: Demand) -> RuleMemory:
        """Count the last verification of those that were in it, and move where it is time to."""
        tier, average, count = memory
        seen = demand.drafted > 0
        average = np.where(seen, average + self.smoothing * (demand.accepted - average), average)
        count = count + seen
        due = seen & (count > self.warm_up) & ((count - self.warm_up) % self.interval == 0)
        return np.where(due, self.moved(tier, average), tier), average, count

    def moved(self, tier: IntArray, average: FloatArray) -> IntArray:
        """The tier (...) after one move at most, for averages (...)."""
        lengths = self.lengths
        falls = (tier > 0) & (average <= lengths[np.maximum(tier - 1, 0)] - 0.5 + self.down)
        rises = (tier < len(lengths) - 1) & (average > lengths[tier] - 0.5 + self.up)
        moved: IntArray = tier + np.where(falls, -1, rises * 1)
        return moved

    def told(self, state: ContinuousState, memory: RuleMemory) -> ContinuousDecision:
        """Draft what the tier says, all drafts taken, the shortest upload first."""
        return take_all(self.lengths[memory[0]])

    def untold(self, state: ContinuousState) -> ContinuousDecision:
        """The tiers where α would let devices rest."""
        tier = self.fresh(state)[0]
        for _ in range(len(self.tiers)):
            tier = self.moved(tier, expected_tokens(self.lengths[tier], state.acceptance_rate) - 1.0)
        return take_all(self.lengths[tier])
