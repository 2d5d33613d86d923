"""Subjects of the measurement: everything of one group takes turns."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from time import process_time
from typing import Any

import gymnasium as gym
import numpy as np

from multispin_env.envs.settings import MAX_EPISODE_STEPS
from multispin_env.registry import ENVIRONMENTS

DEFAULT_ID = "MultiSpin/Heterogeneous-v0"
ENCODINGS = ("residual", "shares", "lengths")
PERIOD = MAX_EPISODE_STEPS + 1
"""Calls of `step` from restart to restart; whole periods are timed."""

DRAWN = 8
"""Actions drawn beforehand, played in turn."""

REFERENCE_N, REFERENCE_K = 256, 20

WITHOUT_BARRIER = "MultiSpin/Continuous-v0"
SERVING = "MultiSpin/Serving-v0"
PLAYED = {WITHOUT_BARRIER: "plain", SERVING: "plain"}
"""Encodings where residuals are those of a rule that takes its own time."""

FEW = 8
"""Users of the target without the barrier."""

Play = Callable[[int], None]


@dataclass(frozen=True)
class Grid:
    """What is measured."""

    copies: tuple[int, ...] = (1, 16, 256, 4096)
    users: tuple[int, ...] = (8, 20, 100)
    most_sync: int = 256
    turns: int = 5
    seconds: float = 0.15  # of a turn, unless one period takes longer


QUICK = Grid((1, 16, 256), (20,), most_sync=16, turns=2, seconds=0.02)


@dataclass
class Subject:
    """One thing whose speed is measured; ``play(calls)`` makes so many calls, each worth ``copies`` env-steps."""

    name: str  # "native", "sync", "single", "floor", "CartPole", "mobile-env"
    env_id: str
    action: str
    copies: int
    users: int
    play: Play = field(repr=False)
    turns: list[float] = field(default_factory=list)  # CPU-seconds of an env-step

    @property
    def rate(self) -> float:
        """Env-steps per CPU-second, best turn."""
        return 1.0 / min(self.turns)


def drawn_actions(env: Any) -> list[Any]:
    """Random actions; where they can drop requests, they don't, since it would leave little to serve."""
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(DRAWN)]
    settings = getattr(env.unwrapped, "settings", None)
    if settings is not None and getattr(settings.actions, "drops", False):
        for action in actions:
            action[..., -1] = -1.0
    return actions


def play_vector(env: Any) -> Play:
    """Calls of a vector environment that restarts its copies itself."""
    env.reset(seed=0)
    actions = drawn_actions(env)

    def play(calls: int) -> None:
        for call in range(calls):
            env.step(actions[call % DRAWN])

    return play


def play_single(env: Any) -> Play:
    """Calls of a single environment, reset at the end of every episode."""
    env.reset(seed=0)
    actions = drawn_actions(env)

    def play(calls: int) -> None:
        for call in range(calls):
            _, _, terminated, truncated, _ = env.step(actions[call % DRAWN])
            if terminated or truncated:
                env.reset()

    return play


def play_floor(copies: int, users: int) -> Play:
    """The bare fading draw."""
    rng = np.random.default_rng(0)

    def play(calls: int) -> None:
        for _ in range(calls):
            rng.standard_exponential((copies, users))

    return play


def native(env_id: str, action: str, copies: int, users: int) -> Subject:
    """The native vector, as `gymnasium.make_vec` gives it."""
    env = gym.make_vec(env_id, copies, vectorization_mode="vector_entry_point", action=action, num_users=users)
    return Subject("native", env_id, action, copies, users, play_vector(env))


def staggered(env_id: str, action: str, copies: int, users: int) -> Subject:
    """The native vector with copies at all rounds of their episodes, so that some restart in every step."""
    env: Any = gym.make_vec(env_id, copies, vectorization_mode="vector_entry_point", action=action, num_users=users)
    play = play_vector(env)
    for phase in range(min(PERIOD, copies)):
        play(1)
        env.reset(options={"reset_mask": np.arange(copies) % PERIOD == phase})
    return Subject("staggered", env_id, action, copies, users, play)


