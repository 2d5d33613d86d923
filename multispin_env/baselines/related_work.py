"""Rules of production servers and other papers; docstrings give sources and differences."""

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from typing_extensions import override

from multispin_env.arrays import Array, BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, check_real, checked_field
from multispin_env.controllers.base import ContinuousController, max_length
from multispin_env.controllers.continuous.cycle import longest_profitable
from multispin_env.controllers.continuous.greedy import Greedy, best_common_length, estimated_rates, present, take_all
from multispin_env.controllers.continuous.groups import Groups
from multispin_env.draft import expected_tokens
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Demand


@dataclass(frozen=True, eq=False)
class TurboSpec(ContinuousController):
    """One draft length for all, with the largest estimated goodput at the current load (TurboSpec, arXiv 2406.14066).

    TurboSpec, formerly SmartSpec, predicts the accepted tokens per second for each length from the batch, from past
    acceptance and from profiled times, and selects the best length. Here α and the verification law are known, and
    `estimated_rates` predicts the goodput, because some devices draft and upload while others are verified. The batch
    consists of the devices that have a request now. The server verifies all waiting drafts. With endless requests the
    rule equals `Greedy`.
    """

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        return take_all(best_common_length(self.scenario, state))


@dataclass(frozen=True, eq=False)
class Tetris(ContinuousController):
    """Draft lengths that hold the tokens most likely to be accepted, within a budget (TETRIS, arXiv 2502.15197).

    The j-th token of a draft survives, together with all tokens before it, with probability α^j. Of the tokens drafted
    for a batch, TETRIS verifies those most likely to survive, up to the capacity of the server; adaptive verification
    in vLLM (pull request 47808) verifies the number that maximises accepted tokens per second, by a measured table of
    times. Both truncate existing drafts: the other tokens were drafted but are not verified.

    Here a draft is uploaded and verified as a whole, so the budget sets lengths when drafts start, from the survival
    probabilities α^j. The budget is divided as if all devices with a request started now; by default it is the one with
    the largest goodput by `estimated_rates`. Tokens after the end of a request do not survive. The server verifies all
    waiting drafts.

    Parameters
    ----------
    budget
        Mean number of drafted tokens per device with a request; ``None``: the best integer.
    """

    budget: float | None = checked_field(None, check_real, 0.0, max_length)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
        means = np.arange(low, high + 1) if self.budget is None else np.array([self.budget])
        has = state.busy
        sharing = has | ~has.any(-1, keepdims=True)  # all devices if none has a request
        budgets = np.rint(np.maximum(means - low, 0.0) * sharing.sum(-1, keepdims=True)).astype(np.int64)
        lengths = low + lengths_by_survival(_survival(state, low, high), sharing, budgets)
        best = estimated_rates(self.scenario, state, lengths, present(state)).argmax(-1)
        return take_all(lengths[np.arange(len(best)), best])


def _survival(state: ContinuousState, low: int, high: int) -> FloatArray:
    positions = np.arange(low + 1, high + 1)
    alive = state.acceptance_rate[..., None] ** positions
    remaining = np.where(state.demand.wanted > 0, state.demand.wanted, high + 1)
    return np.where(positions < remaining[..., None], alive, 0.0)


def lengths_by_survival(alive: FloatArray, counted: BoolArray, budgets: IntArray) -> IntArray:
    """Return draft lengths (n, C, K) for budgets (n, C) of tokens, with the tokens most likely to survive.

    The survival probabilities ``alive`` (n, K, J) do not increase along a draft; tokens with probability 0 are never
    drafted. Devices that are ``counted`` (n, K) share the budget; the others draft all tokens at least as likely to
    survive as the last token in the budget.
    """
    num_envs, users, positions = alive.shape
    if not positions:
        return np.zeros((num_envs, budgets.shape[1], users), dtype=np.int64)
    shared = np.where(counted[..., None], alive, -1.0).reshape(num_envs, -1)
    order = np.argsort(-shared, -1, kind="stable")  # ties go to the first device
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(users * positions), -1)
    last = np.take_along_axis(np.take_along_axis(shared, order, -1), np.maximum(budgets - 1, 0), -1)
    least = np.where(budgets > 0, last, np.inf)[..., None, None]
    inside = rank.reshape(num_envs, 1, users, positions) < budgets[..., None, None]
    taken = np.where(counted[:, None, :, None], inside, alive[:, None] >= least) & (alive[:, None] > 0.0)
    return np.asarray(taken.sum(-1))


