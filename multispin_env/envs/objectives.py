"""Objectives: what a step is rewarded for, in both families. A new one is a class here or outside."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from multispin_env.arrays import FloatArray, Rows, replace_rows
from multispin_env.physics.continuous.types import ContinuousOutcome
from multispin_env.physics.rounds import discounted_throughput, initial_throughput, utility
from multispin_env.physics.types import Outcome
from multispin_env.scenario import Scenario


class Objective(ABC):
    """Base: rewards the steps of n copies; it may remember earlier ones.

    Arrays that change are replaced, never written into.
    """

    metric: ClassVar[str]
    """Name of what whole episodes are compared by, one of `multispin_env.evaluation.comparison.METRICS`."""

    remembered_rounds: float = 1.0
    """Steps over which the past counts for the reward; 1 where each step counts by itself."""

    @abstractmethod
    def reward(self, outcome: Any) -> FloatArray:
        """Take in a step; returns its reward, (n,)."""

    def weights(self, outcome: Outcome) -> FloatArray | float:
        """Derivatives of the reward by the rates N_k / T_e2e, (n, K) or one for all; ``ValueError`` without any."""
        raise ValueError(f"reward_slopes: expected a reward that has derivatives, got {type(self).__name__}")

    def fields(self) -> dict[str, NDArray[Any]]:
        """What is remembered, as fields of `Observed`, arrays (n, K)."""
        return {}

    def info(self) -> dict[str, NDArray[Any]]:
        """What ``info`` tells of it after a step; arrays of its own, which the user may write into."""
        return {}

    def reset(self, rows: Rows) -> None:  # noqa: B027 (most remember nothing)
        """Forget the past of these rows."""


class Goodput(Objective):
    """Goodput of the round, Σ_k N_k / T_e2e, as a multiple of that of the server alone, K / T_ver."""

    metric = "goodput"

    def __init__(self, scenario: Scenario) -> None:
        self._unit = scenario.autoregressive_goodput

    @override
    def reward(self, outcome: Outcome) -> FloatArray:
        reward: FloatArray = outcome.goodput / self._unit
        return reward

    @override
    def weights(self, outcome: Outcome) -> float:
        return 1.0 / self._unit


class ProportionalFairness(Objective):
    """Growth of Σ_k ln R_k, the utility of throughput R_k that is discounted over ``window`` rounds."""

    metric = "return"

    def __init__(self, scenario: Scenario, window: float, num_envs: int) -> None:
        self._initial = initial_throughput(scenario, num_envs)
        self.remembered_rounds = window
        self.throughput = self._initial  # (n, K) tokens/s

    @override
    def fields(self) -> dict[str, NDArray[Any]]:
        return {"throughput": self.throughput}

    @override
    def info(self) -> dict[str, NDArray[Any]]:
        return {"throughput": self.throughput.copy()}

    @override
    def reset(self, rows: Rows) -> None:
        self.throughput = replace_rows(self.throughput, rows, self._initial[rows])

    @override
    def reward(self, outcome: Outcome) -> FloatArray:
        later = discounted_throughput(self.throughput, outcome, self.remembered_rounds)
        growth = utility(later) - utility(self.throughput)
        self.throughput = later
        return growth

    def weights(self, outcome: Outcome) -> FloatArray:
        """1 / (window R_k) with R_k after the round, (n, K)."""
        later = discounted_throughput(self.throughput, outcome, self.remembered_rounds)
        weights: FloatArray = 1.0 / (self.remembered_rounds * later)
        return weights


@dataclass(frozen=True)
class TokensMinusTime(Objective):
    """(tokens − ρ · duration) / scale, of a round or of a verification without the barrier.

    Its mean is 0 exactly for policies that make ρ tokens/s, and more for those that make more, however long their steps
    are. With tokens alone a policy would be paid for a step, and wait for everybody.

    Parameters
    ----------
    rho
        Price of a second in tokens.
    scale
        Tokens that count as one.
    """

    metric: ClassVar[str] = "token_goodput"
    rho: float
    scale: float

    @override
    def reward(self, outcome: Any) -> FloatArray:
        return (self.tokens(outcome) - self.rho * outcome.duration) / self.scale

    def tokens(self, outcome: Any) -> FloatArray:
        """Tokens (n,) that count."""
        total: FloatArray = np.add.reduce(outcome.tokens, -1)
        return total


@dataclass(frozen=True)
class TokensInTimeMinusTime(TokensMinusTime):
    """The same with the tokens of requests that were within all limits; they count when their request finishes.

    Parameters
    ----------
    rho, scale
        As there.
    """

    metric: ClassVar[str] = "tokens_in_time"

    @override
    def tokens(self, outcome: ContinuousOutcome) -> FloatArray:
        served = outcome.served
        total: FloatArray = np.add.reduce(served.output * served.in_time, -1, dtype=np.float64)
        return total


class RequestsInTime(Objective):
    """Requests that finished within all limits.

    How many come in an episode does not depend on what is decided, so that time needs no price.
    """

    metric = "request_goodput"

    @override
    def reward(self, outcome: ContinuousOutcome) -> FloatArray:
        total: FloatArray = np.add.reduce(outcome.served.in_time, -1, dtype=np.float64)
        return total
