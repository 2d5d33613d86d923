"""Algorithms of Stable-Baselines3 and sb3-contrib with their defaults, compared with action 0.

Each row is one algorithm in one environment, with the library's defaults, ``MlpPolicy`` and ``FlattenObservation``, or
PPO with `multispin_agents.DevicePolicy`, on one thread. Training ends after the steps of the algorithm or after the CPU
time, whichever comes first. The trained policy, action 0 (where training starts) and the reference then play the same
held-out episodes.
"""

import sys
from argparse import Namespace
from collections.abc import Iterator
from itertools import product
from time import process_time
from typing import Any

import gymnasium as gym
import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from gymnasium.wrappers import FlattenObservation
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from benchmarks.tools import Options, Row, show
from multispin_agents import DevicePolicy, make_vec_env
from multispin_env.envs.config import DEFAULT_SCENARIO
from multispin_env.evaluation.public import compare
from multispin_env.registry import ENVIRONMENTS

OURS = "DevicePolicy"  # PPO with the policy of this package
STEPS = {"PPO": 40_960, "A2C": 40_960, "SAC": 3_000, "TD3": 3_000, "TQC": 3_000, OURS: 40_960}


class TimeLimit(BaseCallback):
    """Callback that ends training after some CPU seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._end = process_time() + seconds

    def _on_step(self) -> bool:
        return process_time() < self._end


def train(algorithm: str, env_id: str, seed: int, seconds: float, **arguments: Any) -> tuple[BaseAlgorithm, float]:
    """Train with the defaults of the library; return the model and the CPU seconds."""
    if algorithm == OURS:
        model: BaseAlgorithm = PPO(DevicePolicy, make_vec_env(env_id, **arguments), seed=seed, device="cpu")
    else:
        kind = getattr(stable_baselines3, algorithm, None) or getattr(sb3_contrib, algorithm)
        model = kind("MlpPolicy", FlattenObservation(gym.make(env_id, **arguments)), seed=seed, device="cpu")
    start = process_time()
    model.learn(STEPS[algorithm], callback=TimeLimit(seconds))
    return model, process_time() - start


def row(env_id: str, users: int, algorithm: str, seed: int, options: Namespace) -> Row:
    rounds = {} if options.rounds is None else {"rounds": options.rounds}
    arguments = {"scenario": options.scenario, "num_users": users, **rounds}
    model, seconds = train(algorithm, env_id, seed, options.seconds, **arguments, reward=options.reward)
    shape = gym.make(env_id, **arguments).action_space.shape or ()
    contenders = {"trained": model, "action 0": lambda seen: np.zeros((len(seen["shared"]), *shape), np.float32)}
    table = compare(env_id, contenders, episodes=options.episodes, **arguments)
    trained, zero = table["trained"], table["action 0"]
    return {
        "environment": env_id.removeprefix("MultiSpin/"),
        "K": users,
        "algorithm": algorithm,
        "seed": seed,
        "steps": model.num_timesteps,
        "CPU s": seconds,
        "metric": table.metric,
        "action 0": zero.mean,
        "trained": trained.mean,
        "trained / action 0": trained.mean / zero.mean,
        "of reference": "" if trained.share is None else f"{trained.share:.4f}",
    }


def rows(options: Namespace) -> Iterator[Row]:
    for setting in product(options.envs, options.users, options.algorithms, range(options.seeds)):
        done = row(*setting, options)
        print(*done.values(), sep="  ", file=sys.stderr, flush=True)  # a row takes minutes
        yield done


OPTIONS: Options = {
    "envs": (list(ENVIRONMENTS.names()), "", {"choices": ENVIRONMENTS.names()}),
    "algorithms": (["PPO"], "", {"choices": STEPS}),
    "users": [8],
    "seconds": (120.0, "maximum CPU time of a training"),
    "reward": (None, "reward to train with (default: that of the environment)"),
    "scenario": DEFAULT_SCENARIO,
    "rounds": (None, "of an episode (default: that of the environment)", {"type": int}),
    "seeds": (3, "trainings of each row"),
    "episodes": 200,
}


def run(options: Namespace) -> None:
    torch.set_num_threads(1)
    show("Learners with library defaults", rows(options))
