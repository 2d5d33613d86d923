"""Statistics of episodes: tokens, time and rewards of n cases, round after round."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.envs.settings import InfoKeys
from multispin_env.physics.rounds import jain_index, utility


@dataclass(eq=False)
class EpisodeStats:
    """Sums over the rounds that one contender has played in n cases, one case in each row."""

    rounds: IntArray | int  # (n,)
    tokens: FloatArray  # (n, K) accepted
    drafted: FloatArray  # (n, K)
    time: FloatArray  # (n,) s
    returns: FloatArray  # (n,)
    goodputs: FloatArray | None  # (n,) tokens/s, summed over rounds; None where these are not what is to be averaged
    episode: dict[str, FloatArray] = field(default_factory=dict)  # (n,) as `InfoKeys.episode` names them

    @classmethod
    def empty(cls, cases: int, users: int, by_round: bool = True) -> Self:
        """Before the first round; ``by_round`` says whether goodput is that of rounds."""
        per_user, per_case = (cases, users), (cases,)
        rounds, goodputs = np.zeros(per_case, dtype=np.int64), np.zeros(per_case) if by_round else None
        return cls(rounds, np.zeros(per_user), np.zeros(per_user), np.zeros(per_case), np.zeros(per_case), goodputs)

    def add(self, reward: NDArray[Any], info: Mapping[str, Any], keys: InfoKeys, playing: BoolArray) -> None:
        """Take in one round: its rewards (n,), and what ``info`` tells of it; only of cases that are ``playing``."""
        self.rounds += playing
        self.tokens += _of(playing, info[keys.tokens])
        self.drafted += _of(playing, info[keys.drafted])
        self.time += _of(playing, info[keys.time])
        self.returns += _of(playing, reward)
        if self.goodputs is not None and keys.goodput is not None:
            self.goodputs += _of(playing, info[keys.goodput])
        for name in keys.episode:
            self.episode[name] = np.where(playing, info[name], self.episode.get(name, 0.0))

    def episode_values(self, name: str) -> FloatArray:
        """What the environment tells of whole episodes, (n,); ``ValueError`` for what it does not tell."""
        if name not in self.episode:
            raise ValueError(f"metric: expected one of an environment that tells of it, got {name!r}")
        return self.episode[name]

    @property
    def goodput(self) -> FloatArray:
        """Mean over rounds of each round's goodput, (n,) tokens/s; where that says nothing, `throughput`."""
        return self.throughput if self.goodputs is None else self.goodputs / self.rounds

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


def _of(playing: BoolArray, values: NDArray[Any]) -> NDArray[Any]:
    """Values (n,) or (n, K) with 0 where nobody plays any more."""
    return np.where(playing if values.ndim == 1 else playing[:, None], values, 0)
