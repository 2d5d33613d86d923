r"""Tokens that a round is expected to give, from what the counts of a request have told (ours).

If a request accepts each drafted token with the same probability α, independently, then the first l are all accepted
with probability α^l. α is not known: it has a posterior law given the counts so far. So the l-th token of the draft is
accepted, as seen before the round, with probability E[α^l | counts], and a round of L drafted tokens gives

E[N | L, counts] = 1 + Σ_{l=1..L} E[α^l | counts].

With a prior Beta(a, b), A accepted tokens and F refusals the posterior is Beta(a + A, b + F), and
E[α^l | counts] = Π_{i<l} (a + A + i) / (a + b + A + F + i). Without a spread it is α^l, and the sum is [MS] (12). A
request that gets at most R more tokens gives E[min(N, R)]: the sum ends at l = R − 1.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from multispin_env.arrays import FloatArray, IntArray
from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.estimators import Filter, TaskMean, blank_counts, take_counts
from multispin_env.controllers.plug_in import PlugIn
from multispin_env.physics.types import Observed
from multispin_env.scenario import Scenario


def assumptions_of(scenario: Scenario) -> Assumptions:
    """What is known before the first round: means and spreads of the scenario's tasks, and reports that are fresh.

    No law on [0, 1] has a standard deviation above 0.5.
    """
    means, spreads = zip(*((task.acceptance_rate, task.acceptance_std) for task in scenario.tasks), strict=True)
    return Assumptions(means, tuple(min(spread, 0.5) for spread in spreads), correlation=1.0, delay=0)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Expected tokens, given what a request has shown."""

    scenario: Scenario
    assumptions: Assumptions  # mean and spread of α in each task
    spreads: tuple[float, ...] = (1.0,)  # multiples of the spread, as of `Filter`
    counting: bool = True  # whether counts are known; else only the prior is

    @classmethod
    def of(cls, plug_in: PlugIn, scenario: Scenario, assumptions: Assumptions) -> "Prediction":
        """From what a plug-in knows: the prior of its filter if it has one, and counts unless it ignores them."""
        estimator = next(one for one in plug_in.estimators if one.part == "acceptance_rate")
        spreads = estimator.spreads if isinstance(estimator, Filter) else (1.0,)
        return cls(scenario, assumptions, spreads, not isinstance(estimator, TaskMean))

    @cached_property
    def _filters(self) -> list[Filter]:
        orders = range(1, self.scenario.max_draft_length + 1)
        return [Filter(self.scenario, self.assumptions, self.spreads, float(order)) for order in orders]

    def tokens(
        self, draft_length: IntArray, left: IntArray, hits: FloatArray, misses: FloatArray, task: IntArray
    ) -> FloatArray:
        """E[min(N, R) | L, counts] of drafts, each (..., K); R ≥ 1 are ``left``."""
        if not self.counting:
            hits, misses = np.zeros(task.shape), np.zeros(task.shape)
        counted = np.minimum(draft_length, left - 1)
        total = np.ones(task.shape)
        for order, one in enumerate(self._filters[: int(counted.max())], start=1):
            total += np.where(order <= counted, one.given(hits, misses, task) ** order, 0.0)
        return total


class RequestCounts:
    """Counts of the present requests, as an estimator keeps them."""

    def __init__(self, num_users: int) -> None:
        self._memory = blank_counts(1, num_users)

    def take(self, observed: Observed) -> tuple[FloatArray, FloatArray]:
        """Take in a round (K,); returns accepted tokens and refusals since each request began, (K,)."""
        hits, misses = take_counts("prediction", self._memory, observed[None])
        return hits[0], misses[0]
