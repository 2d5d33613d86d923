import numpy as np
import pytest

import multispin_env as ms


@pytest.fixture
def state(scenario, rng):
    return ms.sample_state(scenario, rng, 30)


def test_result_carries_value_bound_and_gap(scenario, state):
    found = ms.make_controller("optimal", scenario, certify=1e-6)(state)
    outcome = ms.expected_outcome(scenario, state, found)
    assert found.value == pytest.approx(outcome.goodput, rel=1e-12)
    assert (found.bound >= found.value).all()
    assert found.gap == pytest.approx(found.bound / found.value - 1.0, abs=1e-12)
    assert found.certified.all()
    assert (found.gap <= 1e-6).all()
    assert found[3].value == found.value[3]


def test_a_certificate_that_was_not_reached_is_not_claimed(scenario, state):
    found = ms.make_controller("optimal", scenario, certify=1e-9, time_limit=0.0)(state)
    assert (found.certified == (found.gap <= 1e-9)).all()
    assert not found.certified.all()
    assert (found.gap < 0.5).all()  # there is a bound all the same
    assert (found.bound >= found.value).all()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("certify", 0, r"certify: expected a finite number in \[1e-10, 1\), got 0"),
        ("time_limit", -1, r"time_limit: expected a finite number in \[0, inf\), got -1"),
        ("fixed_length", [26] + [-1] * 19, r"fixed_length\[0\]: expected integers in 1\.\.25, or -1 .*, got 26"),
        ("fixed_length", [1.5] * 20, r"fixed_length\[0\]: expected integers .*, got 1\.5"),
        ("fixed_length", [1, 1], r"fixed_length: expected a shape that broadcasts to \(30, 20\), got \(2,\)"),
        ("weights", [np.nan] * 20, r"weights\[0\]: expected finite numbers, got nan"),
    ],
)
def test_bad_options(scenario, state, option, value, message):
    with pytest.raises(ValueError, match=message):
        ms.make_controller("optimal", scenario, **{option: value})(state)


def test_gaps_by_hand():
    """Relative to the value; where that is 0, none if the bound is 0 too, else endless."""
    shape = (4, 2)
    found = ms.CertifiedDecision(
        np.ones(shape, dtype=int), np.ones(shape), np.array([2.0, 4.0, 0.0, 0.0]), np.array([3.0, 4.0, 0.0, 1.0]), 0.5
    )
    assert found.gap.tolist() == [0.5, 0.0, 0.0, np.inf]
    assert found.certified.tolist() == [True, True, True, False]
    assert found[1:].gap.tolist() == [0.0, 0.0, np.inf]
    assert found[0].tolerance == 0.5
