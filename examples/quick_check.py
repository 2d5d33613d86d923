"""A check in seconds whether your own learner climbs above action 0, where an untrained policy starts.

Write your learner in the place of `train`. The environment has two devices, flat observations and actions in [-5, 5];
an episode is one round.
"""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.wrappers import FlattenObservation
from numpy.typing import NDArray
from stable_baselines3 import PPO

import multispin_env  # noqa: F401  (registers the environments)
from multispin_env.wrappers import flat_vector

ENV = "MultiSpin/Heterogeneous-v0"
ARGUMENTS: dict[str, Any] = {"num_users": 2, "action": "shares"}

Array = NDArray[np.float32]


def train(env: gym.Env[Array, Array], timesteps: int) -> Callable[[Array], Array]:
    """Train; return the function from observations (n, numbers) to actions (n, 2, 2)."""
    model = PPO("MlpPolicy", env, n_steps=512, seed=0, device="cpu").learn(timesteps)
    return lambda observation: model.predict(observation, deterministic=True)[0]


def main(timesteps: int = 8_000) -> tuple[float, float]:
    """Return the shares of the optimum in held-out states with action 0 and after training."""
    torch.set_num_threads(1)
    env = FlattenObservation(gym.make(ENV, **ARGUMENTS))
    act = train(env, timesteps)
    measure = flat_vector(gym.make_vec(ENV, **ARGUMENTS))
    zero = measure.share_of_best(lambda observation: np.zeros((len(observation), 4), np.float32))
    share = measure.share_of_best(act)
    verdict = "it learns" if share > zero else "it does not learn: check scales, signs and the learning rate"
    print(f"action 0: {zero:.3f} of the optimum, after {timesteps} rounds: {share:.3f}; {verdict}")
    return zero, share


if __name__ == "__main__":
    main()
