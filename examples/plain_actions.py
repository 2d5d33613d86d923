"""PPO of Stable-Baselines3 with the actions ``"shares"``: its defaults, γ = 0, and scaled actions."""

from collections.abc import Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.wrappers import FlattenObservation, RescaleAction
from stable_baselines3 import PPO

from multispin_env.wrappers import flat_vector

ENV, USERS = "MultiSpin/Heterogeneous-v0", 8

LEARNERS = {
    "defaults, γ = 0.99": (0.99, 1.0),
    "γ = 0": (0.0, 1.0),
    "γ = 0.99, actions scaled by 0.3": (0.99, 0.3),
    "γ = 0, actions scaled by 0.3": (0.0, 0.3),
}
"""Discount γ and scale of the actions, which is their initial standard deviation; the rest are library defaults."""


def share(gamma: float, scale: float, timesteps: int) -> float:
    """Train; return the share of the optimum on held-out states."""
    env: gym.Env[Any, Any] = FlattenObservation(gym.make(ENV, num_users=USERS, action="shares"))
    if scale < 1.0:
        env = RescaleAction(env, np.float32(-1.0 / scale), np.float32(1.0 / scale))
    model = PPO("MlpPolicy", env, gamma=gamma, seed=0, device="cpu").learn(timesteps)
    return flat(scale).share_of_best(lambda seen: model.predict(seen, deterministic=True)[0])


def flat(scale: float) -> Any:
    """Make a vector environment whose wrapper can evaluate policies."""
    return flat_vector(gym.make_vec(ENV, num_users=USERS, action="shares"), scale)


def main(timesteps: int = 50_000, learners: Iterable[str] = LEARNERS) -> dict[str, float]:
    """Train all learners; return their shares of the optimum, and that of action 0, where they start."""
    torch.set_num_threads(1)
    shares = {"action 0 alone": flat(1.0).share_of_best(lambda seen: np.zeros((len(seen), 2 * USERS), np.float32))}
    for name in learners:
        shares[name] = share(*LEARNERS[name], timesteps)
        print(f"{name:30} {shares[name]:.3f} of the optimum", flush=True)
    print(f"{'action 0 alone':30} {shares['action 0 alone']:.3f} of the optimum")
    return shares


if __name__ == "__main__":
    main()
