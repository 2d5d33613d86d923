"""Steps and calls of ``gymnasium.make`` per CPU-second of two checkouts of this repository, in alternating pairs.

Each checkout has one process, which imports its package. The processes take turns, one at a time; two turns, one of
each, are a pair, and their order alternates. The ratio of a pair is that of NEW over OLD: above 1, NEW is faster.
Medians of ratios are printed, since single turns on a busy machine differ by a third. Episodes are long, so that resets
do not count.
"""

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import gettempdir
from time import process_time
from typing import Any

NO_LIMIT = 10**9
"""Rounds of an episode."""

LONG = {"num_users": 20, "rounds": NO_LIMIT}

SUBJECTS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "vector 256 x 20, shares": ("MultiSpin/Heterogeneous-v0", 256, LONG | {"action": "shares"}),
    "vector 256 x 20, residual": ("MultiSpin/Heterogeneous-v0", 256, LONG | {"action": "residual"}),
    "single, K = 20, residual": ("MultiSpin/Heterogeneous-v0", 1, LONG | {"action": "residual"}),
    "DraftAhead 256 x 20, shares": ("MultiSpin/DraftAhead-v0", 256, LONG | {"action": "shares", "rho": 100.0}),
    "Continuous 256 x 8, plain": ("MultiSpin/Continuous-v0", 256, {"num_users": 8, "action": "plain"}),
    "Continuous single, K = 20, plain": ("MultiSpin/Continuous-v0", 1, {"num_users": 20, "action": "plain"}),
    "Continuous single, K = 20, residual": ("MultiSpin/Continuous-v0", 1, {"num_users": 20}),
    "Serving single, K = 20, residual": ("MultiSpin/Serving-v0", 1, {"num_users": 20}),
    "gym.make, Heterogeneous, K = 20": ("MultiSpin/Heterogeneous-v0", 0, {"num_users": 20}),
    "gym.make, Continuous, K = 20": ("MultiSpin/Continuous-v0", 0, {"num_users": 20}),
}
"""Id, number of environments (1 for ``gymnasium.make``, 0 for making it in place of a step) and arguments."""


OPTIONS = {
    "checkouts": (None, "two folders, the old one first", {"nargs": 2, "type": Path}),
    "pairs": (25, "pairs of turns of each subject"),
    "seconds": 0.2,
}


def make(env_id: str, num_envs: int, arguments: dict[str, Any]) -> Any:
    import gymnasium as gym

    if num_envs < 2:
        return gym.make(env_id, **arguments, disable_env_checker=True, max_episode_steps=NO_LIMIT)
    return gym.make_vec(env_id, num_envs, vectorization_mode="vector_entry_point", **arguments)


def play() -> None:
    """Read the name of a subject and a number of steps from each line; answer with the CPU-seconds."""
    import multispin_env  # noqa: F401  # registers the ids

    made: dict[str, Any] = {}
    for line in sys.stdin:
        name, steps = line.rstrip("\n").split("\t")
        if name not in made:
            env_id, num_envs, arguments = SUBJECTS[name]
            try:
                env = make(env_id, num_envs, arguments)
            except TypeError:  # an older checkout, without the argument ``rounds``
                env = make(env_id, num_envs, {key: part for key, part in arguments.items() if key != "rounds"})
            env.reset(seed=0)
            env.action_space.seed(0)
            made[name] = env, [env.action_space.sample() for _ in range(8)]
        env, actions = made[name]
        env_id, num_envs, arguments = SUBJECTS[name]
        start = process_time()
        for step in range(int(steps)):
            env.step(actions[step % 8]) if num_envs else make(env_id, 0, arguments)
        print(process_time() - start, flush=True)


class Player:
    """Process that imports the package of one checkout and plays."""

    def __init__(self, checkout: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-P", __file__]  # -P: without the folder of this file
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, cwd=gettempdir(), **pipes)

    def rate(self, name: str, steps: int) -> float:
        """Play steps of a subject; return env-steps per CPU-second."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{name}\t{steps}\n")
        self.process.stdin.flush()
        return max(SUBJECTS[name][1], 1) * steps / float(self.process.stdout.readline())


def compare(old: Player, new: Player, options: Namespace) -> Iterator[dict[str, Any]]:
    for name, (_, num_envs, _) in SUBJECTS.items():
        for player in (old, new):
            player.rate(name, 30)
        steps = max(int(options.seconds * new.rate(name, 30) / max(num_envs, 1)), 1)
        pairs = []
        for pair in range(options.pairs):
            turns = {player: player.rate(name, steps) for player in ((old, new) if pair % 2 else (new, old))}
            pairs.append((turns[old], turns[new]))
        ratios = sorted(after / before for before, after in pairs)
        quarter = options.pairs // 4
        yield {
            "env-steps, or calls of gym.make, per CPU-second": name,
            "old": f"{median(before for before, _ in pairs):,.0f}",
            "new": f"{median(after for _, after in pairs):,.0f}",
            "new / old": f"{median(ratios):.3f}",
            "middle half": f"{ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}",
        }


def run(options: Namespace) -> None:
    from benchmarks.tools import show

    with ExitStack() as stack:
        old, new = (Player(checkout) for checkout in options.checkouts)
        for player in (old, new):
            stack.callback(player.process.kill)
        show(f"medians of {options.pairs} pairs", compare(old, new, options))


if __name__ == "__main__":
    play()
