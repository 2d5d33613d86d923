"""Rules of production servers and of other papers; docstrings have the sources, and where ours differ from theirs."""

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_integer, check_real
from multispin_env.controllers.base import ContinuousController
from multispin_env.controllers.continuous.cycle import longest_profitable
from multispin_env.controllers.continuous.greedy import Greedy, best_common_length, estimated_rates, present, take_all
from multispin_env.controllers.continuous.groups import Groups
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState, Demand
from multispin_env.physics.tokens import expected_tokens


@dataclass(frozen=True, eq=False)
class TurboSpec(ContinuousController):
    """All drafts have the length with the greatest estimated goodput at the load of now (TurboSpec, arXiv 2406.14066).

    TurboSpec, once SmartSpec, predicts the tokens that are accepted in a second for each length from the batch, from
    what acceptance was before and from profiled times, and takes the best length. Here α and the law of verification
    are known, and its goodput of a step is that of `estimated_rates`, because drafts and uploads of some go on while
    others are verified. The batch is the devices that have a request now. The server takes whatever is there. With
    endless requests it is `Greedy`.
    """

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        return take_all(best_common_length(self.scenario, state))


@dataclass(frozen=True, eq=False)
class Tetris(ContinuousController):
    """Of all that devices could draft, the tokens of greatest survival are drafted, up to a budget (arXiv 2502.15197).

    The j-th token of a draft survives with probability α^j, if all before it are accepted too. TETRIS takes, of the
    tokens that were drafted for a batch, those of greatest survival, as many as the server has room for; adaptive
    verification in vLLM (pull request 47808) takes as many as maximise the accepted tokens in a second, by a measured
    table of times. Both cut drafts that exist: what is left out was drafted and is not verified.

    Here a draft is uploaded whole and verified whole, so the budget sets lengths when drafts start, by the survival
    that α gives. It is shared as if all devices with a request started now, and is the one with the greatest goodput by
    `estimated_rates`. Tokens beyond what a request wants don't survive. The server takes whatever is there.

    Parameters
    ----------
    budget
        Tokens that are drafted for each device with a request, in the mean; ``None``: the best.
    """

    budget: float | None = None

    def __post_init__(self) -> None:
        if self.budget is not None:
            check_real("budget", self.budget, 0.0, self.scenario.max_draft_length)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
        means = np.arange(low, high + 1) if self.budget is None else np.array([self.budget])
        has = state.busy
        sharing = has | ~has.any(-1, keepdims=True)  # all where nobody has a request
        budgets = np.rint(np.maximum(means - low, 0.0) * sharing.sum(-1, keepdims=True)).astype(np.int64)
        lengths = low + by_survival(_survival(state, low, high), sharing, budgets)
        best = estimated_rates(self.scenario, state, lengths, present(state)).argmax(-1)
        return take_all(lengths[np.arange(len(best)), best])


def _survival(state: ContinuousState, low: int, high: int) -> FloatArray:
    """Probability (n, K, high − low) that tokens low + 1..high of a draft are accepted; 0 where nobody wants them."""
    positions = np.arange(low + 1, high + 1)
    alive = state.acceptance_rate[..., None] ** positions
    wanted = np.where(state.demand.wanted > 0, state.demand.wanted, high + 1)
    return np.where(positions < wanted[..., None], alive, 0.0)


def by_survival(alive: FloatArray, counted: BoolArray, budgets: IntArray) -> IntArray:
    """How many tokens (n, C, K) each device gets of budgets (n, C): those of greatest survival, not more.

    Survival (n, K, J) does not rise from token to token; tokens of none are never taken. The devices that are
    ``counted`` (n, K) share the budget; others get what is as likely to survive as the last token taken.
    """
    copies, users, positions = alive.shape
    if not positions:
        return np.zeros((copies, budgets.shape[1], users), dtype=np.int64)
    shared = np.where(counted[..., None], alive, -1.0).reshape(copies, -1)
    order = np.argsort(-shared, -1, kind="stable")  # of equals, the first device is served first
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(users * positions), -1)
    last = np.take_along_axis(np.take_along_axis(shared, order, -1), np.maximum(budgets - 1, 0), -1)
    least = np.where(budgets > 0, last, np.inf)[..., None, None]
    inside = rank.reshape(copies, 1, users, positions) < budgets[..., None, None]
    taken = np.where(counted[:, None, :, None], inside, alive[:, None] >= least) & (alive[:, None] > 0.0)
    count: IntArray = taken.sum(-1)
    return count


MINE_DRAFT = partial(Groups, groups=2)
"""Half of the devices draft while the drafts of the others are verified (MineDraft, arXiv 2603.18016).

Theirs drafts a whole batch on a GPU beside the server's.
"""


@dataclass(frozen=True, eq=False)
class EarliestDeadline(Greedy):
    """`Greedy` whose uplink goes to the request that is due first (Liu and Layland 1973, earliest deadline first).

    Until the first token has come, a request is due when that token is, if this is earlier. Theirs is for one processor
    that each job needs once; here only the uplink goes by deadline. With endless requests it is `Greedy`.
    """

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        due = np.minimum(state.demand.first_due, state.demand.due)  # the first token that may be late
        return super().decide(state).changed(priority=np.where(np.isfinite(due), due, 1e12))  # else behind all


_RuleMemory = tuple[NDArray[Any], ...]  # arrays (n, K)