def sync(env_id: str, action: str, copies: int, users: int) -> Subject:
    """Gymnasium's loop over single environments."""
    env = gym.make_vec(env_id, copies, vectorization_mode="sync", action=action, num_users=users)
    return Subject("sync", env_id, action, copies, users, play_vector(env))


def single(env_id: str, action: str, users: int) -> Subject:
    """One environment with the default wrappers."""
    return Subject("single", env_id, action, 1, users, play_single(gym.make(env_id, action=action, num_users=users)))


def cart_pole(copies: int) -> Subject:
    """Gymnasium's own native vector of a far smaller system."""
    env = gym.make_vec("CartPole-v1", copies, vectorization_mode="vector_entry_point")
    return Subject("CartPole", "CartPole-v1", "", copies, 0, play_vector(env))


def mobile_env() -> list[Subject]:
    """The small scenario of mobile-env (5 users, 3 stations), where it is installed."""
    try:
        import_module("mobile_env")
    except ImportError:
        return []
    env_id = "mobile-small-central-v0"
    return [Subject("mobile-env", env_id, "", 1, 5, play_single(gym.make(env_id)))]


def groups(grid: Grid) -> Iterator[Callable[[], list[Subject]]]:
    """What takes turns together: everything of one N and K; other ids; other packages."""
    for copies in grid.copies:
        yield lambda copies=copies: [cart_pole(copies)]  # type: ignore[misc]
        for users in grid.users:

            def compared(copies: int = copies, users: int = users) -> list[Subject]:
                subjects = [Subject("floor", "", "", copies, users, play_floor(copies, users))]
                for action in ENCODINGS:
                    subjects.append(native(DEFAULT_ID, action, copies, users))
                    if copies == REFERENCE_N:
                        subjects.append(staggered(DEFAULT_ID, action, copies, users))
                    if copies <= grid.most_sync:
                        subjects.append(sync(DEFAULT_ID, action, copies, users))
                    if copies == 1:
                        subjects.append(single(DEFAULT_ID, action, users))
                return subjects

            yield compared
    others = [env_id for env_id in ENVIRONMENTS.names() if env_id != DEFAULT_ID]
    yield lambda: [
        subject
        for env_id in others
        for subject in (
            native(env_id, PLAYED.get(env_id, "residual"), REFERENCE_N, REFERENCE_K),
            single(env_id, PLAYED.get(env_id, "residual"), REFERENCE_K),
        )
    ]
    yield lambda: [native(env_id, PLAYED[env_id], REFERENCE_N, FEW) for env_id in (WITHOUT_BARRIER, SERVING)]
    yield mobile_env


def seconds_of(play: Play, calls: int) -> float:
    """CPU time of so many calls."""
    start = process_time()
    play(calls)
    return process_time() - start


def time_in_turns(subjects: list[Subject], grid: Grid) -> None:
    """Fill ``turns`` of these subjects, one after the other in every turn."""
    calls = []
    for subject in subjects:
        once = max(seconds_of(subject.play, PERIOD), 1e-6)  # also the first block of random numbers
        calls.append(PERIOD * max(1, round(grid.seconds / once)))
    for _ in range(grid.turns):
        for subject, count in zip(subjects, calls, strict=True):
            subject.turns.append(seconds_of(subject.play, count) / (count * subject.copies))


def measure(grid: Grid) -> list[Subject]:
    """Everything of the grid."""
    done: list[Subject] = []
    todo = list(groups(grid))
    for index, make in enumerate(todo):
        print(f"\r{index + 1}/{len(todo)} groups", end="", file=sys.stderr, flush=True)
        subjects = make()
        time_in_turns(subjects, grid)
        done += subjects
    print(file=sys.stderr)
    return done
