"""Calls of functions, as ``python -m benchmarks.speed calls`` counts them."""

import numpy as np

from benchmarks.speed.calls import calls_of
from multispin_env.draft import expected_tokens


def test_functions_of_the_package_are_counted_and_others_are_not():
    rate = np.full(3, 0.5)
    calls = calls_of(lambda: [expected_tokens(length, rate) for length in (1, 2)])
    counts = {code.co_qualname: count for code, count in calls.items()}
    assert counts == {"expected_tokens": 2, "TokenLaw.of": 2, "TokenLaw.expected": 2}
