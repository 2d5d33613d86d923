"""Environments whose speed is measured."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.tools import cpu_seconds
from multispin_env.registry import ENVIRONMENTS

DEFAULT_ID = "MultiSpin/Heterogeneous-v0"
ENCODINGS = ("residual", "shares", "lengths")
ROUNDS = 64
PERIOD = ROUNDS + 1
"""Calls of `step` from reset to reset; whole periods are timed."""

DRAWN = 8
"""Actions drawn beforehand, played in turn."""

REFERENCE_N, REFERENCE_K = 256, 20

Play = Callable[[int], None]
"""Function that makes a number of calls."""


@dataclass
class Subject:
    """Subject of a measurement; each call has ``num_envs`` env-steps."""

    name: str  # "native", "staggered", "sync", "single", "floor", "CartPole", "mobile-env"
    env_id: str
    action: str
    num_envs: int
    users: int
    play: Play
    turns: list[float] = field(default_factory=list)  # CPU-seconds of an env-step

    @property
    def rate(self) -> float:
        """Env-steps per CPU-second of the best turn."""
        return 1.0 / min(self.turns)


def playing(env: Any) -> Play:
    """Return a function that steps an environment, and resets single ones at the end of every episode."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(DRAWN)]
    config = getattr(env.unwrapped, "config", None)
    if config is not None and getattr(config.actions, "drops", False):
        for action in actions:
            action[..., -1] = -1.0  # drops no request, so that the load stays
    single = isinstance(env, gym.Env)

    def play(calls: int) -> None:
        for call in range(calls):
            _, _, terminated, truncated, _ = env.step(actions[call % DRAWN])
            if single and (terminated or truncated):
                env.reset()

    return play


def floor(num_envs: int, users: int) -> Subject:
    """Make the floor: the draw of one exponential for each user, which any round of fading needs."""
    rng = np.random.default_rng(0)

    def play(calls: int) -> None:
        for _ in range(calls):
            rng.standard_exponential((num_envs, users))

    return Subject("floor", "", "", num_envs, users, play)


def subject(name: str, env_id: str, action: str, num_envs: int, users: int) -> Subject:
    """Make a ``"single"`` environment, Gymnasium's ``"sync"`` vector of them, or the ``"native"`` vector.

    In a ``"staggered"`` native vector, environments are at different rounds, so that some are reset in every step. An
    episode of rounds has `ROUNDS`.
    """
    rounds = {"rounds": ROUNDS} if "rounds" in ENVIRONMENTS.load(env_id).own_fields() else {}
    options: Any = {"action": action, "num_users": users, **rounds}
    mode: Any = "sync" if name == "sync" else "vector_entry_point"
    single = name == "single"
    env: Any = gym.make(env_id, **options) if single else gym.make_vec(env_id, num_envs, mode, **options)
    play = playing(env)
    for phase in range(min(PERIOD, num_envs) if name == "staggered" else 0):
        play(1)
        env.reset(options={"reset_mask": np.arange(num_envs) % PERIOD == phase})
    return Subject(name, env_id, action, num_envs, users, play)


def cart_pole(num_envs: int) -> Subject:
    """Make Gymnasium's native vector of CartPole, a far smaller system."""
    env = gym.make_vec("CartPole-v1", num_envs, vectorization_mode="vector_entry_point")
    return Subject("CartPole", "CartPole-v1", "", num_envs, 0, playing(env))


def take_turns(subjects: list[Subject], turns: int, seconds: float) -> None:
    """Time all subjects in turns, each for ``seconds`` or one period."""
    calls = []
    for subject in subjects:
        once = max(cpu_seconds(partial(subject.play, PERIOD)), 1e-6)  # with the first block of random numbers
        calls.append(PERIOD * max(1, round(seconds / once)))
    for _ in range(turns):
        for subject, count in zip(subjects, calls, strict=True):
            spent = cpu_seconds(partial(subject.play, count))
            subject.turns.append(spent / (count * subject.num_envs))
