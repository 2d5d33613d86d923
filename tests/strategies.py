"""Strategies of Hypothesis: systems, states, laws, decisions and actions that shrink to the simplest that fails."""

import numpy as np
from hypothesis import strategies as st

from multispin_env.solver.problem import make_problem
from tests.hostile import hostile_instance, hostile_law

KINDS = {"paper": (0, False), "one piece": (1, False), "two pieces": (2, False), "padded": (1, True)}
KINDS["padded, two pieces"] = (2, True)
"""Pieces of the law, and whether passes are padded."""

STEPS = 2**16


class Numbers:
    """Draws of Hypothesis by the methods of `numpy.random.Generator`, so that makers of instances take either."""

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
def numbers(draw):
    """A source of numbers for whoever takes a generator of NumPy."""
    return Numbers(draw)


@st.composite
def instances(draw, kind="paper", users=None, most=250):
    """Scenario, state and weights over many decades, with at most about so many decisions."""
    rng = Numbers(draw)
    pieces, padded = KINDS[kind]
    scenario, state, weights = hostile_instance(rng, users, most)
    return hostile_law(rng, scenario, pieces, padded) if pieces else scenario, state, weights


def problems(kind="paper", most=250):
    """Those as a problem of the solver."""
    return instances(kind, most=most).map(lambda case: make_problem(*case))
