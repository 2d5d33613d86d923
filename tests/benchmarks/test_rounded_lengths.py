"""Shares of the optimum that rounded lengths reach."""

import numpy as np
import pytest

import multispin_env as ms
from benchmarks.rounded_lengths import System, row


def test_a_line_of_the_table():
    scenario = ms.Scenario.preset("qwen3.5", server="a100-32b", min_draft_length=0, payload="ids", num_users=4)
    label, mean, real, common, best = row(scenario, 10)
    assert label == "qwen3.5 on a100-32b, ids"
    assert 0.0 < float(mean) < 25.0
    assert min(float(real), float(common)) > 0.5
    assert float(common) <= float(best) <= 1.001


def test_drafts_that_fit_a_time_by_hand():
    scenario = ms.Scenario.preset("qwen3.5", server="a100-32b", min_draft_length=0, payload="ids", num_users=2)
    state = ms.SystemState(np.array([[0.010, 0.02]]), np.array([[1e6, 1e6]]), np.array([[0.5, 0.5]]))  # no upload
    system = System(scenario, state)
    assert system.fitting(4.05).tolist() == [[4.0, 2.0]]
    tokens = (1 - 0.5**5) / 0.5 + (1 - 0.5**3) / 0.5
    wanted = tokens / (0.04 + scenario.pass_time(2, 8))
    assert system.value(np.array([[4.0, 2.0]])) == pytest.approx([wanted], rel=1e-6)
    assert system.value(np.array([[40.0, -2.0]])).shape == (1,)  # kept in their range