@dataclass(frozen=True, eq=False)
class _Remembering(ContinuousController):
    """A controller that keeps arrays of each device of each copy: to be called exactly once a verification.

    It learns from the counts of the last verification (`Demand`). Endless requests have none; `untold` decides then,
    from the state alone. What is remembered of a copy is forgotten when its state is new (``batch == 0``), and all of
    it with a batch of another size, or with `reset`. A device keeps what was learned when its request ends.
    """

    _kept: dict[str, _RuleMemory] = field(default_factory=dict, init=False, repr=False)

    @override
    def reset(self) -> None:
        self._kept.clear()

    @property
    def shortest(self) -> int:
        """The shortest draft that it chooses: without a token there is nothing to learn."""
        return max(1, self.scenario.min_draft_length)

    @override
    def decide(self, state: ContinuousState) -> ContinuousDecision:
        if state.demand.never_ends.all():
            return self.untold(state)
        fresh = self.fresh(state)
        kept = self._kept.get("memory", fresh)
        memory = self.learned(kept if kept[0].shape == fresh[0].shape else fresh, state.demand)
        new = state.batch[:, None] == 0
        memory = tuple(np.where(new, begun, array) for begun, array in zip(fresh, memory, strict=True))
        self._kept["memory"] = memory
        return self.told(state, memory)

    @abstractmethod
    def fresh(self, state: ContinuousState) -> _RuleMemory:
        """Memory of copies that nothing is known of, arrays (n, K)."""

    @abstractmethod
    def learned(self, memory: _RuleMemory, demand: Demand) -> _RuleMemory:
        """Memory after one more verification; new arrays."""

    @abstractmethod
    def told(self, state: ContinuousState, memory: _RuleMemory) -> ContinuousDecision:
        """Decision for states (n, K) from what is remembered."""

    @abstractmethod
    def untold(self, state: ContinuousState) -> ContinuousDecision:
        """Decision for states (n, K) without counts."""


@dataclass(frozen=True, eq=False)
class EmaTiers(_Remembering):
    """Drafts have one of a few lengths, which follows a moving average of accepted tokens (SGLang).

    It is SGLang's adaptive speculative decoding (pull requests 21599 and 24055), its rule ``ema``: with A the average,
    a tier rises where A > L − 1/2 + ``up``, and falls to the length l below where A ≤ l − 1/2 + ``down``; A begins at L
    − 1. Theirs has one average and one length for a batch; its lengths, (1, 3, 5, 7) for small batches, depend on the
    size of the batch, and a large one ends speculation. Here each device has its own average and length, and moves by
    one tier at a time. The lengths here are of a longer list that was tried there (pull request 23629); all else is as
    there. The server takes whatever is there.

    With endless requests a device has the tier where it would come to rest if A were the tokens that are accepted in
    the mean, from the first tier.

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
        if not self.tiers or self.tiers[0] < 1 or list(self.tiers) != sorted(set(self.tiers)):
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

    @override
    def fresh(self, state: ContinuousState) -> _RuleMemory:
        shape = state.phase.shape
        tier = np.full(shape, len(self.tiers) // 2 if self.first is None else self.first)
        return tier, self.lengths[tier] - 1.0, np.zeros(shape, dtype=np.int64)

    @override
    def learned(self, memory: _RuleMemory, demand: Demand) -> _RuleMemory:
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
        return tier + np.where(falls, -1, rises * 1)

    @override
    def told(self, state: ContinuousState, memory: _RuleMemory) -> ContinuousDecision:
        return take_all(self.lengths[memory[0]])

    @override
    def untold(self, state: ContinuousState) -> ContinuousDecision:
        tier = self.fresh(state)[0]
        for _ in range(len(self.tiers)):
            tier = self.moved(tier, expected_tokens(self.lengths[tier], state.acceptance_rate) - 1.0)
        return take_all(self.lengths[tier])


@dataclass(frozen=True, eq=False)
class PlusTwoMinusOne(_Remembering):
    """A draft is two tokens longer than the last if all of that was accepted, else one shorter.

    It is the schedule ``"heuristic"`` of assisted generation in Hugging Face Transformers, and was that of llama.cpp
    (pull request 3006). Theirs serve one prompt at a time; here each device has a length of its own, and the server
    takes whatever is there. With endless requests the length is the longest at which the walk would not fall in the
    mean, α^L ≥ 1/3.

    Parameters
    ----------
    start
        L of the first draft; ``None`` means 5, or the longest draft if that is shorter.
    """

    start: int | None = None

    def __post_init__(self) -> None:
        if self.start is not None:
            check_integer("start", self.start, self.shortest, self.scenario.max_draft_length)

    @override
    def fresh(self, state: ContinuousState) -> _RuleMemory:
        start = min(5, self.scenario.max_draft_length) if self.start is None else self.start
        return (np.full(state.phase.shape, start),)

    @override
    def learned(self, memory: _RuleMemory, demand: Demand) -> _RuleMemory:
        (length,) = memory
        change = np.where(demand.accepted >= demand.drafted, 2, -1) * (demand.drafted > 0)
        return (np.clip(length + change, self.shortest, self.scenario.max_draft_length),)

    @override
    def told(self, state: ContinuousState, memory: _RuleMemory) -> ContinuousDecision:
        return take_all(memory[0])

    @override
    def untold(self, state: ContinuousState) -> ContinuousDecision:
        price: FloatArray = np.full(state.phase.shape, 1 / 3)
        return take_all(np.maximum(longest_profitable(self.scenario, state.acceptance_rate, price), self.shortest))
