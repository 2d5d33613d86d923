"""The numbers of the landscape, beside those of the library."""

import re

import numpy as np
import pytest

import multispin_env as ms
from multispin_env.commands.main import main
from multispin_env.explore.landscape import BUDGETS, MAP_USERS, USERS, LandscapeSettings, as_command, compute
from multispin_env.explore.settings import Places

HERE = Places()
SETTINGS = LandscapeSettings(num_users=5, megahertz=7.0, states=2, seed=3, server="a100-32b", payload="ids")


@pytest.fixture(scope="module")
def found():
    return compute(SETTINGS, HERE)


def mean(scenario, name, **options):
    state = ms.sample_state(scenario.replace(num_users=40), np.random.default_rng(3), 2)[:, : scenario.num_users]
    return ms.expected_outcome(scenario, state, ms.make_controller(name, scenario, **options)(state)).goodput.mean()


def test_lines_pass_through_the_present_point(found):
    for name, here in found.here.items():
        assert found.by_bandwidth[name][BUDGETS.index(7.0)] == pytest.approx(here, rel=1e-12)
        assert found.by_users[name][USERS.index(5)] == pytest.approx(here, rel=1e-12)


def test_each_length_has_its_best_bandwidth(found):
    for length, goodput in zip(found.lengths, found.by_length, strict=True):
        assert goodput == pytest.approx(
            mean(found.scenario, "optimal", fixed_length=np.full((1, 5), length)), rel=1e-12
        )
    assert max(found.by_length) <= found.here["optimal"] * (1 + 1e-9)


def test_more_bandwidth_never_hurts_the_optimum(found):
    assert np.all(np.diff(found.by_bandwidth["optimal"]) > 0.0)


def test_the_map_compares_with_the_better_of_the_others(found):
    assert len(found.pay) == len(MAP_USERS) * 6
    for cell in found.pay[::7]:
        one = found.scenario.replace(num_users=cell.num_users, total_bandwidth=cell.megahertz * 1e6, min_draft_length=0)
        state = ms.sample_state(one.replace(num_users=40), np.random.default_rng(3), 2)[:, : one.num_users]
        best = mean(one, "optimal")
        assert cell.over_alone == pytest.approx(best / ms.autoregressive_goodput(one), rel=1e-12)
        assert cell.over_colocated == pytest.approx(best / ms.colocated_goodput(one, state).mean(), rel=1e-12)
        assert (cell.winner == "multi-spin") == (min(cell.over_colocated, cell.over_alone) > 1.0 + 1e-9)


def test_what_is_kept_belongs_to_its_settings(found):
    """Answers of one user are no answers for another."""
    other = compute(LandscapeSettings(num_users=5, megahertz=7.0, states=2, seed=2, server="a100-32b"), HERE)
    assert other.by_bandwidth != found.by_bandwidth
    assert compute(SETTINGS, HERE) == found


def test_the_command_prints_the_numbers(found, capsys):
    words = as_command(SETTINGS, HERE).replace("'", "").split()
    assert main(words[1:]) == 0
    printed = capsys.readouterr().out
    lengths = [float(one) for one in re.findall(r"^length \d+: ([\d.]+) tokens/s$", printed, re.MULTILINE)]
    assert lengths == [round(one, 2) for one in found.by_length]
    assert f"here, optimal: {found.here['optimal']:.2f} tokens/s\n" in printed
    assert f"0.5 MHz, fixed: {found.by_bandwidth['fixed'][0]:.2f} tokens/s\n" in printed
    assert f"K = 40, homogeneous: {found.by_users['homogeneous'][-1]:.2f} tokens/s\n" in printed
    for cell in found.pay:
        over = f"{cell.over_alone:.2f} of the server alone, {cell.over_colocated:.2f} of a server that drafts for all"
        assert f"K = {cell.num_users}, {cell.megahertz:g} MHz: {over}\n" in printed
