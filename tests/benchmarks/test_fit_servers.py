"""Fits of measured passes, against the profiles."""

import numpy as np
import pytest

from benchmarks.fit_servers import TABLES, main
from multispin_env.models.fitting import fit_law
from multispin_env.registry import SERVERS
from multispin_env.server import line_time


@pytest.mark.parametrize("name", TABLES)
def test_profiles_are_the_fits(name):
    table = TABLES[name]
    tokens, times = np.array(table.tokens, float), np.array(table.milliseconds, float)
    error = fit_law(tokens, times, table.pieces).error
    shipped = np.abs(line_time(np.array(SERVERS.load(name).pieces) * 1e3, tokens) / times - 1.0).max()
    assert error <= shipped + 1e-12
    assert shipped < error + 1e-3


def test_the_command_prints_a_row_for_each(capsys):
    main()
    printed = capsys.readouterr().out
    assert all(name in printed for name in TABLES)
