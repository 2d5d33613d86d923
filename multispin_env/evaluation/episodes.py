"""Episodes of many copies at once, played by anything that decides, and what is counted in them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from multispin_env.arrays import BoolArray, FloatArray, IntArray
from multispin_env.baselines.systems import SYSTEMS
from multispin_env.checks import check_integer, check_name
from multispin_env.envs.base import MultiSpinVectorEnv
from multispin_env.envs.config import EnvConfig
from multispin_env.envs.variant import InfoKeys
from multispin_env.evaluation.contenders import Contender, action_function, make_contender, native, reset_contender
from multispin_env.evaluation.statistics import EPISODE_SEED
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
    return np.where(playing if values.ndim == 1 else playing[:, None], values, 0)


ReportProgress = Callable[[float, float], None]
"""Called after each round with the rounds or seconds that were played, and those of an episode."""

BeginPart = Callable[[str], ReportProgress | None]
"""Called with the name of what plays next; returns what is to be told how far it is."""


def no_progress(name: str) -> None:
    """Begin a part that nobody watches."""


def make_episode_env(config: EnvConfig, episodes: int, **options: Any) -> VectorEnv[Any, Any, Any]:
    """Make the vector environment whose copies are the episodes, n ≥ 2; options as of `EnvConfig.make_vec`."""
    env = config.make_vec(check_integer("episodes", episodes, 2), **options)
    _rounds_of(native(env))
    return env


def play_episodes(
    env: VectorEnv[Any, Any, Any],
    contender: Contender | str,
    seed: int = EPISODE_SEED,
    progress: ReportProgress | None = None,
) -> EpisodeStats:
    """Play one episode in each copy of a vector environment; ``ValueError`` unless copies restart with the next step.

    Copies are seeded with ``seed``, ``seed + 1``, ..., and what is random there does not depend on the actions: entry i
    of two results with one seed and one environment is the same episode, so their difference is paired.

    A contender's ``reset()``, if there is one, is called first. ``progress`` is called after each round; where episodes
    have no number of rounds, with seconds of simulated time, the mean over episodes.
    """
    base = native(env)
    if base.autoreset_mode is not AutoresetMode.NEXT_STEP:
        raise ValueError(f"autoreset_mode: expected 'NextStep', got {base.autoreset_mode.value!r}")
    rounds = _rounds_of(base)
    keys = base.variant.comparison.info
    chosen = make_contender(contender, env) if isinstance(contender, str) else contender
    decide = action_function(chosen, base)
    reset_contender(chosen)
    stats = EpisodeStats.empty(base.num_envs, base.scenario.num_users, keys.goodput is not None)
    observation, _ = env.reset(seed=seed)
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
            elif (seconds := base.variant.comparison.seconds) is not None:
                progress(float(np.minimum(stats.time, seconds).mean()), seconds)
    return stats


def play_system(
    env: VectorEnv[Any, Any, Any], name: str, seed: int = EPISODE_SEED, progress: ReportProgress | None = None
) -> EpisodeStats:
    """What one of `SYSTEMS` gains in the states of the episodes of `play_episodes`, a second in each of them.

    ``ValueError`` for an environment whose rounds depend on what was decided before, or hide something: a system
    decides nothing.
    """
    base = native(env)
    check_name("system", name, SYSTEMS)
    if not base.variant.comparison.states:
        variant = type(base.variant).__name__
        raise ValueError(f"system: expected an environment whose rounds are independent for {name!r}, got {variant}")
    system, rounds, users = SYSTEMS[name], _rounds_of(base), base.scenario.num_users
    assert rounds is not None  # independent rounds never end by themselves
    nothing = np.zeros_like(env.action_space.sample())
    stats, keys = EpisodeStats.empty(base.num_envs, users), base.variant.comparison.info
    everywhere = np.ones(base.num_envs, dtype=np.bool_)
    assert keys.goodput is not None  # so it is of independent rounds
    env.reset(seed=seed)
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
            everywhere,
        )
        env.step(nothing)
        if progress is not None:
            progress(played, rounds)
    return stats


def _rounds_of(base: MultiSpinVectorEnv) -> int | None:
    """Rounds of an episode, ``None`` where it ends by itself; ``ValueError`` where it never ends."""
    if base.max_episode_steps == -1 and base.variant.family.max_episode_steps is None:
        return None
    return check_integer("max_episode_steps", base.max_episode_steps, 1)
