"""An environment of your own: a reward for the slowest user, and an id that gym.make and the comparison know."""

from dataclasses import dataclass, replace

import gymnasium as gym
import numpy as np

import multispin_env as ms
from multispin_env.arrays import FloatArray
from multispin_env.envs.objectives import Objective
from multispin_env.envs.rounds.variant import RoundsVariant
from multispin_env.envs.settings import Comparison
from multispin_env.evaluation.cases.base import listed
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.comparison import Row


class SlowestUser(Objective):
    """Tokens per second of the user who gains the fewest in the round."""

    metric = "return"

    def reward(self, outcome: ms.Outcome) -> FloatArray:
        """Take in a round; returns its reward, (n,)."""
        return self.rates(outcome).min(-1)

    def weights(self, outcome: ms.Outcome) -> FloatArray:
        """Derivatives by the users' rates, (n, K): 1 for the slowest."""
        rates = self.rates(outcome)
        return (np.arange(rates.shape[-1]) == rates.argmin(-1)[:, None]).astype(np.float64)

    @staticmethod
    def rates(outcome: ms.Outcome) -> FloatArray:
        """N_k / T_e2e, (n, K)."""
        return outcome.tokens / outcome.round_latency[..., None]


@dataclass(frozen=True, kw_only=True)
class Slowest(RoundsVariant):
    """As `MultiSpin/Heterogeneous-v0`, but the reward is the rate of the slowest user."""

    @property
    def comparison(self) -> Comparison:
        """Whole episodes; no optimum is known."""
        names = ("optimal", "homogeneous", "uniform-bandwidth", "fixed")
        return replace(super().comparison, contenders=names, optimum=None, states=False)

    def objective(self, scenario: ms.Scenario, num_copies: int) -> Objective:
        """The slowest user's rate."""
        return SlowestUser()


def main() -> list[Row]:
    """Register it, play it as a single environment, and compare controllers in it."""
    ms.register_environment("Mine/Slowest-v0", Slowest)
    try:
        env = gym.make("Mine/Slowest-v0", num_users=4)
        env.reset(seed=0)
        _, reward, *_ = env.step(env.action_space.sample())
        print(f"reward of a random action: {reward:.2f} tokens/s")
        episodes = Episodes("Mine/Slowest-v0", 20, "llama2", {"num_users": 4})
        rows = episodes.table(listed(episodes))
        for row in rows:
            print(f"{row.name:18} {row.mean:.1f}")
        return rows
    finally:
        ms.unregister_environment("Mine/Slowest-v0")


if __name__ == "__main__":
    main()
