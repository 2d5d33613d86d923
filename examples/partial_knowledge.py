"""Partial knowledge: acceptance rates are hidden, and the closed form uses estimates of them."""

from typing import Any

import gymnasium as gym
import numpy as np

import multispin_env as ms


def main(episodes: int = 50) -> dict[str, float]:
    """Play the same episodes with three estimators and with the true rates; return mean goodputs in tokens/s."""
    envs = gym.make_vec(
        "MultiSpin/HiddenAcceptance-v0",
        num_envs=episodes,
        vectorization_mode="vector_entry_point",
        scenario="llama2",
        num_users=8,
        spread=0.2,
    )
    inner: Any = envs.unwrapped
    means = {}
    for name in ("task-mean", "beta", "filter", "clairvoyant"):
        observation, _ = envs.reset(seed=0)  # the same episodes for all: random numbers do not depend on actions
        controller = ms.make_controller(f"optimal+{name}", inner.scenario, inner.assumptions)
        goodputs = []
        for _ in range(64):
            knows = name == "clairvoyant"  # the true rates, which agents do not observe
            decision = controller(inner.state if knows else inner.decode_observation(observation))
            observation, _, _, _, info = envs.step(inner.encode_action(decision))
            goodputs.append(info["goodput"].mean())
        means[name] = float(np.mean(goodputs))
        print(f"optimal+{name}: {means[name]:.2f} tokens/s")
    return means


if __name__ == "__main__":
    main()
