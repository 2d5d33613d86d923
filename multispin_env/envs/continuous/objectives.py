"""What a verification is rewarded for."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.envs.engine import Aim
from multispin_env.physics.continuous.types import ContinuousOutcome


class PassageAim(Aim, Protocol):
    """What an engine without the barrier needs of an objective."""

    def reward(self, outcome: ContinuousOutcome) -> FloatArray:
        """Rewards (n,) of a step (n, K)."""
        ...


@dataclass(frozen=True)
class TokensMinusTime:
    """(tokens − ρ · duration) / scale.

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
    remembered_rounds: ClassVar[float] = 1.0
    rho: float
    scale: float

    def reward(self, outcome: ContinuousOutcome) -> FloatArray:
        """Rewards (n,) of the tokens of all devices, and of time."""
        return (self.tokens(outcome) - self.rho * outcome.duration) / self.scale

    def tokens(self, outcome: ContinuousOutcome) -> FloatArray:
        """Tokens (n,) that count."""
        total: FloatArray = np.add.reduce(outcome.tokens, -1)
        return total


@dataclass(frozen=True)
class TokensInTimeMinusTime(TokensMinusTime):
    """The same with the tokens of requests that were within all limits; they count when their request finishes."""

    metric: ClassVar[str] = "tokens_in_time"

    def tokens(self, outcome: ContinuousOutcome) -> FloatArray:
        """Tokens (n,) of requests that finished in time."""
        served = outcome.served
        total: FloatArray = np.add.reduce(served.output * served.in_time, -1, dtype=np.float64)
        return total


@dataclass(frozen=True)
class RequestsInTime:
    """Requests that finished within all limits, over scale.

    How many come in an episode does not depend on what is decided, so that time needs no price.

    Parameters
    ----------
    scale
        Requests that count as one.
    """

    metric: ClassVar[str] = "request_goodput"
    remembered_rounds: ClassVar[float] = 1.0
    scale: float

    def reward(self, outcome: ContinuousOutcome) -> FloatArray:
        """Rewards (n,)."""
        served = outcome.served
        return np.add.reduce(served.in_time, -1, dtype=np.float64) / self.scale
