"""Recording of the episodes of a contender, step by step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.comparison import METRICS
from multispin_env.evaluation.contenders import make_contender
from multispin_env.evaluation.episode_stats import EpisodeStats
from multispin_env.evaluation.episodes import play_episodes
from multispin_env.evaluation.policy import Policy

SUMMED = ("batch_size", "start_delay")
"""Entries of ``info`` that are added up over the steps of an episode."""


class Recorder(VectorWrapper):
    """Adds up entries of ``info`` over the first episode of each copy.

    Parameters
    ----------
    env
        Whose copies play one episode each.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self.sums = {name: np.zeros(self.num_envs) for name in (*SUMMED, "timely_tokens")}
        self._playing = np.ones(self.num_envs, dtype=np.bool_)

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play one step in every copy."""
        observation, reward, terminated, truncated, info = super().step(actions)
        for name in SUMMED:
            self.sums[name] += np.where(self._playing, info[name], 0.0)
        if "timely_tokens" in info:
            self.sums["timely_tokens"] += np.where(self._playing, info["timely_tokens"].sum(-1), 0.0)
        self._playing &= ~(terminated | truncated)
        return observation, reward, terminated, truncated, info


@dataclass(frozen=True, eq=False)
class Record:
    """Episodes of one contender, one in each row.

    Parameters
    ----------
    stats
        Tokens, drafts, time and rewards.
    batches
        Drafts in all batches, (n,).
    idle
        Seconds that the server waited for a batch, (n,).
    timely
        Tokens of requests that ended in time, (n,); 0 where requests never end.
    metric
        Name of what the environment compares by.
    """

    stats: EpisodeStats
    batches: FloatArray
    idle: FloatArray
    timely: FloatArray
    metric: str

    @property
    def rate(self) -> FloatArray:
        """Tokens/s, of requests in time where they end, (n,)."""
        return METRICS[self.metric].values(self.stats)

    @property
    def whole_rate(self) -> FloatArray:
        """The same over all the time of an episode, the warm-up too, (n,)."""
        return self.stats.throughput if self.metric == "token_goodput" else self.timely / self.stats.time

    @property
    def habits(self) -> Mapping[str, FloatArray]:
        """Numbers that say how it schedules, (n,) each.

        The least served device and those that get nothing are counted by delivered tokens of the whole episode.
        """
        rates = self.stats.user_throughput
        least, mean = rates.min(-1), rates.mean(-1)
        habits = {
            "rate": self.rate,
            "batch": self.batches / self.stats.rounds,
            "per_second": self.stats.rounds / self.stats.time,
            "idle": self.idle / self.stats.time,
            "draft": self.stats.drafted.sum(-1) / self.batches,
            "least": least,
            "least_of_mean": least / mean,
            "starved": (rates == 0.0).sum(-1).astype(np.float64),
        }
        missed = self.stats.episode.get("share_missed")
        return habits if missed is None else {**habits, "missed": missed}


def record(episodes: Episodes, contender: Policy | str) -> Record:
    """Play every episode and keep what happened.

    Parameters
    ----------
    episodes
        Of an environment without the barrier.
    contender
        A policy, or the name of a rule.

    Raises
    ------
    ValueError
        For an unknown name, or a policy that can't decide there.
    """
    chosen = make_contender(contender, episodes.env()) if isinstance(contender, str) else contender
    env = Recorder(episodes.env_for(chosen))
    stats = play_episodes(env, chosen, episodes.seed)
    sums = env.sums
    return Record(stats, sums["batch_size"], sums["start_delay"], sums["timely_tokens"], episodes.metric)
