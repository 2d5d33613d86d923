import numpy as np
from hypothesis import strategies as st

import multispin_env as ms
from multispin_env.physics.continuous.types import Demand, Phase
from multispin_env.solver.problem import make_problem
from tests.hostile import hostile_instance, hostile_law

KINDS = {"paper": (0, False), "one piece": (1, False), "two pieces": (2, False), "padded": (1, True)}
KINDS["padded, two pieces"] = (2, True)
"""Pieces of the law, and whether passes are padded."""

STEPS = 2**16


class Numbers:
    """Draws of Hypothesis with the methods of `numpy.random.Generator`."""

    def __init__(self, draw):
        self.draw = draw

    def _many(self, strategy, size):
        if size is None:
            return self.draw(strategy)
        count = int(np.prod(size))
        return np.array(self.draw(st.lists(strategy, min_size=count, max_size=count))).reshape(size)

    def integers(self, low, high=None, size=None):
        low, high = (0, low) if high is None else (low, high)
        return self._many(st.integers(int(low), int(high) - 1), size)

    def uniform(self, low=0.0, high=1.0, size=None):
        grid = st.integers(0, STEPS).map(lambda step: low + (high - low) * step / STEPS)
        return self._many(grid, size)

    def random(self, size=None):
        return self._many(st.integers(0, STEPS - 1).map(lambda step: step / STEPS), size)

    def choice(self, values, size=None):
        return self._many(st.sampled_from(list(values)), size)


@st.composite
def instances(draw, kind="paper", users=None, most=250):
    """Scenario, state and weights over many decades, with about ``most`` decisions at most."""
    rng = Numbers(draw)
    pieces, padded = KINDS[kind]
    scenario, state, weights = hostile_instance(rng, users, most)
    return hostile_law(rng, scenario, pieces, padded) if pieces else scenario, state, weights


def problems(kind="paper", most=250):
    return instances(kind, most=most).map(lambda case: make_problem(*case))


@st.composite
def states(draw, users):
    """Any valid state with requests, also those that no simulation reaches."""
    rng = Numbers(draw)
    shape = (draw(st.integers(1, 3)), users)
    phase = rng.choice(draw(st.sampled_from([(0, 1, 2, 3, 4), (4,), (0,), (3, 4), (0, 4)])), shape)
    has, under_way = phase != Phase.IDLE, (phase != Phase.IDLE) & (phase != Phase.FREE)
    output = rng.integers(1, 300, shape) * has
    remaining = np.where(rng.random(shape) < 0.5, output, (output * rng.random(shape)).astype(int).clip(1)) * has
    time = rng.random(shape[0]) * 100.0
    due = np.where(has & (rng.random(shape) < 0.8), time[:, None] + rng.uniform(-10.0, 10.0, shape), np.inf)
    drafted = rng.integers(0, 9, shape)
    first_due = np.where(rng.random(shape) < 0.5, due - 1.0, np.inf)
    demand = Demand(
        *(remaining, output, rng.integers(0, 99, shape) * has, time[:, None] * has * 0.5, first_due, due),
        *(rng.integers(0, 3, shape) * has, drafted, (drafted * rng.random(shape)).astype(int)),
    )
    alpha = rng.choice([0.0, 0.3, 0.9, 1.0], shape) if draw(st.booleans()) else rng.random(shape)
    work = rng.choice([0.0, 0.01, 3.0], (2, *shape))
    return ms.physics.ContinuousState(
        rng.choice([1e-3, 0.01, 10.0], shape),
        rng.choice([1e-4, 0.5, 8.0], shape),
        *(alpha, phase, rng.integers(1, 26, shape) * under_way),
        *(work[0] * (phase == Phase.DRAFTING), work[1] * under_way * (phase != Phase.READY), np.zeros(shape)),
        *(np.zeros(shape, dtype=np.int64), rng.integers(0, 2, shape[0]), time, demand, np.zeros(shape)),
    )
