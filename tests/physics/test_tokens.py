import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf
from scipy.stats import chisquare

from multispin_env.physics.tokens import expected_tokens, sample_tokens

RATES = [0.0, 5e-324, 1e-300, 1e-16, 1e-6, 0.3, 0.5, 0.9, 0.999, 1 - 1e-9, 1 - 2**-53, 1.0]


@pytest.mark.parametrize("alpha", RATES)
@pytest.mark.parametrize("length", [0, 1, 2, 8, 25, 200])
def test_expectation_is_exact_at_both_ends_and_near_them(alpha, length):
    with mp.workdps(60):
        exact = float(sum(mpf(alpha) ** i for i in range(length + 1)))
    assert expected_tokens(np.array(length), np.array(alpha)) == pytest.approx(exact, rel=1e-14)


@given(alpha=st.floats(0, 1), higher=st.floats(0, 1), length=st.integers(0, 200))
def test_expectation_rises_with_acceptance_and_length(alpha, higher, length):
    low, high = sorted((alpha, higher))
    slack = 1 - 1e-13
    at = expected_tokens(np.array(length), np.array(low))
    assert at * (1 + 1e-14) >= 1
    assert at * slack <= length + 1
    assert expected_tokens(np.array(length), np.array(high)) >= at * slack
    assert expected_tokens(np.array(length + 1), np.array(low)) >= at * slack


@pytest.mark.parametrize("alpha", [0.0, 0.2, 0.7, 0.95, 1.0])
@pytest.mark.parametrize("length", [1, 4, 8])
def test_sampled_tokens_have_the_stated_distribution(alpha, length):
    draws = 40_000
    tokens = sample_tokens(np.full(draws, length), np.full(draws, alpha), np.random.default_rng(3))
    probability = np.array([alpha ** (n - 1) * (1 - alpha) for n in range(1, length + 1)] + [alpha**length])
    counts = np.array([(tokens == n).sum() for n in range(1, length + 2)])
    assert counts.sum() == draws
    possible = probability > 0
    assert counts[~possible].sum() == 0
    if possible.sum() > 1:
        assert chisquare(counts[possible], draws * probability[possible]).pvalue > 1e-3


def test_draws_come_from_the_generator_alone():
    def draw(seed):
        return sample_tokens(np.full(50, 8), np.full(50, 0.8), np.random.default_rng(seed))

    assert (draw(1) == draw(1)).all()
    assert (draw(1) != draw(2)).any()
