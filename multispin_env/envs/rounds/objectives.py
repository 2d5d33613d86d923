"""What a round is rewarded for. An environment hands its objective in; a new reward is one class here or outside."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from numpy.typing import NDArray

from multispin_env.arrays import FloatArray, Rows, replaced
from multispin_env.envs.rounds.memories import Remembering
from multispin_env.physics.fairness import discounted_throughput, initial_throughput, utility
from multispin_env.physics.types import Outcome
from multispin_env.scenario import Scenario


class Objective(Remembering, ABC):
    """Rewards the rounds of n copies; it may remember earlier ones.

    Arrays that change are replaced, never written into.
    """

    metric: ClassVar[str]
    """Name of what whole episodes are compared by, one of `multispin_env.evaluation.comparison.METRICS`."""

    remembered_rounds: float = 1.0
    """Rounds over which the past counts for the reward; 1 where each round counts by itself."""

    def info(self) -> dict[str, NDArray[Any]]:
        """What ``info`` tells of it after a round; arrays of its own, which the user may write into."""
        return {}

    @abstractmethod
    def reward(self, outcome: Outcome) -> FloatArray:
        """Take in a round; returns its reward, (n,)."""

    @abstractmethod
    def weights(self, outcome: Outcome) -> FloatArray | float:
        """Derivatives of the reward by the rates N_k / T_e2e of a round, (n, K) or one number for all."""


class Goodput(Objective):
    """Goodput of the round, over that of the server alone.

    Parameters
    ----------
    scenario
        The system.
    """

    metric = "goodput"

    def __init__(self, scenario: Scenario) -> None:
        self._unit = scenario.autoregressive_goodput

    def reward(self, outcome: Outcome) -> FloatArray:
        """Σ_k N_k / T_e2e, as a multiple of K / T_ver."""
        reward: FloatArray = outcome.goodput / self._unit
        return reward

    def weights(self, outcome: Outcome) -> float:
        """A token a second is worth the same from everyone."""
        return 1.0 / self._unit


class ProportionalFairness(Objective):
    """Growth of Σ_k ln R_k, the utility of discounted throughput R_k.

    Parameters
    ----------
    scenario
        The system.
    window
        Rounds over which throughput is discounted.
    num_copies
        n.
    """

    metric = "return"

    def __init__(self, scenario: Scenario, window: float, num_copies: int) -> None:
        self._initial = initial_throughput(scenario, num_copies)
        self.remembered_rounds = window
        self.throughput = self._initial  # (n, K) tokens/s

    def fields(self) -> dict[str, NDArray[Any]]:
        """The throughput."""
        return {"throughput": self.throughput}

    def info(self) -> dict[str, NDArray[Any]]:
        """The throughput after the round."""
        return {"throughput": self.throughput.copy()}

    def reset(self, rows: Rows) -> None:
        """Begin anew in these rows."""
        self.throughput = replaced(self.throughput, rows, self._initial[rows])

    def reward(self, outcome: Outcome) -> FloatArray:
        """Take in a round; returns by how much the utility grows, (n,)."""
        later = discounted_throughput(self.throughput, outcome, self.remembered_rounds)
        growth = utility(later) - utility(self.throughput)
        self.throughput = later
        return growth

    def weights(self, outcome: Outcome) -> FloatArray:
        """1 / (window R_k) with R_k after the round, (n, K)."""
        later = discounted_throughput(self.throughput, outcome, self.remembered_rounds)
        weights: FloatArray = 1.0 / (self.remembered_rounds * later)
        return weights
