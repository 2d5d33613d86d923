"""The numbers of the landscape, beside those of the library."""

import shlex

import numpy as np
import pytest

from multispin_env.apps.commands.main import main
from multispin_env.apps.explore.landscape import BUDGETS, USERS, LandscapeSettings, as_command, compute
from multispin_env.apps.explore.settings import Places

HERE = Places()
SETTINGS = LandscapeSettings(num_users=5, megahertz=7.0, states=2, seed=3, server="a100-32b", payload="ids")


@pytest.fixture(scope="module")
def found():
    return compute(SETTINGS, HERE)


def test_lines_pass_through_the_present_point(found):
    assert np.all(np.diff(found.by_bandwidth["optimal"]) > 0.0)
    assert max(found.by_length) <= found.here["optimal"] * (1 + 1e-9)
    for name, here in found.here.items():
        assert found.by_bandwidth[name][BUDGETS.index(7.0)] == pytest.approx(here, rel=1e-12)
        assert found.by_users[name][USERS.index(5)] == pytest.approx(here, rel=1e-12)
    for cell in found.pay:
        assert (cell.winner == "multi-spin") == (min(cell.over_colocated, cell.over_alone) > 1.0 + 1e-9)


def test_what_is_kept_belongs_to_its_settings(found):
    """Answers of one user are no answers for another."""
    other = compute(LandscapeSettings(num_users=5, megahertz=7.0, states=2, seed=2, server="a100-32b"), HERE)
    assert other.by_bandwidth != found.by_bandwidth
    assert compute(SETTINGS, HERE) == found


def test_the_command_prints_the_numbers(found, capsys):
    """They are computed otherwise there: one system after the other."""
    assert main(shlex.split(as_command(SETTINGS, HERE))[1:]) == 0
    printed = capsys.readouterr().out.splitlines()
    expected = [f"length {length}: {one:.2f} tokens/s" for length, one in enumerate(found.by_length, found.lengths[0])]
    for name, here in found.here.items():
        places = ["here", *(f"{budget:g} MHz" for budget in BUDGETS), *(f"K = {users}" for users in USERS)]
        values = [here, *found.by_bandwidth[name], *found.by_users[name]]
        expected += [f"{place}, {name}: {one:.2f} tokens/s" for place, one in zip(places, values, strict=True)]
    expected += [
        f"K = {cell.num_users}, {cell.megahertz:g} MHz: {cell.over_alone:.2f} of the server alone, "
        f"{cell.over_colocated:.2f} of a server that drafts for all"
        for cell in found.pay
    ]
    assert printed == expected
