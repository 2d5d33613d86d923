import numpy as np
import pytest

NUMBERS = np.array([1.0, 2.0])


@pytest.mark.parametrize(
    ("found", "expected", "options", "equal"),
    [
        (NUMBERS * (1.0 + 9e-7), NUMBERS, {}, True),
        (NUMBERS * (1.0 + 2e-6), NUMBERS, {}, False),
        (NUMBERS + 0.5, NUMBERS, {"abs": 0.5}, True),
        (NUMBERS + np.array([0.0, 0.51]), NUMBERS, {"abs": 0.5}, False),
        (NUMBERS, NUMBERS, {"rel": 0.0, "abs": 0.0}, True),
        ([NUMBERS], NUMBERS, {}, False),
        (NUMBERS[:1], NUMBERS, {"abs": 9.0}, False),
        (1.0, np.ones(2), {}, True),
        (NUMBERS * np.nan, NUMBERS, {"nan_ok": True}, False),
        (NUMBERS * np.inf, NUMBERS, {}, False),
        (NUMBERS, NUMBERS * np.inf, {}, False),
        (np.zeros(1, np.uint8), np.full(1, 255, np.uint8), {"abs": 2}, False),
    ],
)
def test_arrays_are_compared_as_by_number(found, expected, options, equal):
    assert (found == pytest.approx(expected, **options)) is equal
