"""The table of expected tokens against its formulas."""

import numpy as np
import pytest

from multispin_env.physics.tokens import expected_tokens
from multispin_env.solver.problem import TokenTable

RATES = np.array([[0.0, 1e-300, 1e-9, 0.3], [0.9, 1.0 - 1e-9, 1.0 - 2.0**-53, 1.0]])


@pytest.mark.parametrize("longest", [0, 1, 2, 3, 25, 256])
def test_the_table_holds_powers_and_expected_tokens(longest):
    weights = np.array([[1.0, 2.0, 0.5, 3.0], [0.0, 1.0, 1.0, 7.0]])
    table = TokenTable.of(RATES, weights, longest)
    for length in range(longest + 1):
        lengths = np.full(RATES.shape, float(length))
        np.testing.assert_allclose(table.gain(lengths), weights * RATES**length, rtol=1e-12, atol=1e-300)
        np.testing.assert_allclose(table.expected(lengths), weights * expected_tokens(lengths, RATES), rtol=1e-12)


def test_rows_and_candidates_look_up_their_own_devices():
    table = TokenTable.of(RATES, np.ones_like(RATES), 5).rows(np.array([1, 0, 1]))
    lengths = np.random.default_rng(0).integers(0, 6, (3, 7, 4))
    wanted = expected_tokens(lengths, RATES[[1, 0, 1]][:, None])
    np.testing.assert_allclose(table.of_candidates.expected(lengths), wanted, rtol=1e-12)
    np.testing.assert_allclose(table.expected(lengths[:, 0].astype(float)), wanted[:, 0], rtol=1e-12)
