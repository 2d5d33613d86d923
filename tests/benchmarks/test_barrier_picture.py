"""The picture of the cost of the barrier, drawn from made-up rows."""

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmarks.figures.no_barrier import BARRIER_STYLES, BOUND, BarrierRow, draw_barrier

SETTINGS = [("", 4, 10.0), ("", 20, 10.0), ("", 30, 10.0), ("", 20, 2.5), ("a100-7b-gemm", 20, 10.0), ("", 4, 20.0)]
SHARES = {
    name: np.array([0.1, 0.2, 0.3, 0.4]) + 0.01 * position * np.array([1, -1, 1, -1])
    for position, name in enumerate(BARRIER_STYLES)
}


def rate_of(name, server, users, megahertz):
    return 100.0 * list(BARRIER_STYLES).index(name) + users + megahertz + 1000.0 * bool(server)


def row_of(name, server, users, megahertz):
    rate, shares = rate_of(name, server, users, megahertz), SHARES[name]
    busy = 0.9 - 0.1 * shares[0], 0.5 + 0.1 * shares[0]
    head = "llama2", server or "paper", users, megahertz, name, 3
    return BarrierRow(*head, rate, rate - 1.0, rate + 1.0, 0.8, 1.2, 1.1, 1.3, 2.0, *busy, *shares)


@pytest.fixture(scope="module")
def panels():
    figure = Figure()
    draw_barrier([row_of(name, *setting) for setting in SETTINGS for name in BARRIER_STYLES], figure)
    return figure.axes


@pytest.mark.parametrize(("panel", "settings"), [(0, SETTINGS[:3]), (1, [SETTINGS[3], SETTINGS[1]])])
def test_rates_over_devices_and_over_bandwidth(panels, panel, settings):
    lines = {line.get_label(): sorted(map(tuple, line.get_xydata())) for line in panels[panel].lines}
    for name in BARRIER_STYLES:
        assert lines[name] == [(setting[1 + panel], rate_of(name, *setting)) for setting in settings]


def test_shares_of_the_time_are_side_by_side(panels):
    rules = [name for name in BARRIER_STYLES if name != BOUND]
    bars = sorted((bar.get_y(), bar.get_x(), bar.get_width()) for bar in panels[2].patches)
    for name, (_, group) in zip(rules, itertools.groupby(bars, lambda bar: bar[0]), strict=True):
        _, begin, width = np.array([*group]).T
        np.testing.assert_allclose(width, SHARES[name])
        np.testing.assert_allclose(begin, [0.0, *np.cumsum(SHARES[name])[:-1]], atol=1e-12)
    assert [label.get_text() for label in panels[2].get_yticklabels()] == rules
    busy = {line.get_label(): line.get_xdata() for line in panels[2].lines}
    np.testing.assert_allclose(busy["server busy"], [0.9 - 0.1 * SHARES[name][0] for name in rules])
    np.testing.assert_allclose(busy["uplink busy"], [0.5 + 0.1 * SHARES[name][0] for name in rules])
