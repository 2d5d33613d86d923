"""Pictures a second of one core: ``python -m benchmarks.rendering``; docs/watch.md holds what was measured."""

import argparse
from time import process_time
from typing import Any

import gymnasium as gym

import multispin_env  # noqa: F401  (registers the environments)

USERS = (8, 20)
ENV = "MultiSpin/Heterogeneous-v0"


def pictures_a_second(users: int, rounds: int) -> float:
    """Play some rounds and draw each; CPU time of the drawing alone, after a first picture."""
    env: Any = gym.make(ENV, num_users=users, render_mode="rgb_array")
    env.reset(seed=0)
    env.action_space.seed(0)
    env.render()
    spent = 0.0
    for _ in range(rounds):
        env.step(env.action_space.sample())
        start = process_time()
        env.render()
        spent += process_time() - start
    return rounds / spent


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="pictures of each (default 60, at most an episode's 64)")
    rounds = parser.parse_args().rounds
    for users in USERS:
        print(f"K = {users}: {pictures_a_second(users, rounds):.0f} pictures/s")


if __name__ == "__main__":
    main()
