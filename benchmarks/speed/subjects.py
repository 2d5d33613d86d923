"""Environments whose speed is measured."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.tools import cpu_seconds
from multispin_env.envs.variant import MAX_EPISODE_STEPS

DEFAULT_ID = "MultiSpin/Heterogeneous-v0"
ENCODINGS = ("residual", "shares", "lengths")
PERIOD = MAX_EPISODE_STEPS + 1
"""Calls of `step` from restart to restart; whole periods are timed."""

DRAWN = 8
"""Actions drawn beforehand, played in turn."""

REFERENCE_N, REFERENCE_K = 256, 20

Play = Callable[[int], None]
"""Makes so many calls."""


@dataclass
class Subject:
    """One thing whose speed is measured; each call is worth ``copies`` env-steps."""

    name: str  # "native", "staggered", "sync", "single", "floor", "CartPole", "mobile-env"
    env_id: str
    action: str
    copies: int
    users: int
    play: Play
    turns: list[float] = field(default_factory=list)  # CPU-seconds of an env-step

    @property
    def rate(self) -> float:
        """Env-steps per CPU-second, best turn."""
        return 1.0 / min(self.turns)


def playing(env: Any) -> Play:
    """Calls of an environment; a single one is reset at the end of every episode, a vector does so itself."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(DRAWN)]
    settings = getattr(env.unwrapped, "settings", None)
    if settings is not None and getattr(settings.actions, "drops", False):
        for action in actions:
            action[..., -1] = -1.0  # drops no request, which would leave little to serve
    single = isinstance(env, gym.Env)

    def play(calls: int) -> None:
        for call in range(calls):
            _, _, terminated, truncated, _ = env.step(actions[call % DRAWN])
            if single and (terminated or truncated):
                env.reset()

    return play


def floor(copies: int, users: int) -> Subject:
    """The bare draw of one exponential for each user, without which there is no round of fading."""
    rng = np.random.default_rng(0)

    def play(calls: int) -> None:
        for _ in range(calls):
            rng.standard_exponential((copies, users))

    return Subject("floor", "", "", copies, users, play)


def native(env_id: str, action: str, copies: int, users: int) -> Subject:
    """The native vector, as `gymnasium.make_vec` gives it."""
    env = gym.make_vec(env_id, copies, vectorization_mode="vector_entry_point", action=action, num_users=users)
    return Subject("native", env_id, action, copies, users, playing(env))


def staggered(action: str, copies: int, users: int) -> Subject:
    """The native vector with copies at all rounds of their episodes, so that some restart in every step."""
    env: Any = gym.make_vec(DEFAULT_ID, copies, vectorization_mode="vector_entry_point", action=action, num_users=users)
    play = playing(env)
    for phase in range(min(PERIOD, copies)):
        play(1)
        env.reset(options={"reset_mask": np.arange(copies) % PERIOD == phase})
    return Subject("staggered", DEFAULT_ID, action, copies, users, play)


def sync(action: str, copies: int, users: int) -> Subject:
    """Gymnasium's loop over single environments."""
    env = gym.make_vec(DEFAULT_ID, copies, vectorization_mode="sync", action=action, num_users=users)
    return Subject("sync", DEFAULT_ID, action, copies, users, playing(env))


def single(env_id: str, action: str, users: int) -> Subject:
    """One environment with the default wrappers."""
    return Subject("single", env_id, action, 1, users, playing(gym.make(env_id, action=action, num_users=users)))


def cart_pole(copies: int) -> Subject:
    """Gymnasium's own native vector of a far smaller system."""
    env = gym.make_vec("CartPole-v1", copies, vectorization_mode="vector_entry_point")
    return Subject("CartPole", "CartPole-v1", "", copies, 0, playing(env))


def take_turns(subjects: list[Subject], turns: int, seconds: float) -> None:
    """Time all subjects, one after the other in every turn, which takes ``seconds`` of each or one period."""
    calls = []
    for subject in subjects:
        once = max(cpu_seconds(partial(subject.play, PERIOD)), 1e-6)  # also the first block of numbers
        calls.append(PERIOD * max(1, round(seconds / once)))
    for _ in range(turns):
        for subject, count in zip(subjects, calls, strict=True):
            spent = cpu_seconds(partial(subject.play, count))
            subject.turns.append(spent / (count * subject.copies))
