"""Episodes that contenders play in vector environments, and their statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.checks import check_integer, check_name
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.family import InfoKeys
from multispin_env.evaluation.contenders import Contender, action_function, make_contender, native, reset_contender
from multispin_env.evaluation.statistics import EPISODE_SEED
from multispin_env.physics.rounds import jain_index, utility


@dataclass(eq=False)
class EpisodeStats:
    """Sums over the rounds or verifications of one contender in n cases."""

    rounds: IntArray | int  # (n,)
    tokens: FloatArray  # (n, K) gained
    drafted: FloatArray  # (n, K)
    time: FloatArray  # (n,) s
    returns: FloatArray  # (n,)
    goodputs: FloatArray | None  # (n,) tokens/s, summed over rounds; None if goodput is not averaged over rounds
    episode: dict[str, FloatArray] = field(default_factory=dict)  # (n,) by the names of `InfoKeys.episode`
    joules: FloatArray | float = 0.0  # (n,) of the devices; 0 if the environment does not report them

    @classmethod
    def empty(cls, cases: int, users: int, by_round: bool = True) -> Self:
        """Return the sums before the first round; ``by_round`` is whether goodput is averaged over rounds."""
        per_user, per_case = (cases, users), (cases,)
        rounds, goodputs = np.zeros(per_case, dtype=np.int64), np.zeros(per_case) if by_round else None
        return cls(rounds, np.zeros(per_user), np.zeros(per_user), np.zeros(per_case), np.zeros(per_case), goodputs)

    def add(self, reward: NDArray[Any], info: Mapping[str, Any], keys: InfoKeys, playing: BoolArray) -> None:
        """Add one round with rewards (n,) and ``info`` to the cases that are ``playing``."""
        self.rounds += playing
        self.tokens += np.where(playing[:, None], info[keys.tokens], 0)
        self.drafted += np.where(playing[:, None], info[keys.drafted], 0)
        self.time += np.where(playing, info[keys.time], 0)
        self.returns += np.where(playing, reward, 0)
        if self.goodputs is not None and keys.goodput is not None:
            self.goodputs += np.where(playing, info[keys.goodput], 0)
        if "joules" in info:
            self.joules = self.joules + np.where(playing, np.add.reduce(info["joules"], -1), 0)
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
    def tokens_per_joule(self) -> FloatArray:
        """Total tokens divided by total joules of the devices, (n,); ``ValueError`` if joules are not reported."""
        if not np.any(self.joules):
            raise ValueError("metric: expected joules for 'tokens_per_joule', got none from a contender")
        return np.asarray(self.tokens.sum(-1) / np.maximum(self.joules, 1e-300))

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


def no_progress(name: str) -> None:
    """Return ``None``: progress is not reported."""


def make_episode_env(config: EnvConfig, episodes: int) -> VectorEnv[Any, Any, Any]:
    """Make a vector of environments, one for each of n ≥ 2 episodes."""
    return config.make_vec(check_integer("episodes", episodes, 2))


def play_episodes(
    env: VectorEnv[Any, Any, Any],
    contender: Contender | str,
    seed: int | Sequence[int] = EPISODE_SEED,
    progress: ReportProgress | None = None,
) -> EpisodeStats:
    """Play one episode in each environment of a vector; ``ValueError`` unless its autoreset mode is ``NEXT_STEP``.

    Environments are seeded with ``seed``, ``seed + 1``, ..., or a list of seeds, and their random numbers do not depend
    on actions. So entry i of two results with the same seed and environment is from the same episode, and differences
    are paired.

    The contender's ``reset()``, if any, is called first. ``progress`` is called after each step; if episodes have no
    fixed number of steps, it receives the mean of the simulated seconds.
    """
    base = native(env)
    if base.autoreset_mode is not AutoresetMode.NEXT_STEP:
        raise ValueError(f"autoreset_mode: expected 'NextStep', got {base.autoreset_mode.value!r}")
    rounds, keys = base.config.arguments.get("rounds"), base.config.info_keys
    contender = make_contender(contender, env) if isinstance(contender, str) else contender
    decide = action_function(contender, base)
    reset_contender(contender)
    stats = EpisodeStats.empty(base.num_envs, base.scenario.num_users, keys.goodput is not None)
    observation, _ = env.reset(seed=seed)  # type: ignore[arg-type]  # or a list of seeds
    playing = np.ones(base.num_envs, dtype=bool)
    played = 0
    while playing.any():
        observation, reward, terminated, truncated, info = env.step(decide(observation))
        stats.add(reward, info, keys, playing)
        playing &= ~(terminated | truncated)
        played += 1
        if progress is not None:
            if rounds is not None:
                progress(played, rounds)
            elif (seconds := base.config.arguments.get("horizon")) is not None:
                progress(float(np.minimum(stats.time, seconds).mean()), seconds)
    return stats


def play_system(
    env: VectorEnv[Any, Any, Any],
    name: str,
    seed: int | Sequence[int] = EPISODE_SEED,
    progress: ReportProgress | None = None,
) -> EpisodeStats:
    """Return the statistics of one of `SYSTEMS` in the states of `play_episodes`, with rounds of one second.

    ``ValueError`` unless rounds are independent and nothing is hidden.
    """
    base = native(env)
    check_name("system", name, SYSTEMS)
    if not base.config.independent:
        kind = type(base.config).__name__
        raise ValueError(f"system: expected an environment with independent rounds for {name!r}, got {kind}")
    system, rounds, users = SYSTEMS[name], base.config.arguments["rounds"], base.scenario.num_users
    no_action = np.zeros_like(env.action_space.sample())
    stats, keys = EpisodeStats.empty(base.num_envs, users), base.config.info_keys
    playing = np.ones(base.num_envs, dtype=np.bool_)
    assert keys.goodput is not None  # true for independent rounds
    env.reset(seed=seed)  # type: ignore[arg-type]  # or a list of seeds
    for played in range(1, rounds + 1):
        goodput = system(base.scenario, base.state)
        stats.add(
            goodput / base.scenario.autoregressive_goodput,
            {
                keys.tokens: np.repeat(goodput[:, None] / users, users, -1),
                keys.drafted: np.zeros((base.num_envs, users)),
                keys.time: np.ones(base.num_envs),
                keys.goodput: goodput,
            },
            keys,
            playing,
        )
        env.step(no_action)
        if progress is not None:
            progress(played, rounds)
    return stats
