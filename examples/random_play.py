"""Random actions: the shortest loop of an episode."""

import gymnasium as gym

import multispin_env  # noqa: F401  (registers the environments)


def main() -> float:
    """Play one episode of random actions; return its mean goodput in tokens/s."""
    env = gym.make("MultiSpin/Heterogeneous-v0", scenario="llama2", num_users=8)
    env.action_space.seed(0)
    _, info = env.reset(seed=0)
    goodputs, over = [], False
    while not over:
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        goodputs.append(info["goodput"])
        over = terminated or truncated
    mean = sum(goodputs) / len(goodputs)
    print(f"random actions: {mean:.1f} tokens/s over {len(goodputs)} rounds")
    return mean


if __name__ == "__main__":
    main()
