"""Whole episodes of many copies at once, of anything that decides."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from multispin_env.arrays import FloatArray
from multispin_env.checks import check_integer, check_name
from multispin_env.envs.vector import MultiSpinVectorEnv
from multispin_env.evaluation.contenders import Contender, deciding, make_contender, native, start
from multispin_env.evaluation.seeds import EPISODE_SEED
from multispin_env.physics.fairness import jain_index, utility
from multispin_env.registry import ENVIRONMENTS
from multispin_env.scenario import Scenario

Progress = Callable[[int, int], None]
"""Called after each round with the rounds played and those of an episode."""


@dataclass(frozen=True, eq=False)
class Episodes:
    """What one contender made of n episodes, one for each copy."""

    rounds: int  # of each episode
    goodput: FloatArray  # (n,) tokens/s, mean over rounds
    throughput: FloatArray  # (n,) tokens/s, all tokens over all time
    returns: FloatArray  # (n,) sum of rewards
    user_throughput: FloatArray  # (n, K) tokens/s, the user's tokens over all time

    @property
    def mean_reward(self) -> FloatArray:
        """Reward a round, (n,)."""
        return self.returns / self.rounds

    @property
    def fairness(self) -> FloatArray:
        """Jain's index of the users' throughputs, (n,)."""
        return jain_index(self.user_throughput)

    @property
    def utility(self) -> FloatArray:
        """Σ_k ln of the users' throughputs in tokens/s, (n,)."""
        return utility(self.user_throughput)


def make_episode_env(
    env_id: str, episodes: int, scenario: Scenario | str, arguments: Mapping[str, Any] | None = None
) -> VectorEnv[Any, Any, Any]:
    """Make the vector environment whose copies are the episodes.

    Parameters
    ----------
    env_id
        One of the registry's.
    episodes
        n ≥ 2.
    scenario
        A preset's name, or a `Scenario`, which some environments take as it is where they would change a preset.
    arguments
        Of the environment.

    Raises
    ------
    ValueError, TypeError
        For an unknown id or argument (the nearest is suggested) or a bad value.
    """
    check_name("env", env_id, ENVIRONMENTS.names())
    check_integer("episodes", episodes, 2)
    given = dict(arguments or {})
    env = gym.make_vec(env_id, num_envs=episodes, vectorization_mode="vector_entry_point", scenario=scenario, **given)
    rounds_of(native(env))
    return env


def play_episodes(
    env: VectorEnv[Any, Any, Any],
    contender: Contender | str,
    seed: int = EPISODE_SEED,
    progress: Progress | None = None,
) -> Episodes:
    """Play one episode in each copy of a vector environment.

    Copies are seeded with ``seed``, ``seed + 1``, ..., and what is random there does not depend on the actions: entry i
    of two results with one seed and one environment is the same episode, so their difference is paired.

    Parameters
    ----------
    env
        From ``gymnasium.make_vec`` with an id of this project, so that all copies truncate after as many rounds.
    contender
        A controller, which gets the true state; a plug-in, which gets what may be observed; an agent, any function from
        observations to actions; or a name for `make_contender`. ``reset()`` of a plug-in or an agent is called first.
    seed
        Of copy 0. Numbers to report come from `EPISODE_SEED` and above it, tuning and training use `TUNING_SEED`.
    progress
        Called after each round.

    Raises
    ------
    ValueError
        For an environment that is not of this project or never ends, or a contender that cannot decide there.
    """
    base = native(env)
    rounds = rounds_of(base)
    chosen = make_contender(contender, env) if isinstance(contender, str) else contender
    decide = deciding(chosen, base)
    start(chosen)
    total = _Total(base.num_envs, base.scenario.num_users)
    observation, _ = env.reset(seed=seed)
    for played in range(1, rounds + 1):
        observation, reward, _, _, info = env.step(decide(observation))
        total.add(reward, info.get("final_info", info))  # there where the environment starts the next episode by itself
        if progress is not None:
            progress(played, rounds)
    return total.episodes(rounds)


def rounds_of(base: MultiSpinVectorEnv) -> int:
    """Rounds of an episode; ``ValueError`` where it never ends."""
    return check_integer("max_episode_steps", base.max_episode_steps, 1)


class _Total:
    """Sums over the rounds so far."""

    def __init__(self, copies: int, users: int) -> None:
        self.goodput = np.zeros(copies)
        self.returns = np.zeros(copies)
        self.time = np.zeros(copies)
        self.tokens = np.zeros((copies, users))

    def add(self, reward: NDArray[Any], info: dict[str, Any]) -> None:
        """Take in one round."""
        self.returns += reward
        self.goodput += info["goodput"]
        self.time += info["round_latency"]
        self.tokens += info["accepted_tokens"]

    def episodes(self, rounds: int) -> Episodes:
        """Turn the sums into means over so many rounds."""
        return Episodes(
            rounds=rounds,
            goodput=self.goodput / rounds,
            throughput=self.tokens.sum(-1) / self.time,
            returns=self.returns,
            user_throughput=self.tokens / self.time[:, None],
        )
