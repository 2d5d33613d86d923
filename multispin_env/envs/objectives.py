"""Objectives: functions that compute the reward of a step, for both families."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from typing_extensions import override

from multispin_env.arrays import Array, FloatArray, Rows, replace_rows
from multispin_env.physics.continuous.types import ContinuousOutcome
from multispin_env.physics.rounds import discounted_throughput, initial_throughput, utility
from multispin_env.physics.types import Outcome
from multispin_env.scenario import Scenario


class Objective(ABC):
    """Base of the objectives, which may have memory; its arrays are replaced and never written into."""

    metric: ClassVar[str] = "return"
    """Metric of whole episodes, a key of `multispin_env.evaluation.comparison.METRICS`."""

    remembered_rounds: float = 1.0
    """Number of past steps on which a reward depends; 1 for a reward of the present step alone."""

    @abstractmethod
    def reward(self, outcome: Any) -> FloatArray:
        """Record a step and return its reward, (n,)."""

    def weights(self, outcome: Outcome) -> FloatArray | float:
        """Return the derivatives with respect to N_k / T_e2e, (n, K) or a number; ``ValueError`` if there are none."""
        raise ValueError(f"reward_slopes: expected a reward with derivatives, got {type(self).__name__}")

    def fields(self) -> dict[str, Array]:
        """Return the memory of the objective as fields of `Observed`, arrays (n, K)."""
        return {}

    def info(self, state: Any, outcome: Any) -> dict[str, Array]:
        """Return the objective's entries of ``info`` for a step from ``state``, as arrays that users may write into."""
        return {}

    def reset(self, rows: Rows) -> None:  # noqa: B027 (most have no memory)
        """Start new episodes."""


class Goodput(Objective):
    """Goodput of the round, Σ_k N_k / T_e2e, divided by that of the server alone, K / T_ver."""

    metric = "goodput"

    def __init__(self, scenario: Scenario) -> None:
        self._unit = scenario.autoregressive_goodput

    @override
    def reward(self, outcome: Outcome) -> FloatArray:
        return outcome.goodput / self._unit

    @override
    def weights(self, outcome: Outcome) -> float:
        return 1.0 / self._unit


class ProportionalFairness(Objective):
    """Growth of the utility Σ_k ln R_k, with throughput R_k discounted over ``window`` rounds."""

    def __init__(self, scenario: Scenario, window: float, num_envs: int) -> None:
        self._initial = initial_throughput(scenario, num_envs)
        self.remembered_rounds = window
        self.throughput = self._initial  # (n, K) tokens/s

    @override
    def fields(self) -> dict[str, Array]:
        return {"throughput": self.throughput}

    @override
    def info(self, state: Any, outcome: Any) -> dict[str, Array]:
        return {"throughput": self.throughput.copy()}

    @override
    def reset(self, rows: Rows) -> None:
        self.throughput = replace_rows(self.throughput, rows, self._initial[rows])

    @override
    def reward(self, outcome: Outcome) -> FloatArray:
        previous = self.throughput
        self.throughput = discounted_throughput(previous, outcome, self.remembered_rounds)
        return utility(self.throughput) - utility(previous)

    @override
    def weights(self, outcome: Outcome) -> FloatArray:
        later = discounted_throughput(self.throughput, outcome, self.remembered_rounds)
        return 1.0 / (self.remembered_rounds * later)


@dataclass(frozen=True)
class TokensMinusTime(Objective):
    """(tokens − ρ · duration) / scale, for a round or for a verification without the barrier.

    Its mean is 0 for policies with a rate of ρ tokens/s, and positive for faster ones, however long their steps are. A
    reward of tokens alone would favour long steps.

    Parameters
    ----------
    rho
        Price ρ of a second, in tokens.
    scale
        Number of tokens that gives a reward of 1.
    """

    metric: ClassVar[str] = "token_goodput"
    rho: float
    scale: float

    @override
    def reward(self, outcome: Any) -> FloatArray:
        return (self.tokens(outcome) - self.rho * outcome.duration) / self.scale

    def tokens(self, outcome: Any) -> FloatArray:
        """Return the rewarded tokens (n,)."""
        return outcome.total_tokens


@dataclass(frozen=True)
class TokensInTimeMinusTime(TokensMinusTime):
    """`TokensMinusTime` with the tokens of requests within all limits, counted when the request finishes.

    Parameters
    ----------
    rho, scale
        See `TokensMinusTime`.
    """

    metric: ClassVar[str] = "tokens_in_time"

    @override
    def tokens(self, outcome: ContinuousOutcome) -> FloatArray:
        served = outcome.served
        return np.add.reduce(served.output * served.in_time, -1, dtype=np.float64)


class RequestsInTime(Objective):
    """Number of requests that finished within all limits.

    Time needs no price: except for ``"think"``, arrivals do not depend on decisions.
    """

    metric = "request_goodput"

    @override
    def reward(self, outcome: ContinuousOutcome) -> FloatArray:
        return np.add.reduce(outcome.served.in_time, -1, dtype=np.float64)
