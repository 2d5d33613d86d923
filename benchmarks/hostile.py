"""Instances made to break a solver."""

import numpy as np

from multispin_env.arrays import FloatArray
from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

RATES = np.array([0.0, 0.01, 0.3, 0.7, 0.9, 0.99, 0.999, 1.0])


def hostile_instance(
    rng: np.random.Generator, num_users: int | None = None, max_decisions: int = 2000
) -> tuple[Scenario, SystemState, FloatArray]:
    """Scenario, state and weights with parameters over many decades."""
    num_users = int(rng.integers(1, 5)) if num_users is None else num_users
    longest = int(max_decisions ** (1.0 / num_users))
    low = int(rng.integers(0, 2))
    scenario = Scenario.preset(
        str(rng.choice(["llama2", "qwen3.5"])),
        num_users=num_users,
        total_bandwidth=float(10.0 ** rng.uniform(5.0, 8.3)),
        min_draft_length=low,
        max_draft_length=int(rng.integers(1, min(40, longest) + 1)),
        kept_probabilities=int(rng.choice([1, 64, 1024])),
        verification_fixed_time=float(10.0 ** rng.uniform(-3.0, 0.5)),
    )
    snr = 10.0 ** rng.uniform(-2.0, 4.0, num_users)
    state = SystemState(10.0 ** rng.uniform(-3.0, 0.0, num_users), np.log2(1.0 + snr), rng.choice(RATES, num_users))
    if rng.random() < 0.2:  # users that cannot be told apart
        state = SystemState(
            *(np.full(num_users, x[0]) for x in (state.draft_time, state.spectral_efficiency, state.acceptance_rate))
        )
    weights = rng.choice([0.0, 1.0, 1.0, 1e3], num_users) if rng.random() < 0.5 else np.ones(num_users)
    return scenario, state, weights
