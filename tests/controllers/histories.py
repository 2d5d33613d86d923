"""Random histories of rounds, and what estimators say along them."""

import numpy as np

from multispin_env.controllers.base import Assumptions
from multispin_env.controllers.estimators import Estimator
from multispin_env.physics.types import Observed
from multispin_env.registry import ESTIMATORS
from multispin_env.scenario import Scenario

USERS = 5


def system(num_users: int = USERS) -> Scenario:
    return Scenario.preset("llama2", num_users=num_users)


def make(name: str, scenario: Scenario | None = None, assumptions: Assumptions | None = None, **options) -> Estimator:
    scenario = system() if scenario is None else scenario
    return ESTIMATORS.load(name)(scenario, assumptions or Assumptions.of(scenario), **options)


def history(rng: np.random.Generator, rounds: int, copies: int, users: int = USERS, end: float = 0.2) -> list[Observed]:
    """Rounds with every field; requests end at random, and the first round has seen nothing."""
    age = np.zeros((copies, users), dtype=np.int64)
    task = rng.integers(0, 4, (copies, users))
    mean_gain = rng.uniform(0.2, 0.5, (copies, users))
    drafted = accepted = np.zeros((copies, users), dtype=np.int64)
    alpha = rng.uniform(0.3, 1.0, (copies, users))
    seen = []
    for _ in range(rounds):
        efficiency = np.log2(1.0 + 10**2.35 * mean_gain * rng.standard_exponential((copies, users)))
        throughput = rng.uniform(0.5, 20.0, (copies, users))
        draft_time = rng.uniform(0.01, 0.014, (copies, users))
        seen.append(
            Observed(draft_time, efficiency, None, task.copy(), drafted, accepted, age.copy(), mean_gain, throughput)
        )
        drafted = rng.integers(0, 12, (copies, users))
        accepted = np.minimum(rng.geometric(1.0 - 0.999 * alpha) - 1, drafted)
        ends = rng.random((copies, users)) < end
        age = np.where(ends, 0, age + 1)
        task = np.where(ends, rng.integers(0, 4, task.shape), task)
    return seen


def along(estimator: Estimator, seen: list[Observed]) -> list[np.ndarray]:
    estimator.start(len(seen[0].draft_time))
    return [estimator.estimate(observed) for observed in seen]
