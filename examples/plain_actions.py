"""PPO of Stable-Baselines3 with the actions ``"shares"``, with its defaults and with γ = 0."""

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.wrappers import FlattenObservation
from stable_baselines3 import PPO

from multispin_env.wrappers import flat_vector

ENV, USERS = "MultiSpin/Heterogeneous-v0", 8

LEARNERS = {"defaults, γ = 0.99": 0.99, "γ = 0": 0.0}
"""Discount γ; the rest are library defaults."""


def share(gamma: float, timesteps: int) -> float:
    """Train; return the share of the optimum on held-out states."""
    env = FlattenObservation(gym.make(ENV, num_users=USERS, action="shares"))
    model = PPO("MlpPolicy", env, gamma=gamma, seed=0, device="cpu").learn(timesteps)
    return flat().share_of_best(lambda seen: model.predict(seen, deterministic=True)[0])


def flat() -> Any:
    """Make a vector environment whose wrapper can evaluate policies."""
    return flat_vector(gym.make_vec(ENV, num_users=USERS, action="shares"))


def main(timesteps: int = 50_000, learners: Iterable[str] = LEARNERS) -> dict[str, float]:
    """Train all learners; return their shares of the optimum, and that of action 0, where they start."""
    torch.set_num_threads(1)
    shares = {"action 0 alone": flat().share_of_best(lambda seen: np.zeros((len(seen), 2 * USERS), np.float32))}
    for name in learners:
        shares[name] = share(LEARNERS[name], timesteps)
        print(f"{name:30} {shares[name]:.3f} of the optimum", flush=True)
    print(f"{'action 0 alone':30} {shares['action 0 alone']:.3f} of the optimum")
    return shares


if __name__ == "__main__":
    main()
