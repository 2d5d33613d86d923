"""Instances made to break a solver, and slow computations that share no code with it."""

from itertools import product

import numpy as np
from scipy.optimize import brentq

from multispin_env.physics.types import SystemState
from multispin_env.scenario import Scenario

RATES = np.array([0.0, 0.01, 0.3, 0.7, 0.9, 0.99, 0.999, 1.0])


def hostile_instance(
    rng: np.random.Generator, num_users: int | None = None, max_decisions: int = 2000
) -> tuple[Scenario, SystemState, np.ndarray]:
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


def root(lengths, draft_time, token_time):
    """φ with Σ c L / (φ − L T) = 1, by bracketing, in δ = φ − max L T."""
    work = [(c * n, n * t) for n, t, c in zip(lengths, draft_time, token_time, strict=True) if n > 0]
    if not work:
        return 0.0
    slowest = max(t for _, t in work)
    upload = sum(u for u, _ in work)

    def excess(delta):
        return sum(u / (delta + slowest - t) for u, t in work) - 1.0

    return slowest + brentq(excess, 1e-9 * upload / len(work), upload * 1.001, xtol=1e-300, rtol=1e-14)


def best_of_all(scenario, state, weights, fixed=None):
    """The optimum, by trying every decision."""
    token_time = scenario.bits_per_token / (scenario.total_bandwidth * state.spectral_efficiency)
    low, high = scenario.min_draft_length, scenario.max_draft_length
    fixed = [-1] * scenario.num_users if fixed is None else fixed
    ranges = [range(low, high + 1) if f < 0 else [int(f)] for f in fixed]
    tokens = [
        {n: w * sum(float(a) ** i for i in range(n + 1)) for n in r}
        for r, a, w in zip(ranges, state.acceptance_rate, weights, strict=True)
    ]
    best = 0.0
    for lengths in product(*ranges):
        won = sum(t[n] for t, n in zip(tokens, lengths, strict=True))
        latency = root(lengths, state.draft_time, token_time)
        best = max(best, won / (latency + scenario.verification_time))
    return best