MINE_DRAFT = partial(Groups, groups=2)
"""Two groups, one of which drafts while the drafts of the other are verified (MineDraft, arXiv 2603.18016).

In MineDraft, a second GPU drafts for a whole batch.
"""


@dataclass(frozen=True, eq=False)
class EarliestDeadline(Greedy):
    """`Greedy`, with uploads ordered by earliest deadline first (EDF, Liu and Layland 1973).

    Until the first token has arrived, the deadline of that token counts too. The original rule is for jobs on a single
    processor; here only the uplink is ordered by deadline. With endless requests the rule equals `Greedy`.
    """

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        due = np.minimum(state.demand.first_due, state.demand.due)
        return super().decide(state).changed(priority=np.where(np.isfinite(due), due, 1e12))  # last without a deadline


_RuleMemory = tuple[Array, ...]  # arrays (n, K)


@dataclass(frozen=True, eq=False)
class _CountingController(ContinuousController):
    """Controller that learns from the token counts of verifications; call it exactly once per verification.

    Endless requests have no counts (`Demand`); `decide_without_counts` then decides from the state alone. The memory of
    an environment is reset when its state is new (``batch == 0``). All memory is reset when the number of environments
    changes, or by `reset`. A device keeps its memory when its request ends.
    """

    _memory: dict[str, _RuleMemory] = field(default_factory=dict, init=False, repr=False)

    @override
    def reset(self) -> None:
        self._memory.clear()

    @property
    def shortest(self) -> int:
        """Minimum draft length of the rule, at least 1, since an empty draft gives no counts."""
        return max(1, self.scenario.min_draft_length)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        if state.demand.never_ends.all():
            return self.decide_without_counts(state)
        initial = self.initial_memory(state)
        last = self._memory.get("last", initial)
        memory = self.update(last if last[0].shape == initial[0].shape else initial, state.demand)
        new = state.batch[:, None] == 0
        memory = tuple(np.where(new, start, array) for start, array in zip(initial, memory, strict=True))
        self._memory["last"] = memory
        return self.decide_from_memory(state, memory)

    @abstractmethod
    def initial_memory(self, state: ContinuousState) -> _RuleMemory:
        """Return the memory of new environments, arrays (n, K)."""

    @abstractmethod
    def update(self, memory: _RuleMemory, demand: Demand) -> _RuleMemory:
        """Return the memory after one more verification, as new arrays."""

    @abstractmethod
    def decide_from_memory(self, state: ContinuousState, memory: _RuleMemory) -> ContinuousDecision:
        """Return the decision for states (n, K) with counts."""

    @abstractmethod
    def decide_without_counts(self, state: ContinuousState) -> ContinuousDecision:
        """Return the decision for states (n, K) without counts."""


def _check_tiers(field: str, tiers: tuple[int, ...]) -> None:
    if not tiers or tiers[0] < 1 or list(tiers) != sorted(set(tiers)):
        raise ValueError(f"{field}: expected increasing lengths ≥ 1, got {tiers}")


