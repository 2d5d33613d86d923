"""Fits of measured passes, against a table that is a law and against the profiles."""

import numpy as np
import pytest

from benchmarks.fit_servers import TABLES, error_of, fit, main
from multispin_env.server import SERVERS


def test_a_table_that_is_a_law_is_found():
    tokens = np.array([1.0, 10.0, 50.0, 100.0, 200.0])
    times = np.maximum(9.0 + 0.01 * tokens, 2.0 + 0.1 * tokens)
    pieces, error = fit(tokens, times, 2)
    assert error == pytest.approx(0.0, abs=1e-9)
    assert pieces == pytest.approx(np.array([[9.0, 0.01], [2.0, 0.1]]), rel=1e-6)
    one, worse = fit(tokens, times, 1)
    assert worse == pytest.approx(error_of(one, tokens, times), rel=1e-6)
    assert worse > 0.1


@pytest.mark.parametrize("name", TABLES)
def test_profiles_are_the_fits(name):
    table = TABLES[name]
    tokens, times = np.array(table.tokens, float), np.array(table.milliseconds, float)
    _, error = fit(tokens, times, table.pieces)
    shipped = error_of(np.array(SERVERS.load(name).pieces) * 1e3, tokens, times)
    assert error <= shipped + 1e-12
    assert shipped < error + 1e-3


def test_the_command_prints_a_row_for_each(capsys):
    main()
    printed = capsys.readouterr().out
    assert all(name in printed for name in TABLES)
