"""Extreme numbers and a long batch; to be run with ``python -W error``.

1. Instances of K = 1..4 with subnormal and huge times, efficiencies, rates and weights, decided by the fast rule and
   with a certificate; a warning, an exception, a NaN or an infeasible decision ends the run. Every combination of the
   values below for one user comes first, then random ones.
2. One call for a batch of 100,000 instances: time and the highest memory of the process.
"""

import argparse
import itertools
import resource
from collections.abc import Iterator
from time import perf_counter

import numpy as np

import multispin_env as ms
from benchmarks.tools import Options
from multispin_env.arrays import FloatArray

TIMES = np.array([5e-324, 1e-308, 1e-100, 1e-9, 1e-3, 1e-2, 1.0, 7.0, 1e5, 1e100, 1e308])
RATES = np.array([0.0, 5e-324, 1e-12, 0.3, 0.9, 1.0 - 1e-12, 1.0 - 2.0**-53, 1.0])
WEIGHTS = np.array([0.0, 5e-324, 1e-3, 1.0, 1e3, 1e308])
LONGEST = (1, 2, 25, 200)

Instance = tuple[ms.Scenario, ms.SystemState, FloatArray]


def _scenario(users: int, low: int, longest: int) -> ms.Scenario:
    return ms.Scenario.preset("llama2", num_users=users, min_draft_length=low, max_draft_length=longest)


def one_user() -> Iterator[Instance]:
    """Yield all combinations of the values for one user, one batch for each range of lengths."""
    grid = np.array(list(itertools.product(TIMES, TIMES, RATES, WEIGHTS)))[:, :, None]
    state = ms.SystemState(grid[:, 0], grid[:, 1], grid[:, 2])
    for low, longest in itertools.product((0, 1), LONGEST):
        yield _scenario(1, low, longest), state, grid[:, 3]


def several_users(batches: int, size: int) -> Iterator[Instance]:
    """Yield random combinations for two to four users."""
    rng = np.random.default_rng(0)
    for _ in range(batches):
        users = int(rng.integers(2, 5))
        shape = (size, users)
        state = ms.SystemState(rng.choice(TIMES, shape), rng.choice(TIMES, shape), rng.choice(RATES, shape))
        scenario = _scenario(users, int(rng.integers(0, 2)), int(rng.choice(LONGEST)))
        yield scenario, state, rng.choice(WEIGHTS, shape)


def decide(instance: Instance) -> tuple[int, int]:
    """Decide a batch both ways; return its size and the number of certified decisions."""
    scenario, state, weights = instance
    for certify in (None, 1e-6):
        decision = ms.make_controller("optimal", scenario, weights=weights, certify=certify)(state)
        assert (decision.draft_length >= scenario.min_draft_length).all()
        assert (decision.draft_length <= scenario.max_draft_length).all()
        assert np.isfinite(decision.bandwidth).all()
        assert (decision.bandwidth.sum(-1) <= scenario.total_bandwidth * (1.0 + 1e-6)).all()
    assert isinstance(decision, ms.solver.CertifiedDecision)
    assert np.isfinite(decision.value).all()
    assert (decision.bound >= decision.value).all()
    return len(weights), int(decision.certified.sum())


OPTIONS: Options = {
    "batches": (100, "batches of several users"),
    "size": (100, "instances a batch"),
    "long": (100_000, "instances of the long batch"),
}


def run(options: argparse.Namespace) -> None:
    for name, instances in (
        ("one user, every combination", one_user()),
        ("two to four users, random", several_users(options.batches, options.size)),
    ):
        total, certified = np.sum([decide(instance) for instance in instances], axis=0)
        print(f"{name}: {total} instances, no warning, no NaN; {certified} certified", flush=True)
    scenario = ms.Scenario.preset("llama2")
    state = ms.sample_state(scenario, np.random.default_rng(0), options.long)
    start = perf_counter()
    ms.make_controller("optimal", scenario)(state)
    seconds, memory = perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.long} instances of K = 20 in one call: {seconds:.1f} s, peak memory {memory:.0f} MB")
