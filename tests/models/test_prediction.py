"""Predicted tokens against numerical integrals over the posterior of acceptance."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

import multispin_env as ms
from multispin_env.models.contender import Prediction, RequestCounts, assumptions_of
from multispin_env.physics.tokens import expected_tokens, sample_tokens

USERS = 3


def system(*tasks, **fields):
    named = tuple(
        ms.Task(name=f"t{i}", acceptance_rate=mean, acceptance_std=std) for i, (mean, std) in enumerate(tasks)
    )
    return ms.Scenario.preset("llama2", num_users=USERS, tasks=named, **fields)


SCENARIO = system((0.6, 0.1), (0.8, 0.2))


def prediction(name="optimal+filter", scenario=SCENARIO, **options):
    assumptions = assumptions_of(scenario)
    return Prediction.of(ms.make_controller(name, scenario, assumptions=assumptions, **options), scenario, assumptions)


def integral(length, left, hits, misses, mean, spread):
    """E[min(N, R)] by quadrature, N of [MS] (11) given α, over α's posterior."""
    size = mean * (1 - mean) / spread**2 - 1
    prior = beta(mean * size, (1 - mean) * size)

    def given(rate):
        chances = [rate**n * (1 - rate) for n in range(length)] + [rate**length]
        return sum(chance * min(n + 1, left) for n, chance in enumerate(chances))

    def weight(rate):
        return prior.pdf(rate) * rate**hits * (1 - rate) ** misses

    return quad(lambda rate: given(rate) * weight(rate), 0, 1)[0] / quad(weight, 0, 1)[0]


def test_tokens_are_an_integral_over_the_posterior():
    length, left = np.array([4, 7, 3]), np.array([9, 3, 1])
    hits, misses, task = np.array([0.0, 12.0, 5.0]), np.array([0.0, 2.0, 5.0]), np.array([0, 1, 1])
    found = prediction().tokens(length, left, hits, misses, task)
    expected = [
        integral(int(length[k]), int(left[k]), hits[k], misses[k], *((0.6, 0.1), (0.8, 0.2))[task[k]]) for k in range(3)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert found[2] == 1.0


def test_a_draft_of_nothing_gives_the_server_s_token():
    zeros = np.zeros(USERS, dtype=np.int64)
    np.testing.assert_array_equal(prediction().tokens(zeros, zeros + 9, zeros, zeros, zeros), 1.0)


@pytest.mark.parametrize("name", ["optimal+filter", "optimal+task-mean"])
def test_without_a_spread_it_is_the_formula_of_the_paper(name):
    scenario = system((0.7, 0.0))
    length, counts = np.array([1, 6, 25]), np.array([0.0, 9.0, 3.0])
    found = prediction(name, scenario).tokens(length, length + 2, counts, counts, np.zeros(USERS, dtype=np.int64))
    np.testing.assert_allclose(found, expected_tokens(length, np.array(0.7)), rtol=2e-5)


def test_counts_are_for_those_who_read_them():
    length, left, task = np.full(USERS, 5), np.full(USERS, 50), np.zeros(USERS, dtype=np.int64)
    hits, misses = np.array([0.0, 30.0, 0.0]), np.array([0.0, 0.0, 30.0])
    told, deaf = (
        prediction(f"optimal+{name}").tokens(length, left, hits, misses, task) for name in ("beta", "task-mean")
    )
    assert told[1] > told[0] > told[2]
    assert deaf[0] == deaf[1] == deaf[2] == told[0]
    wide = prediction(spreads=(0.5, 2.0)).tokens(length, left, hits, misses, task)
    assert wide[1] > told[1]
    assert wide[2] < told[2]


def test_predictions_are_right_on_average_where_the_model_is():
    """Requests with rates from the prior: each round's mean error is within four standard errors of 0."""
    rng = np.random.default_rng(0)
    size = 4_000
    scenario = SCENARIO.replace(num_users=size)
    rate = rng.beta(0.8 * 3, 0.2 * 3, size)  # mean .8, standard deviation .2
    task, left = np.ones(size, dtype=np.int64), np.full(size, 99)
    hits, misses, length = np.zeros(size), np.zeros(size), rng.integers(0, 9, size)
    for _ in range(4):
        expected = prediction(scenario=scenario).tokens(length, left, hits, misses, task)
        tokens = sample_tokens(length, rate, rng)
        error = tokens - expected
        assert abs(error.mean()) < 4 * error.std() / np.sqrt(size)
        hits, misses = hits + tokens - 1, misses + (tokens - 1 < length)
        length = np.where(hits > 4, 8, 2)  # chosen by what was seen


def test_assumptions_are_the_tasks_of_the_scenario():
    found = assumptions_of(system((0.6, 0.1), (0.8, 0.7)))
    assert (found.acceptance_mean, found.acceptance_spread) == ((0.6, 0.8), (0.1, 0.5))
    assert (found.correlation, found.delay) == (1.0, 0)


def test_a_tally_counts_since_a_request_began():
    tally = RequestCounts(USERS)
    ones = np.ones(USERS)
    for drafted, accepted, age, expected in (
        ([0, 0, 0], [0, 0, 0], [0, 0, 0], ([0, 0, 0], [0, 0, 0])),
        ([3, 2, 0], [3, 1, 0], [1, 1, 1], ([3, 1, 0], [0, 1, 0])),
        ([4, 4, 4], [2, 4, 0], [2, 0, 2], ([5, 0, 0], [1, 0, 1])),
    ):
        counts = {"drafted": drafted, "accepted": accepted, "age": age}
        found = tally.take(ms.Observed(ones, ones, **{name: np.array(value) for name, value in counts.items()}))
        np.testing.assert_array_equal(found, expected)
