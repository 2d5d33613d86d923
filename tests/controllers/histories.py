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


def history(rng: np.random.Generator, rounds: int, num_envs: int, users: int = USERS) -> list[Observed]:
    """Return rounds with every field; requests end at random, and no tokens are drafted before the first round."""
    age = np.zeros((num_envs, users), dtype=np.int64)
    task = rng.integers(0, 4, (num_envs, users))
    mean_gain = rng.uniform(0.2, 0.5, (num_envs, users))
    drafted = accepted = np.zeros((num_envs, users), dtype=np.int64)
    alpha = rng.uniform(0.3, 1.0, (num_envs, users))
    seen = []
    for _ in range(rounds):
        efficiency = np.log2(1.0 + 10**2.35 * mean_gain * rng.standard_exponential((num_envs, users)))
        throughput = rng.uniform(0.5, 20.0, (num_envs, users))
        draft_time = rng.uniform(0.01, 0.014, (num_envs, users))
        seen.append(
            Observed(draft_time, efficiency, None, task.copy(), drafted, accepted, age.copy(), mean_gain, throughput)
        )
        drafted = rng.integers(0, 12, (num_envs, users))
        accepted = np.minimum(rng.geometric(1.0 - 0.999 * alpha) - 1, drafted)
        ends = rng.random((num_envs, users)) < 0.2
        age = np.where(ends, 0, age + 1)
        task = np.where(ends, rng.integers(0, 4, task.shape), task)
    return seen


def along(estimator: Estimator, seen: list[Observed]) -> list[np.ndarray]:
    estimator.start(len(seen[0].draft_time))
    return [estimator.estimate(observed) for observed in seen]
