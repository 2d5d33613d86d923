"""Episodes that contenders play in vector environments, and their statistics."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from multispin_env.arrays import Array, BoolArray, FloatArray, IntArray
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.envs.config import InfoKeys
from multispin_env.envs.observations import Observation
from multispin_env.evaluation.contenders import Contender, action_function, native
from multispin_env.evaluation.statistics import EPISODE_SEED
from multispin_env.physics.rounds import jain_index, utility
from multispin_env.scenario import Scenario

_zeros = partial(np.zeros, ())


@dataclass(eq=False)
class EpisodeStats:
    """Sums over the rounds or verifications of one contender in n cases."""

    rounds: IntArray | int = 0  # (n,)
    tokens: FloatArray = field(default_factory=_zeros)  # (n, K) gained
    drafted: FloatArray = field(default_factory=_zeros)  # (n, K)
    time: FloatArray = field(default_factory=_zeros)  # (n,) s
    returns: FloatArray = field(default_factory=_zeros)  # (n,)
    goodputs: FloatArray | None = None  # (n,) tokens/s, summed over rounds; None if goodput is not averaged over rounds
    episode: dict[str, FloatArray] = field(default_factory=dict)  # (n,) by the names of `InfoKeys.episode`
    joules: FloatArray | None = None  # (n,) of the devices; None if the environment does not report them

    @classmethod
    def of_system(cls, scenario: Scenario, goodputs: FloatArray) -> Self:
        """Return the statistics of one of `SYSTEMS` with goodputs (rounds, n), as rounds of one second."""
        rounds, num_users = len(goodputs), scenario.num_users
        tokens = np.repeat((goodputs / num_users).sum(0)[:, None], num_users, -1)
        seconds = np.full(len(tokens), float(rounds))
        returns = (goodputs / scenario.autoregressive_goodput).sum(0)
        return cls(rounds, tokens, np.zeros_like(tokens), seconds, returns, goodputs.sum(0))

    def add(self, reward: Array, info: Mapping[str, Any], keys: InfoKeys, playing: BoolArray) -> None:
        """Add one round with rewards (n,) and ``info`` to the cases that are ``playing``."""
        self.rounds = self.rounds + playing.astype(np.int64)
        self.tokens = self.tokens + np.where(playing[:, None], info[keys.tokens], 0)
        self.drafted = self.drafted + np.where(playing[:, None], info[keys.drafted], 0)
        self.time = self.time + np.where(playing, info[keys.time], 0)
        self.returns = self.returns + np.where(playing, reward, 0)
        if keys.goodput is not None:
            self.goodputs = np.where(playing, info[keys.goodput], 0) + (0.0 if self.goodputs is None else self.goodputs)
        if "joules" in info:
            spent = np.where(playing, np.add.reduce(info["joules"], -1), 0.0)
            self.joules = spent if self.joules is None else self.joules + spent
        for name in keys.episode:
            self.episode[name] = np.where(playing, info[name], self.episode.get(name, 0.0))

    def episode_values(self, name: str) -> FloatArray:
        """Return a statistic (n,) of whole episodes; ``ValueError`` if the environment does not report it."""
        if name not in self.episode:
            raise ValueError(f"metric: expected a metric that the environment reports, got {name!r}")
        return self.episode[name]

    @property
    def goodput(self) -> FloatArray:
        """Mean goodput of the rounds, (n,) tokens/s, or `throughput` if goodput is not averaged over rounds."""
        return self.throughput if self.goodputs is None else self.goodputs / self.rounds

    @property
    def throughput(self) -> FloatArray:
        """Total tokens divided by total time, (n,) tokens/s."""
        return np.asarray(self.tokens.sum(-1) / self.time)

    @property
    def spent_joules(self) -> FloatArray:
        """Joules of the devices, (n,); ``ValueError`` where the environment does not report them."""
        if self.joules is None:
            raise ValueError("metric: expected joules for 'tokens_per_joule', got none")
        return self.joules

    @property
    def user_throughput(self) -> FloatArray:
        """Tokens of each user divided by total time, (n, K) tokens/s."""
        return self.tokens / self.time[:, None]

    @property
    def mean_reward(self) -> FloatArray:
        """Mean reward of a round, (n,)."""
        return self.returns / self.rounds

    @property
    def round_latency(self) -> FloatArray:
        """Mean time of a round in seconds, (n,)."""
        return self.time / self.rounds

    @property
    def draft_length(self) -> FloatArray:
        """Mean draft length over rounds and users, (n,)."""
        return np.asarray(self.drafted.mean(-1) / self.rounds)

    @property
    def fairness(self) -> FloatArray:
        """Jain's index of the users' throughputs, (n,)."""
        return jain_index(self.user_throughput)

    @property
    def utility(self) -> FloatArray:
        """Σ_k ln(throughput_k) with throughputs in tokens/s, (n,)."""
        return utility(self.user_throughput)


ReportProgress = Callable[[float, float], None]
"""Callback after each step, with the rounds or seconds played and those of a whole episode."""

BeginPart = Callable[[str], ReportProgress | None]
"""Callback with the name of the next contender; returns its progress callback, if any."""


Watch = Callable[[BoolArray], None]
"""Callback after each step, with the mask (n,) of the episodes to which the step belongs."""


def no_progress(name: str) -> None:
    """Return ``None``: progress is not reported."""


def play(
    env: VectorEnv[Any, Any, Any], contender: Contender | str, seed: int | Sequence[int]
) -> Iterator[tuple[FloatArray, BoolArray, dict[str, Any]]]:
    """Play in every environment of a vector without end; yield the rewards (n,), ends (n,) and info of each step.

    The contender's ``reset()``, if any, is called first.
    """
    base = native(env)
    decide = action_function(base.config.contender(contender) if isinstance(contender, str) else contender, base)
    observation, _ = env.reset(seed=seed)  # type: ignore[arg-type]  # or a list of seeds
    while True:
        observation, reward, terminated, truncated, info = env.step(decide(observation))
        yield reward, terminated | truncated, info


def play_episodes(
    env: VectorEnv[Any, Any, Any],
    contender: Contender | str,
    seed: int | Sequence[int] = EPISODE_SEED,
    progress: ReportProgress | None = None,
    watch: Watch | None = None,
) -> EpisodeStats:
    """Play one episode in each environment of a vector; ``ValueError`` unless its autoreset mode is ``NEXT_STEP``.

    Environments are seeded with ``seed``, ``seed + 1``, ..., or a list of seeds, and their random numbers do not depend
    on actions. So entry i of two results with the same seed and environment is from the same episode, and differences
    are paired.

    ``progress`` is called after each step; if episodes have no fixed number of steps, it receives the mean of the
    simulated seconds.
    """
    base = native(env)
    if base.autoreset_mode is not AutoresetMode.NEXT_STEP:
        raise ValueError(f"autoreset_mode: expected 'NextStep', got {base.autoreset_mode.value!r}")
    rounds, seconds = (base.config.arguments.get(name) for name in ("rounds", "horizon"))
    stats, playing = EpisodeStats(), np.ones(base.num_envs, dtype=np.bool_)
    for played, (reward, ended, info) in enumerate(play(env, contender, seed), start=1):
        stats.add(reward, info, base.config.info_keys, playing)
        if progress is not None and rounds is not None:
            progress(played, rounds)
        elif progress is not None and seconds is not None:
            progress(float(np.minimum(stats.time, seconds).mean()), seconds)
        if watch is not None:
            watch(playing)
        playing = playing & ~ended
        if not playing.any():
            break
    return stats


def play_system(
    env: VectorEnv[Any, Any, Any],
    name: str,
    seed: int | Sequence[int] = EPISODE_SEED,
    progress: ReportProgress | None = None,
) -> EpisodeStats:
    """Return the statistics of one of `SYSTEMS` in the states of `play_episodes`.

    ``ValueError`` unless rounds are independent and nothing is hidden.
    """
    base, goodputs = native(env), []
    if not base.config.independent:
        kind = type(base.config).__name__
        raise ValueError(f"system: expected an environment with independent rounds for {name!r}, got {kind}")

    def idle(_: Observation) -> Array:
        goodputs.append(SYSTEMS[name](base.scenario, base.state))
        return np.zeros((base.num_envs, *(base.single_action_space.shape or ())))

    play_episodes(env, idle, seed, progress)
    return EpisodeStats.of_system(base.scenario, np.array(goodputs))
