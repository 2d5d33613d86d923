import re

import numpy as np
import pytest

import multispin_env as ms
from multispin_lab.explore.landscape import BUDGETS, USERS, WINNERS, LandscapeSettings
from multispin_lab.explore.settings import MAX_DEVICES, ScenarioSources

HERE = ScenarioSources()
SETTINGS = LandscapeSettings(num_users=5, megahertz=7.0, states=2, seed=3, server="a100-32b", payload="ids")


@pytest.fixture(scope="module")
def result():
    return SETTINGS.compute(HERE)


def test_lines_pass_through_the_present_point(result):
    assert np.all(np.diff(result.by_bandwidth["optimal"]) > 0.0)
    assert max(result.by_length) <= result.here["optimal"] * (1 + 1e-9)
    for name, here in result.here.items():
        assert result.by_bandwidth[name][BUDGETS.index(7.0)] == pytest.approx(here, rel=1e-12)
        assert result.by_users[name][USERS.index(5)] == pytest.approx(here, rel=1e-12)
    for cell in result.pay:
        assert (cell.winner == "Multi-SPIN") == (min(cell.over_colocated, cell.over_alone) > 1.0 + 1e-9)


def test_what_is_kept_belongs_to_its_settings(result):
    other = LandscapeSettings(num_users=5, megahertz=7.0, states=2, seed=2, server="a100-32b").compute(HERE)
    assert other.by_bandwidth != result.by_bandwidth
    assert SETTINGS.compute(HERE) == result


def mean(scenario, name, **options):
    many = scenario.replace(num_users=MAX_DEVICES)
    state = ms.sample_state(many, np.random.default_rng(SETTINGS.seed), SETTINGS.states)[:, : scenario.num_users]
    decision = ms.make_controller(name, scenario, **options)(state)
    return state, ms.expected_outcome(scenario, state, decision).goodput.mean()


def test_numbers_are_those_of_one_system_after_the_other(result):
    scenario = SETTINGS.system(HERE)
    for length in (2, 5):
        fixed = np.full((1, 5), length)
        expected = result.by_length[result.lengths.index(length)]
        assert mean(scenario, "optimal", fixed_length=fixed)[1] == pytest.approx(expected)
    for name, here in result.here.items():
        assert mean(scenario, name)[1] == pytest.approx(here)
        assert mean(scenario.replace(total_bandwidth=2e6), name)[1] == pytest.approx(
            result.by_bandwidth[name][BUDGETS.index(2.0)]
        )
        assert mean(scenario.replace(num_users=10), name)[1] == pytest.approx(result.by_users[name][USERS.index(10)])
    for cell in result.pay[::5]:
        entry = scenario.replace(num_users=cell.num_users, total_bandwidth=cell.megahertz * 1e6, min_draft_length=0)
        state, goodput = mean(entry, "optimal")
        assert goodput / ms.baselines.autoregressive_goodput(entry) == pytest.approx(cell.over_alone)
        assert goodput / ms.baselines.colocated_goodput(entry, state).mean() == pytest.approx(cell.over_colocated)


def test_cells_of_the_map_have_the_colour_of_the_winner(result):
    shown = re.findall(r'background:(rgb[^;"]+)[^>]*title="best: ([^"]+)"', SETTINGS.draw(result))
    assert [winner for _, winner in shown] == [cell.winner for cell in result.pay]
    assert all(colour == WINNERS[winner] for colour, winner in shown)
