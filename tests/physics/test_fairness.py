"""Long-run fairness by hand, and copies of states."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.rounds import (
    discounted_throughput,
    initial_throughput,
    jain_index,
    largest,
    price,
    slopes,
    utility,
)
from multispin_env.physics.types import Outcome, RealDecision, checked_weights

RATES = np.array([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0]])


def test_utility_and_index_of_each_copy():
    assert utility(RATES) == pytest.approx([np.log(8.0), np.log(27.0)])
    assert jain_index(RATES) == pytest.approx([49.0 / 63.0, 1.0])
    assert jain_index(np.array([[5.0, 0.0, 0.0, 0.0]])) == pytest.approx([0.25])


def test_throughput_is_discounted():
    scenario = ms.Scenario.preset("llama2", num_users=3)
    assert initial_throughput(scenario, 2) == pytest.approx(np.full((2, 3), 1.0 / scenario.verification_time))
    tokens = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    outcome = Outcome(np.ones(2), tokens, np.array([0.5, 2.0]), tokens, tokens, 0.1)
    expected = [[1.25, 2.5, 4.5], [2.75, 2.875, 3.0]]  # a quarter of the way to [[2, 4, 6], [2, 2.5, 3]]
    assert discounted_throughput(RATES, outcome, 4.0) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("shape", [(3,), (400, 3), (20, 20, 3), (30, 70)])
def test_the_largest_of_each_row(shape):
    array = np.random.default_rng(0).normal(size=shape)
    assert np.array_equal(largest(array), array.max(-1))


def test_a_device_that_drafts_nothing_is_not_waited_for():
    scenario = ms.Scenario.preset("llama2", num_users=2, min_draft_length=0)
    state = ms.sample_state(scenario, np.random.default_rng(0))
    decision = RealDecision(np.array([0.0, 3.0]), np.array([0.0, 5e6]))
    outcome = price(scenario, state, decision, np.array([1.0, 2.0]))
    found = slopes(scenario, decision, outcome, np.array([0.5, 0.25]), 1.0)
    assert found.bandwidth[0] == 0.0
    assert found.bandwidth[1] > 0.0
    latency = price(scenario, state, decision, np.ones(2)).round_latency
    assert found.draft_length[0] == pytest.approx(0.5 / latency)


def test_weights_are_checked_and_broadcast():
    assert checked_weights(None, (2, 3)) is None
    assert checked_weights([0, 1, 2], (2, 3)).tolist() == [[0.0, 1.0, 2.0]] * 2
    with pytest.raises(ValueError, match=r"weights\[1\]: expected numbers ≥ 0, got -1\.0"):
        checked_weights([0, -1, 2], (2, 3))
    with pytest.raises(ValueError, match=r"weights: expected a shape that broadcasts to \(2, 3\), got \(2,\)"):
        checked_weights([0, 1], (2, 3))
