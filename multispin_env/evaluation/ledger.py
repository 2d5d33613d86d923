"""What contenders earned: tokens, time and rewards of n cases, round after round."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.physics.fairness import jain_index, utility


@dataclass(eq=False)
class Ledger:
    """Sums over the rounds that one contender has played in n cases, one case in each row.

    Parameters
    ----------
    rounds
        Rounds so far, the same in every case.
    tokens
        Accepted tokens, (n, K).
    drafted
        Drafted tokens, (n, K).
    time
        Seconds, (n,).
    returns
        Rewards, (n,).
    goodputs
        Goodput of each round in tokens/s, (n,).
    """

    rounds: int
    tokens: FloatArray
    drafted: FloatArray
    time: FloatArray
    returns: FloatArray
    goodputs: FloatArray

    @classmethod
    def empty(cls, cases: int, users: int) -> Self:
        """Before the first round."""
        per_user, per_case = (cases, users), (cases,)
        return cls(0, np.zeros(per_user), np.zeros(per_user), *(np.zeros(per_case) for _ in range(3)))

    def add(self, reward: NDArray[Any], info: dict[str, Any]) -> None:
        """Take in one round: its rewards (n,), and what ``info`` of the environment tells of it."""
        self.rounds += 1
        self.tokens += info["accepted_tokens"]
        self.drafted += info["draft_length"]
        self.time += info["round_latency"]
        self.returns += reward
        self.goodputs += info["goodput"]

    @property
    def goodput(self) -> FloatArray:
        """Mean over rounds of each round's goodput, (n,) tokens/s."""
        return self.goodputs / self.rounds

    @property
    def throughput(self) -> FloatArray:
        """All tokens over all time, (n,) tokens/s."""
        total: FloatArray = self.tokens.sum(-1) / self.time
        return total

    @property
    def user_throughput(self) -> FloatArray:
        """Each user's tokens over all time, (n, K) tokens/s."""
        return self.tokens / self.time[:, None]

    @property
    def mean_reward(self) -> FloatArray:
        """Reward a round, (n,)."""
        return self.returns / self.rounds

    @property
    def round_latency(self) -> FloatArray:
        """Mean time of a round in seconds, (n,)."""
        return self.time / self.rounds

    @property
    def draft_length(self) -> FloatArray:
        """Mean draft length over rounds and users, (n,)."""
        mean: FloatArray = self.drafted.mean(-1) / self.rounds
        return mean

    @property
    def fairness(self) -> FloatArray:
        """Jain's index of the users' throughputs, (n,)."""
        return jain_index(self.user_throughput)

    @property
    def utility(self) -> FloatArray:
        """Σ_k ln of the users' throughputs in tokens/s, (n,)."""
        return utility(self.user_throughput)
