"""What a verification is rewarded for."""

from dataclasses import dataclass
from typing import ClassVar

from multispin_env.arrays import FloatArray


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

    def reward(self, tokens: FloatArray, duration: FloatArray) -> FloatArray:
        """Rewards (n,) of tokens (n,) of all devices and durations (n,) in seconds."""
        return (tokens - self.rho * duration) / self.scale
