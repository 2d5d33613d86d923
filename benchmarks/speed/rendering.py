"""Pictures per second on one core, drawing alone, after a first picture."""

from argparse import Namespace
from typing import Any

import gymnasium as gym

from benchmarks.speed.subjects import DEFAULT_ID
from benchmarks.tools import Options, cpu_seconds, show

OPTIONS: Options = {"rounds": (60, "pictures of each")}


def pictures_a_second(users: int, rounds: int) -> float:
    env: Any = gym.make(DEFAULT_ID, num_users=users, rounds=rounds, render_mode="rgb_array")
    env.reset(seed=0)
    env.action_space.seed(0)
    env.render()
    spent = 0.0
    for _ in range(rounds):
        env.step(env.action_space.sample())
        spent += cpu_seconds(env.render)
    return rounds / spent


def run(options: Namespace) -> None:
    show("drawing", ({"K": str(users), "pictures/s": pictures_a_second(users, options.rounds)} for users in (8, 20)))
