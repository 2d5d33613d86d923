"""Lines of laws of verification, and roots within brackets."""

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.physics.tokens import verification_time
from multispin_env.server import line_time
from multispin_env.solver.problem import kinks, make_problem, server_lines, support
from multispin_env.solver.stationary import bracketed_root

USERS = 3


def law(seed):
    rng = np.random.default_rng(seed)
    pieces = [
        (float(rng.uniform(0.0, 1.0)), float(rng.choice([0.0, 0.01, 0.02, 0.1]))) for _ in range(rng.integers(1, 6))
    ]
    return ms.Scenario.preset("llama2", num_users=USERS).replace(verification_pieces=tuple(pieces))


@pytest.mark.parametrize("seed", range(30))
def test_lines_give_the_time_of_the_law_and_each_is_somewhere_the_largest(seed):
    scenario = law(seed)
    lines = server_lines(scenario)
    x = np.arange(400.0)
    slowest = max(range(len(lines)), key=lambda j: lines[j, 1])
    expected = [max(a + b * (n + USERS) for a, b in scenario.verification_pieces) for n in x]
    assert line_time(lines, x) == pytest.approx(expected, rel=1e-13)
    assert slowest == len(lines) - 1
    assert (np.diff(lines[:, 1]) > 0.0).all()
    assert (np.diff(kinks(lines)) > 0.0).all()
    assert (kinks(lines) > 0.0).all()
    for slope in (lines[0, 1], 0.5 * (lines[0, 1] + lines[-1, 1]), lines[-1, 1]):
        start = support(lines, np.array(slope), np.array(0.0), np.array(300.0))
        slack = line_time(lines, x[:301]) - (start + slope * x[:301])
        assert slack.min() >= -1e-12
        assert slack.min() <= 0.1 + 1e-12  # a kink between two whole numbers


@pytest.mark.parametrize("padded", [False, True])
def test_a_problem_prices_lengths_as_the_server_does(padded, rng):
    for seed in range(10):
        scenario = law(seed).replace(padded_verification=padded, round_trip_time=0.25)
        problem = make_problem(scenario, ms.sample_state(scenario, rng, 4))
        lengths = rng.integers(0, 26, (4, 7, USERS)).astype(float)
        expected = verification_time(scenario, lengths) + 0.25
        assert np.broadcast_to(problem.server_time(lengths), (4, 7)) == pytest.approx(expected, rel=1e-13)


def test_roots_within_brackets():
    powers = np.array([1.0, 3.0, 9.0, 0.2, 1.0, 1.0])
    level = np.array([0.5, 0.001, 0.3, 0.9, -1.0, 2.0])
    calls = []

    def function(x, rows):
        calls.append(len(rows))
        return level[rows] - x ** powers[rows]

    low, high = np.zeros(6), np.ones(6)
    found = bracketed_root(function, low, high, (level, level - 1.0), 1e-13)
    assert found[:4] == pytest.approx(level[:4] ** (1.0 / powers[:4]), rel=1e-10)
    assert found[4:].tolist() == [0.0, 1.0]  # below and above everywhere
    assert calls[0] == 4
    assert len(calls) < 60
    assert (low == 0.0).all()  # not written into
