"""Weights of users, by hand."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.controllers.assumptions import Assumptions
from multispin_env.controllers.estimators.gradient import Gradient
from multispin_env.controllers.estimators.round_robin import RoundRobin
from multispin_env.physics.types import Observed

SCENARIO = ms.Scenario.preset("llama2", num_users=3)
KNOWN = Assumptions.of(SCENARIO)


def seen(throughput=None):
    return Observed(np.ones((2, 3)), np.ones((2, 3)), throughput=throughput)


def test_gradient_is_one_over_throughput_down_to_its_floor():
    throughput = np.array([[0.0, 5e-4, 2.0], [4.0, 8.0, 1e-3]])
    expected = np.array([[1000.0, 1000.0, 0.5], [0.25, 0.125, 1000.0]])
    assert Gradient(SCENARIO, KNOWN).estimate(seen(throughput)) == pytest.approx(expected)
    assert Gradient(SCENARIO, KNOWN, floor=4.0).estimate(seen(throughput))[1] == pytest.approx([0.25, 0.125, 0.25])
    with pytest.raises(
        ValueError, match=r"throughput: expected an array \(n, K\) for the estimator 'gradient', got None"
    ):
        Gradient(SCENARIO, KNOWN).estimate(seen())


def test_users_take_turns():
    one = RoundRobin(SCENARIO, KNOWN)
    one.start(2)
    turns = [one.estimate(seen()).argmax(-1).tolist() for _ in range(4)]
    assert turns == [[0, 0], [1, 1], [2, 2], [0, 0]]
    one.reset(np.array([False, True]))
    found = one.estimate(seen())
    assert found.tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
