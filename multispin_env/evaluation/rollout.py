"""Whole episodes through ``step()``, of anything that decides."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from multispin_env.controllers.base import Controller
from multispin_env.controllers.factory import make_controller
from multispin_env.envs.single import MultiSpinEnv
from multispin_env.evaluation.scores import Decide


@dataclass(frozen=True)
class Episode:
    """One row of a rollout."""

    seed: int
    rounds: int
    total_reward: float
    mean_goodput: float  # tokens/s, mean over rounds
    throughput: float  # tokens/s, all tokens over all time


def play(env: gym.Env[Any, Any], decide: Decide | str, seeds: Iterable[int]) -> list[Episode]:
    """Play one episode for each seed.

    Parameters
    ----------
    env
        Made by ``gym.make`` from an id of this project, so that episodes end.
    decide
        A controller's name, a controller, or any function from state (K,) to decision (K,).
    seeds
        Each is given to ``env.reset``.

    Returns
    -------
    list[Episode]
        One row an episode.
    """
    base = env.unwrapped
    if not isinstance(base, MultiSpinEnv):
        raise ValueError(f"env: got {type(base).__name__}, allowed is an environment of multispin_env")
    rule: Decide | Controller = make_controller(decide, base.scenario) if isinstance(decide, str) else decide
    return [_episode(env, base, rule, seed) for seed in seeds]


def _episode(env: gym.Env[Any, Any], base: MultiSpinEnv, rule: Decide, seed: int) -> Episode:
    env.reset(seed=seed)
    rewards, goodputs, tokens, time, over = [], [], 0.0, 0.0, False
    while not over:
        _, reward, terminated, truncated, info = env.step(base.encode_action(rule(base.state)))
        over = terminated or truncated
        rewards.append(float(reward))
        goodputs.append(info["goodput"])
        tokens += float(info["accepted_tokens"].sum())
        time += info["round_latency"]
    return Episode(seed, len(rewards), sum(rewards), float(np.mean(goodputs)), tokens / time)