@dataclass(frozen=True, eq=False)
class EmaTiers(_CountingController):
    """Draft lengths from a few tiers, selected by a moving average of accepted tokens (SGLang).

    This is the rule ``ema`` of SGLang's adaptive speculative decoding (pull requests 21599 and 24055). With average A
    and current length L, a device moves to the next longer tier if A > L − 1/2 + ``up``, and to the next shorter length
    l if A ≤ l − 1/2 + ``down``; A starts at L − 1. SGLang has one average and one length for a batch; its lengths,
    (1, 3, 5, 7) for small batches, depend on the size of the batch, and a large batch disables speculation. Here each
    device has its own average and length. The lengths are those of a longer list that SGLang tried (pull request
    23629). The server verifies all waiting drafts.

    With endless requests, A is the expected number of accepted tokens, and a device has the tier that the rule then
    reaches from the first tier.

    Parameters
    ----------
    tiers
        Increasing lengths L ≥ 1; clipped to the scenario's range.
    first
        Index of a device's first tier, from 0. ``None``: the middle one.
    smoothing
        Weight in (0, 1] of the latest count in A.
    up, down
        Hysteresis in tokens, ``down`` ≤ ``up``.
    interval
        Verifications of the device from one possible change to the next.
    warm_up
        Verifications of the device before the first interval begins.
    """

    tiers: tuple[int, ...] = checked_field((1, 3, 7, 15), _check_tiers)
    first: int | None = checked_field(None, check_integer, 0, lambda rule: len(rule.tiers) - 1)
    smoothing: float = checked_field(0.2, check_real, 0.0, 1.0, open_low=True)
    up: float = checked_field(0.0, check_real)
    down: float = checked_field(-0.25, check_real, -np.inf, lambda rule: rule.up)
    interval: int = checked_field(5, check_integer, 1)
    warm_up: int = checked_field(10, check_integer, 0)

    @property
    def lengths(self) -> IntArray:
        """Draft length of each tier, (tiers,)."""
        return np.clip(np.array(self.tiers), self.shortest, self.scenario.max_draft_length)

    @override
    def initial_memory(self, state: ContinuousState) -> _RuleMemory:
        shape = state.phase.shape
        tier = np.full(shape, len(self.tiers) // 2 if self.first is None else self.first)
        return tier, self.lengths[tier] - 1.0, np.zeros(shape, dtype=np.int64)

    @override
    def update(self, memory: _RuleMemory, demand: Demand) -> _RuleMemory:
        tier, average, count = memory
        seen = demand.drafted > 0
        average = np.where(seen, average + self.smoothing * (demand.accepted - average), average)
        count = count + seen
        due = seen & (count > self.warm_up) & ((count - self.warm_up) % self.interval == 0)
        return np.where(due, self.next_tier(tier, average), tier), average, count

    def next_tier(self, tier: IntArray, average: FloatArray) -> IntArray:
        """Return the tier (...) after at most one move, for averages (...)."""
        lengths = self.lengths
        falls = (tier > 0) & (average <= lengths[np.maximum(tier - 1, 0)] - 0.5 + self.down)
        rises = (tier < len(lengths) - 1) & (average > lengths[tier] - 0.5 + self.up)
        return tier + np.where(falls, -1, rises * 1)

    @override
    def decide_from_memory(self, state: ContinuousState, memory: _RuleMemory) -> ContinuousDecision:
        return take_all(self.lengths[memory[0]])

    @override
    def decide_without_counts(self, state: ContinuousState) -> ContinuousDecision:
        tier = self.initial_memory(state)[0]
        for _ in range(len(self.tiers)):
            tier = self.next_tier(tier, expected_tokens(self.lengths[tier], state.acceptance_rate) - 1.0)
        return take_all(self.lengths[tier])


@dataclass(frozen=True, eq=False)
class PlusTwoMinusOne(_CountingController):
    """Draft length that increases by two tokens if the last draft was fully accepted, and decreases by one otherwise.

    This is the schedule ``"heuristic"`` of assisted generation in Hugging Face Transformers, formerly also used by
    llama.cpp (pull request 3006). Both serve one prompt at a time; here each device has its own length, and the server
    verifies all waiting drafts. With endless requests the length is the longest whose expected change is not negative:
    3 α^L ≥ 1.

    Parameters
    ----------
    start
        L of the first draft; ``None`` means 5, or the maximum draft length if that is smaller.
    """

    start: int | None = checked_field(None, check_integer, lambda rule: rule.shortest, max_length)

    @override
    def initial_memory(self, state: ContinuousState) -> _RuleMemory:
        start = min(5, self.scenario.max_draft_length) if self.start is None else self.start
        return (np.full(state.phase.shape, start),)

    @override
    def update(self, memory: _RuleMemory, demand: Demand) -> _RuleMemory:
        (length,) = memory
        change = np.where(demand.accepted >= demand.drafted, 2, -1) * (demand.drafted > 0)
        return (np.clip(length + change, self.shortest, self.scenario.max_draft_length),)

    @override
    def decide_from_memory(self, state: ContinuousState, memory: _RuleMemory) -> ContinuousDecision:
        return take_all(memory[0])

    @override
    def decide_without_counts(self, state: ContinuousState) -> ContinuousDecision:
        price: FloatArray = np.full(state.phase.shape, 1 / 3)
        return take_all(np.maximum(longest_profitable(self.scenario, state.acceptance_rate, price), self.shortest))
