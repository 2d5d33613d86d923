"""A custom environment with a reward for the slowest user, and its own id for gym.make and comparisons."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import multispin_env as ms


class SlowestUser(ms.Objective):
    """Tokens per second of the slowest user in the round."""

    metric = "return"

    def reward(self, outcome: ms.Outcome) -> NDArray[np.float64]:
        """Return the reward (n,) of a round."""
        return self.rates(outcome).min(-1)

    def weights(self, outcome: ms.Outcome) -> NDArray[np.float64]:
        """Return derivatives (n, K) with respect to the users' rates: 1 for the slowest user."""
        rates = self.rates(outcome)
        return (np.arange(rates.shape[-1]) == rates.argmin(-1)[:, None]).astype(np.float64)

    @staticmethod
    def rates(outcome: ms.Outcome) -> NDArray[np.float64]:
        """Return N_k / T_e2e, (n, K)."""
        return outcome.tokens / outcome.round_latency[..., None]


@dataclass(frozen=True, kw_only=True)
class Slowest(ms.RoundsConfig):
    """`MultiSpin/Heterogeneous-v0` with the rate of the slowest user as reward."""

    env_id = "Mine/Slowest-v0"
    optimal = None  # no optimum is known, so contenders are compared in whole episodes
    independent = False
    contenders = ("optimal", "homogeneous", "uniform-bandwidth", "fixed")

    def objective(self, num_envs: int) -> ms.Objective:
        """Make the objective."""
        return SlowestUser()


ms.register_environment(Slowest)


def main() -> ms.evaluation.ComparisonTable:
    """Play one step in the environment, and compare controllers in it."""
    env = gym.make("Mine/Slowest-v0", num_users=4)
    env.reset(seed=0)
    _, reward, *_ = env.step(env.action_space.sample())
    print(f"reward of a random action: {reward:.2f} tokens/s")
    table = ms.compare("Mine/Slowest-v0", num_users=4, episodes=20)
    print(table)
    return table


if __name__ == "__main__":
    main()
