"""The tokens that are likeliest to be accepted, up to a budget."""

from dataclasses import dataclass

import numpy as np

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.checks import check_real
from multispin_env.controllers.base import ContinuousController
from multispin_env.controllers.continuous.goodput import estimated_rates, present
from multispin_env.controllers.continuous.greedy import take_all
from multispin_env.physics.continuous.types import ContinuousDecision, ContinuousState


@dataclass(frozen=True, eq=False)
class Tetris(ContinuousController):
    """Of all that devices could draft, the tokens of greatest survival are drafted, up to a budget (arXiv 2502.15197).

    The j-th token of a draft survives with probability α^j, if all before it are accepted too. TETRIS takes, of the
    tokens that were drafted for a batch, those of greatest survival, as many as the server has room for; adaptive
    verification in vLLM (pull request 47808) takes as many as maximise the accepted tokens in a second, by a measured
    table of times. Both cut drafts that exist: what is left out was drafted and is not verified.

    Here a draft is uploaded whole and verified whole, so the budget sets lengths when drafts start: what is left out is
    never drafted. Survival is that of α, not of this very draft, which nobody knows yet. The budget is shared as if all
    devices with a request started now, though some have begun before; it is the one with the greatest goodput by
    `device_rates`, beyond which more tokens bring less than their time is worth. Tokens beyond what a request wants
    don't survive. The server takes whatever is there.

    Parameters
    ----------
    budget
        Tokens that are drafted for each device with a request, in the mean; ``None``: the best.
    """

    budget: float | None = None

    def __post_init__(self) -> None:
        if self.budget is not None:
            check_real("budget", self.budget, 0.0, self.scenario.max_draft_length)

    def decide(self, state: ContinuousState) -> ContinuousDecision:
        """Lengths by survival, all drafts taken, the shortest upload first."""
        low, high = self.scenario.min_draft_length, self.scenario.max_draft_length
        means = np.arange(low, high + 1) if self.budget is None else np.array([self.budget])
        sharing = counted(state)
        budgets = np.rint(np.maximum(means - low, 0.0) * sharing.sum(-1, keepdims=True)).astype(np.int64)
        lengths = low + by_survival(survival(state, low, high), sharing, budgets)
        best = estimated_rates(self.scenario, state, lengths, present(state)).argmax(-1)
        return take_all(lengths[np.arange(len(best)), best])


def counted(state: ContinuousState) -> BoolArray:
    """Devices (n, K) that share the budget: those with a request, or all where nobody has one."""
    has = state.busy
    return has | ~has.any(-1, keepdims=True)


def survival(state: ContinuousState, low: int, high: int) -> FloatArray:
    """Probability (n, K, high − low) that tokens low + 1..high of a draft are accepted; 0 where nobody wants them."""
    places = np.arange(low + 1, high + 1)
    alive = state.acceptance_rate[..., None] ** places
    wanted = np.where(state.demand.wanted > 0, state.demand.wanted, high + 1)
    return np.where(places < wanted[..., None], alive, 0.0)


def by_survival(alive: FloatArray, counted: BoolArray, budgets: IntArray) -> IntArray:
    """How many tokens (n, C, K) each device gets of budgets (n, C): those of greatest survival, not more.

    Parameters
    ----------
    alive
        (n, K, J) survival of the tokens of each device, not rising; tokens of none are never taken.
    counted
        (n, K), devices that share the budget. Others get what is as likely to survive as the last token taken.
    budgets
        Tokens of all devices together.

    Examples
    --------
    >>> import numpy as np
    >>> from multispin_env.controllers.continuous.tetris import by_survival
    >>> alive = np.array([[[0.9, 0.81], [0.5, 0.25], [0.8, 0.64]]])
    >>> by_survival(alive, np.array([[True, True, False]]), np.array([[2, 3]]))
    array([[[2, 0, 0],
            [2, 1, 2]]])
    """
    copies, users, places = alive.shape
    shared = np.where(counted[..., None], alive, -1.0).reshape(copies, -1)
    order = np.argsort(-shared, -1, kind="stable")  # of equals, the first device is served first
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(users * places), -1)
    last = np.take_along_axis(np.take_along_axis(shared, order, -1), np.maximum(budgets - 1, 0), -1)
    least = np.where(budgets > 0, last, np.inf)[..., None, None]
    inside = rank.reshape(copies, 1, users, places) < budgets[..., None, None]
    taken = np.where(counted[:, None, :, None], inside, alive[:, None] >= least) & (alive[:, None] > 0.0)
    count: IntArray = taken.sum(-1)
    return count
