"""A custom environment with a reward for the slowest user, its own id, and the controller that is best in it."""

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
    optimal = None  # that of goodput is not the optimum, so contenders are compared in whole episodes
    independent = False
    rounds: int = 1
    contenders = ("optimal", "homogeneous", "uniform-bandwidth", "fixed")

    def objective(self, num_envs: int) -> ms.Objective:
        """Make the objective."""
        return SlowestUser()


ms.register_environment(Slowest)


@dataclass(frozen=True, eq=False)
class Evenly(ms.RoundsController):
    """Best decision for the slowest user.

    In the best decision the slowest user gains some E[N], which one of the lengths of one of the devices yields.
    Shortening every draft to the least length that yields as much does not lengthen the round, and with the bandwidth
    of equal latency no round with these lengths is shorter. So one of these candidates is best.
    """

    def decide(self, state: ms.SystemState) -> ms.Decision:
        """Return the best candidate."""
        shape, low, high = state.draft_time.shape, self.scenario.min_draft_length, self.scenario.max_draft_length
        decisions = [self.with_equal_bandwidth(np.full(shape, length)) for length in range(low, high + 1)]
        tokens = np.stack([ms.expected_outcome(self.scenario, state, each).tokens for each in decisions], -1)
        best, highest = np.full(shape, low), np.zeros(shape[:-1])
        for least in np.moveaxis(tokens.reshape(*shape[:-1], -1), -1, 0):
            length = np.minimum(low + (tokens < least[..., None, None]).sum(-1), high)
            outcome = ms.expected_outcome(self.scenario, state, self.with_equal_latency(length, state))
            rate = SlowestUser.rates(outcome).min(-1)
            best, highest = np.where((rate > highest)[..., None], length, best), np.maximum(rate, highest)
        return self.with_equal_latency(best, state)


def main() -> ms.evaluation.ComparisonTable:
    """Play one step in the environment, and compare controllers in it."""
    env = gym.make("Mine/Slowest-v0", num_users=4)
    env.reset(seed=0)
    _, reward, *_ = env.step(env.action_space.sample())
    print(f"reward of a random action: {reward:.2f} tokens/s")
    table = ms.compare("Mine/Slowest-v0", [Evenly, *Slowest.contenders], num_users=4, episodes=100)
    print(table)
    return table


if __name__ == "__main__":
    main()
