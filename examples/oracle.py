"""The oracle (optimal controller) acts through ``step()`` like any agent: its regret is 0."""

from typing import Any

import gymnasium as gym

import multispin_env as ms


def main() -> float:
    """Play one episode; return the largest relative regret."""
    env = gym.make("MultiSpin/Heterogeneous-v0", scenario="llama2", num_users=8, optimum=True)
    base: Any = env.unwrapped
    controller = ms.oracle(base.scenario)
    env.reset(seed=0)
    regrets, goodputs, over = [], [], False
    while not over:
        action = base.encode_action(controller(base.state))
        _, _, terminated, truncated, info = env.step(action)
        goodputs.append(info["goodput"])
        regrets.append(abs(info["regret"]) / info["optimal_goodput"])
        over = terminated or truncated
    print(f"optimum: {sum(goodputs) / len(goodputs):.1f} tokens/s, largest relative regret {max(regrets):.1e}")
    return max(regrets)


if __name__ == "__main__":
    main()
