import itertools
from dataclasses import astuple

import numpy as np
import pytest
from matplotlib.figure import Figure

import multispin_env as ms
from benchmarks.figures import pays
from benchmarks.figures.__main__ import OURS, main
from benchmarks.figures.no_barrier import BARRIER_STYLES, BOUND, BarrierRow, draw_barrier
from multispin_env.registry import SERVERS
from multispin_lab.reproduce import FIGURES
from multispin_lab.reproduce.figure import Scale
from tests.lab.reproduce.test_figures import check_rows_and_picture
from tests.lab.reproduce.test_numbers import rows_of


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_pictures_show_the_rows(name):
    check_rows_and_picture(OURS[name], rows_of(OURS[name], Scale(quick=True, states=12)))


def test_the_command_draws_one(tmp_path, monkeypatch):
    monkeypatch.setitem(OURS, "does-it-pay", FIGURES.load("verification"))  # which takes no time
    assert main(["--quick", "--only", "does-it-pay", "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} >= {"does-it-pay.png", "does-it-pay.csv", "index.html"}
    assert "python -m benchmarks.figures --only does-it-pay --quick" in (tmp_path / "index.html").read_text("utf-8")
    assert "does-it-pay" not in FIGURES.names()


def test_the_map_has_the_rates_of_each_system():
    rows = pays.pay_rows(Scale(quick=True, states=3, seed=5), ("llama2", "a100-32b", 5))
    scenario = ms.Scenario.preset("llama2", server="a100-32b", payload="ids", min_draft_length=0, num_users=5)
    state = ms.sample_state(scenario, np.random.default_rng(5), 2)
    alphas = state.acceptance_rate
    passes = [0.02735 + 5 * (length + 1) * 0.0001526 for length in range(26)]
    step = max(start + 5 * slope for start, slope in SERVERS.load("a100-8b").draft_pieces)
    tokens = [sum(alphas**position for position in range(length + 1)).sum(-1) for length in range(26)]
    drafted = np.max([tokens[length] / (length * step + passes[length]) for length in range(26)], axis=0)
    systems = {row.system: row for row in rows}
    assert systems["autoregressive"].rate == pytest.approx(5 / passes[0])
    assert systems["colocated"].rate == pytest.approx(drafted.mean())
    optimum = ms.expected_outcome(scenario, state, ms.make_controller("optimal", scenario)(state))
    assert systems["multi-spin"].rate == pytest.approx(optimum.goodput.mean())
    ahead = scenario.replace(draft_ahead=True)
    price = ms.make_controller("ahead-price", ahead, rho=1.3 * systems["multi-spin"].rate)
    long = ms.long_run(price, state, warm_up=1.0, horizon=8.0).rate.mean()
    assert systems["multi-spin-ahead"].rate == pytest.approx(long, rel=0.1)
    assert systems["multi-spin-ahead"].over == pytest.approx(long / drafted.mean(), rel=0.1)
    assert [row.system for row in rows if row.best] == [max(systems, key=lambda system: systems[system].rate)]


def test_of_systems_that_are_equal_the_simplest_is_best():
    assert pays.winner_of({"autoregressive": 2.0, "colocated": 2.0 + 1e-9, "multi-spin": 2.0}) == "autoregressive"
    assert pays.winner_of({"autoregressive": 2.0, "colocated": 2.1, "multi-spin": 2.0}) == "colocated"


def test_a_search_that_ended_at_its_limit_has_a_bar_to_it():
    row = pays._CapacityFigureRow("llama2", "paper", 0.1, "load-aware", 505.0, 493.0, np.inf, False, 1.0, 1.0, 1.0)
    figure = Figure()
    pays.CAPACITY.draw([row], figure)
    assert 505.0 < pays.MAX_USERS < figure.axes[0].get_xlim()[1] < np.inf


SETTINGS = [("", 4, 10.0), ("", 20, 10.0), ("", 30, 10.0), ("", 20, 2.5), ("a100-7b-gemm", 20, 10.0), ("", 4, 20.0)]


def row_of(name, server, users, megahertz):
    position = list(BARRIER_STYLES).index(name)
    rate = 100.0 * position + users + megahertz + 1000.0 * bool(server)
    shares = np.array([0.1, 0.2, 0.3, 0.4]) + 0.01 * position * np.array([1, -1, 1, -1])
    busy = 0.9 - 0.1 * shares[0], 0.5 + 0.1 * shares[0]
    head = "llama2", server or "paper", users, megahertz, name, 3
    return BarrierRow(*head, rate, rate - 1.0, rate + 1.0, 0.8, 1.2, 1.1, 1.3, 2.0, *busy, *shares)


def test_the_panels_show_rates_and_shares_of_the_time():
    """Rates over devices and over bandwidth, and shares side by side."""
    figure, table = Figure(), {(name, *entry): row_of(name, *entry) for entry in SETTINGS for name in BARRIER_STYLES}
    draw_barrier(list(table.values()), figure)
    for panel, settings in ((0, SETTINGS[:3]), (1, [SETTINGS[3], SETTINGS[1]])):
        lines = {line.get_label(): sorted(map(tuple, line.get_xydata())) for line in figure.axes[panel].lines}
        for name in BARRIER_STYLES:
            assert lines[name] == [(entry[1 + panel], table[name, *entry].rate) for entry in settings]
    rules, last = [name for name in BARRIER_STYLES if name != BOUND], figure.axes[2]
    bars = sorted((bar.get_y(), bar.get_x(), bar.get_width()) for bar in last.patches)
    shares = {name: np.array(astuple(table[name, *SETTINGS[1]])[-4:]) for name in rules}
    for name, (_, group) in zip(rules, itertools.groupby(bars, lambda bar: bar[0]), strict=True):
        _, begin, width = np.array([*group]).T
        np.testing.assert_allclose(width, shares[name])
        np.testing.assert_allclose(begin, [0.0, *np.cumsum(shares[name])[:-1]], atol=1e-12)
    assert [label.get_text() for label in last.get_yticklabels()] == rules
    busy = {line.get_label(): line.get_xdata() for line in last.lines}
    np.testing.assert_allclose(busy["server busy"], [0.9 - 0.1 * shares[name][0] for name in rules])
    np.testing.assert_allclose(busy["uplink busy"], [0.5 + 0.1 * shares[name][0] for name in rules])
