"""Where every line, band, bar and tick of a figure is, by tables of a few rows."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from multispin_env.reproduce.figures import (
    bandwidth,
    calibration,
    certificate,
    claims,
    devices,
    draft_length,
    recorded,
    remark_2,
    users,
    verification,
)

from multispin_env.reproduce.allocations import AllocationRow
from multispin_env.reproduce.claims import ClaimRow
from multispin_env.reproduce.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY
from multispin_env.reproduce.figure import LABELS, SweepRow
from multispin_env.reproduce.optimum import StateRow, SurfaceRow
from multispin_env.reproduce.sweeps import BatchRow, LengthRow, RecordedRow
from tests.reproduce.artists import bands, drawn, legend, lines, looks, ticks

PRESETS = ("llama2", "qwen3.5")
LOOKS = [
    (BLUE, "-", "o"),
    (ORANGE, "-", "s"),
    (GREEN, "-", "^"),
    (RED, "-", "v"),
    (PURPLE, "--", "D"),
    (BLACK, "--", "x"),
]


def level(preset, system):
    """Another number for each line."""
    return 100.0 * (1 + PRESETS.index(preset)) + 10.0 * list(LABELS).index(system)


SWEEP = [
    SweepRow(preset, system, devices_, budget, 3, level(preset, system) + devices_, 50.0 + devices_, 300.0 + devices_)
    for preset in PRESETS
    for devices_, budget in ((2, 1.25), (4, 7.0), (8, 20.0))
    for system in LABELS
]


@pytest.mark.parametrize(
    ("draw", "places", "label"),
    [(users.draw, [2.0, 4.0, 8.0], "devices K"), (bandwidth.draw, [1.25, 7.0, 20.0], "total bandwidth B (MHz)")],
)
def test_sweeps(draw, places, label):
    axes, figure = drawn(draw, SWEEP)
    assert [one.get_title() for one in axes] == list(PRESETS)
    for one, preset in zip(axes, PRESETS, strict=True):
        expected = [(text, places, [level(preset, system) + k for k in (2, 4, 8)]) for system, text in LABELS.items()]
        assert lines(one) == expected
        assert looks(one) == LOOKS
        edges = {place: (50.0 + k, 300.0 + k) for place, k in zip(places, (2, 4, 8), strict=True)}
        assert bands(one) == [(colour, edges) for colour, *_ in LOOKS]
        assert (one.get_xlabel(), one.get_ylabel()) == (label, "goodput (tokens/s)")
        assert one.get_ylim()[0] == 0.0
    assert legend(figure) == (list(LABELS.values()), 6, False)


def test_budgets_are_on_a_logarithmic_axis():
    for one in drawn(bandwidth.draw, SWEEP)[0]:
        assert one.get_xscale() == "log"
        assert ticks(one.xaxis) == [(1.25, "1.25"), (20.0, "20")]  # 7 MHz is no tick
        assert len(one.xaxis.get_minorticklocs()) == 0


def test_verification():
    rows = [BatchRow(preset, k, 10.0 * k + p, 5.0 / k + p) for p, preset in enumerate(PRESETS) for k in (1, 2, 32)]
    (left, right), figure = drawn(verification.draw, rows)
    assert [line[1:] for line in lines(left)] == [
        ([1.0, 2.0, 32.0], [10.0, 20.0, 320.0]),
        ([1.0, 2.0, 32.0], [11.0, 21.0, 321.0]),
    ]
    assert lines(right) == [
        ("llama2", [1.0, 2.0, 32.0], [5.0, 2.5, 0.15625]),
        ("qwen3.5", [1.0, 2.0, 32.0], [6.0, 3.5, 1.15625]),
    ]
    for one, what in ((left, "of the batch (ms)"), (right, "per draft (ms)")):
        assert looks(one) == [(BLUE, "-", "o"), (ORANGE, "-", "s")]
        (span,) = one.patches
        assert (span.get_x(), span.get_x() + span.get_width()) == (16.0, 32.0)
        assert (one.get_xlim(), one.get_ylim()[0]) == ((0.0, 32.0), 0.0)
        assert one.get_xlabel() == "batch size K (drafts)"
        assert one.get_ylabel() == f"verification latency {what}"
    assert legend(figure) == (["llama2", "qwen3.5", "beyond the fitted batches"], 3, False)


def test_draft_lengths():
    rows = [
        LengthRow(preset, rate, length, 3, 10.0 * length + rate + p, length, 20.0 * length + p, length == 2)
        for p, preset in enumerate(PRESETS)
        for rate in draft_length.RATES
        for length in (1, 2, 3)
    ]
    axes, figure = drawn(draft_length.draw, rows)
    for p, one in enumerate(axes):
        curves = lines(one)
        assert len(curves) == 9
        for index, rate in enumerate(draft_length.RATES):
            assert curves[2 * index] == (f"α = {rate:g}", [1.0, 2.0, 3.0], [10.0 * k + rate + p for k in (1, 2, 3)])
            assert curves[2 * index + 1] == ("", [2.0], [20.0 + rate + p])
        assert curves[8] == ("closed form [MS] 23, 24", [], [])
        assert looks(one)[:8] == [
            (colour, *kind) for colour in (BLUE, GREEN, ORANGE, RED) for kind in (("-", "None"), ("None", "*"))
        ]
        edges = {float(k): (float(k), 20.0 * k + p) for k in (1, 2, 3)}
        assert [places for _, places in bands(one)] == [edges] * 4
        assert (one.get_title(), one.get_xlabel()) == (PRESETS[p], "common draft length L (tokens)")
        assert (one.get_ylabel(), one.get_ylim()[0]) == ("goodput (tokens/s)", 0.0)
    texts = ["α = 0.95", "α = 0.85", "α = 0.75", "α = 0.6", "closed form [MS] 23, 24"]
    assert legend(figure) == (texts, 5, False)


def test_recorded():
    rows = [
        RecordedRow(task, length, 7 + t, 2.0 * length + t, length + t, 3.0 * length + t, 1.5 * length, 0.5 * length)
        for t, task in enumerate(recorded.TASKS)
        for length in (1, 4)
    ]
    axes, figure = drawn(recorded.draw, rows)
    assert [one.get_title() for one in axes] == [
        *("code, 7 prompts", "mathematics, 8 prompts", "chat, 9 prompts", "reading, 10 prompts")
    ]
    for t, one in enumerate(axes):
        assert lines(one) == [
            ("replayed record, 95 % band", [1.0, 4.0], [2.0 + t, 8.0 + t]),
            ("E[N] at the fitted α", [1.0, 4.0], [1.5, 6.0]),
            ("E[N] at the mean acceptance", [1.0, 4.0], [0.5, 2.0]),
        ]
        assert looks(one) == [(BLUE, "-", "o"), (BLACK, "--", "None"), (ORANGE, ":", "None")]
        assert bands(one) == [(BLUE, {1.0: (1.0 + t, 3.0 + t), 4.0: (4.0 + t, 12.0 + t)})]
        assert (one.get_xlabel(), one.get_ylim()[0]) == ("draft length L (tokens)", 0.0)
        assert one.get_ylabel() == ("" if t else "tokens gained a round")
    assert len({one.get_ylim() for one in axes}) == 1
    assert legend(figure)[1:] == (3, False)


def test_certificate():
    losses = [[1e-12, 1e-5, 1e-3, 0.02, 0.3], [1e-7, 1e-4, 0.1, 0.01, 0.5]]
    rows = [
        StateRow(preset, i, 170.0, 1e-8 * (2 - i), *(loss / 2**p for loss in losses[i]))
        for p, preset in enumerate(PRESETS)
        for i in range(2)
    ]
    axes, figure = drawn(certificate.draw, rows)
    percents = [0.0, 50.0, 100.0, 100.0]
    names = ["fast rule", "Algorithm 1, 100 × 100", "Homo", "Uni-BW", "Fixed BW&L"]
    for p, (one, preset) in enumerate(zip(axes, PRESETS, strict=True)):
        expected = [
            (name, [1e-9, *np.sort(np.maximum(pair / 2**p, 1e-9)), 1.0], percents)
            for name, pair in zip(names, np.transpose(losses), strict=True)
        ]
        assert lines(one) == [*expected, ("proven gap of the optimum", [1e-9, 1e-8, 2e-8, 1.0], percents)]
        colours = (SKY, PURPLE, ORANGE, GREEN, RED)
        assert looks(one) == [*((colour, "-", "None") for colour in colours), (BLACK, "--", "None")]
        assert {line.get_drawstyle() for line in one.lines} == {"steps-post"}
        assert (one.get_title(), one.get_xscale()) == (preset, "log")
        assert one.get_xlim() == pytest.approx((7e-10, 1.0))
        assert one.get_xlabel().startswith("loss relative to the optimum")
    assert [one.get_ylabel() for one in axes] == ["states that lose at most this (%)", ""]
    assert legend(figure)[1:] == (3, False)


def test_claims():
    nothing = float("nan")
    rows = [
        ClaimRow("a over b", "2", "2.5", "holds", "", 2.0, 2.0, 2.5, 2.0, 2.75),
        ClaimRow("no number", "yes", "yes", "holds", "", *[nothing] * 5),
        ClaimRow("c", "4", "3", "differs", "", 4.0, 4.5, 3.0, 2.875, 3.5),
    ]
    (axes,), figure = drawn(claims.draw, rows)
    assert lines(axes)[0][1:] == ([3.0, 2.5], [0.0, 1.0])
    assert lines(axes)[-1] == ("paper", [4.0, 2.0], [0.0, 1.0])
    (errors,) = axes.collections
    assert [segment.tolist() for segment in errors.get_segments()] == [
        [[2.875, 0.0], [3.5, 0.0]],
        [[2.0, 1.0], [2.75, 1.0]],
    ]
    assert ticks(axes.yaxis) == [(0.0, "c"), (1.0, "a\nover b")]
    assert axes.get_ylim() == pytest.approx((-0.6, 1.6))
    assert axes.get_xlim() == (1.0, 5.0)
    assert axes.get_xlabel() == "ratio of mean goodputs"
    assert sorted(legend(figure)[0]) == ["paper", "this model, 95 % interval"]
    assert legend(figure)[1:] == (2, False)


ALLOCATED = [
    (0.852, 2.0, 7, 0.25),
    (0.603, 5.0, 3, 0.125),
    (0.848, 1.0, 9, 0.5),
    (0.601, 4.0, 2, 0.0625),
    (0.853, 3.0, 8, 0.0625),
]
"""Acceptance, spectral efficiency, length and share of devices, in no order; there are two groups."""


def device_table(case, factor, part=1.0):
    return [
        AllocationRow(preset, case, 0, k, r, 10.0, rate, factor * length + 10 * p, part * share)
        for p, preset in enumerate(PRESETS)
        for k, (rate, r, length, share) in enumerate(ALLOCATED)
    ]


def test_devices():
    axes, figure = drawn(devices.draw, device_table("homogeneous", 1) + device_table("heterogeneous", 2))
    for left, preset in enumerate(PRESETS):
        for one, heights, factor, more in (
            (axes[left], [2.0, 3.0, 9.0, 7.0, 8.0], 2.0, 10.0 * left),
            (axes[2 + left], [6.25, 12.5, 50.0, 25.0, 6.25], 1.0, 0.0),
        ):
            common, own = one.containers
            for bars, offset, larger in ((common, -0.2, 1.0), (own, 0.2, factor)):
                middles = [bar.get_x() + bar.get_width() / 2 for bar in bars]
                assert middles == pytest.approx([k + offset for k in range(5)])
                assert [bar.get_height() for bar in bars] == [larger * height + more for height in heights]
                assert {round(bar.get_width(), 9) for bar in bars} == {0.4}
            assert [line.get_xdata() for line in one.lines] == [[1.5, 1.5]]  # between the groups
            assert not one.xaxis.get_gridlines()[0].get_visible()
        texts = [(text.get_text(), *text.get_position()) for text in axes[2 + left].texts]
        assert texts == [("α ≈ 0.60", 0.5, -0.13), ("α ≈ 0.85", 3.0, -0.13)]
        assert [text for _, text in ticks(axes[2 + left].xaxis)] == ["4.0", "5.0", "1.0", "2.0", "3.0"]
        assert [place for place, _ in ticks(axes[2 + left].xaxis)] == [0.0, 1.0, 2.0, 3.0, 4.0]
        assert axes[left].get_title() == preset
        assert axes[2 + left].get_xlabel().startswith("devices: spectral efficiency r")
    assert (axes[0].get_ylabel(), axes[2].get_ylabel()) == ("draft length (tokens)", "bandwidth share (%)")
    assert legend(figure) == (["homogeneous", "heterogeneous"], 2, False)


MEDIANS = [1.0, 1.0, 2.0, 3.0, 3.0, 4.0, 5.0, 5.0], [50.0, 50.0, 25.0, 6.25, 6.25, 6.25, 12.5, 12.5]
"""Of spectral efficiency and share, in eight bins of five of the 40 points, eight of each device."""


def test_remark_2():
    axes, figure = drawn(remark_2.draw, device_table("homogeneous", 1) * 8 + device_table("heterogeneous", 1, 0.5) * 8)
    for row, preset in enumerate(PRESETS):
        channel, acceptance = axes[2 * row : 2 * row + 2]
        efficiencies, shares = MEDIANS
        assert lines(channel) == [("", efficiencies, shares), ("", efficiencies, [0.5 * share for share in shares])]
        offset = 0.015 * 0.25
        labels = ("homogeneous, line: median", "heterogeneous, line: median")
        sides, parts = (-1.0, 1.0), (1.0, 0.5)
        for line, label, side, part in zip(lines(acceptance), labels, sides, parts, strict=True):
            assert line[0] == label
            assert line[1] == pytest.approx([0.6 + side * offset, 0.85 + side * offset])
            assert line[2] == [9.375 * part, 25.0 * part]
        for points, side, part in zip(acceptance.collections, sides, parts, strict=True):
            found = sorted({(round(x - side * offset, 6), y / part) for x, y in points.get_offsets().tolist()})
            assert found == [(0.6, 6.25), (0.6, 12.5), (0.85, 6.25), (0.85, 25.0), (0.85, 50.0)]
        found = {tuple(point) for point in channel.collections[0].get_offsets().tolist()}
        assert found == {(r, 100.0 * share) for _, r, _, share in ALLOCATED}
        assert looks(acceptance) == [(ORANGE, "-", "s"), (BLUE, "-", "o")]
        assert looks(channel) == [(ORANGE, "-", "None"), (BLUE, "-", "None")]
        assert channel.get_ylabel() == f"{preset}: bandwidth share (%)"
        assert channel.get_yscale() == "log"
        assert ticks(channel.yaxis) == [(float(k), str(k)) for k in (1, 2, 5, 10, 20, 50)]
    assert [one.get_xlabel() for one in axes] == [
        *("", "", "spectral efficiency r (bit/s/Hz)", "acceptance rate α, to two digits")
    ]
    assert len({one.get_ylim() for one in axes}) == 1
    assert legend(figure) == (["homogeneous, line: median", "heterogeneous, line: median"], 2, False)


@pytest.fixture
def surfaces(monkeypatch):
    """Calls that draw surfaces: what is called, on which axes, with which numbers and options."""
    found = []

    def watched(name):
        original = getattr(Axes, name)

        def call(self, *parts, **options):
            found.append((name, self, [part.tolist() for part in parts], options))
            return original(self, *parts, **options)

        monkeypatch.setattr(Axes, name, call)

    watched("contour")
    watched("contourf")
    return found


def test_calibration(surfaces):
    """Rows are by draft time, then by ratio; values rise with both, so that places are told apart."""
    rows = [
        SurfaceRow(preset, time, ratio, 3, time + ratio + 100.0 * p, 1.5 + 0.125 * i + 0.25 * j, 4.0 + i + j, 1.0)
        for p, preset in enumerate(PRESETS)
        for i, time in enumerate((4.0, 8.0))
        for j, ratio in enumerate((14.0, 20.0, 26.0))
    ]
    axes, figure = drawn(calibration.draw, rows)
    times, ratios = [4.0, 8.0], [14.0, 20.0, 26.0]
    goodput = np.array([[18.0, 22.0], [24.0, 28.0], [30.0, 34.0]])
    over_fixed = [[1.5, 1.625], [1.75, 1.875], [2.0, 2.125]]
    over_p2p = [[4.0, 5.0], [5.0, 6.0], [6.0, 7.0]]
    filled = [(axes.index(one), parts) for name, one, parts, _ in surfaces if name == "contourf"]
    assert filled == [(panel, [times, ratios, (goodput + 100.0 * panel).tolist()]) for panel in range(2)]
    claimed = [
        (axes.index(one), parts[2], options["levels"], options["colors"], options["linestyles"])
        for name, one, parts, options in surfaces
        if name == "contour"
    ]
    fixed, p2p = (over_fixed, [1.88], [RED], ["-"]), (over_p2p, [4.6], [BLUE], ["--"])
    assert claimed == [(0, *fixed), (0, *p2p), (1, *fixed)]
    panels = axes[:2]
    assert lines(panels[0])[0] == ("calibrated pair", [12.0], [23.5])
    assert lines(panels[1])[0][0] == "calibrated pair"
    for one, preset in zip(panels, PRESETS, strict=True):
        assert (one.get_title(), one.get_xlabel()) == (preset, "mean draft time T̄ (ms/token)")
        assert one.get_xticks().tolist() == [4, 8, 12, 16, 20, 24]
        assert not any(line.get_visible() for line in one.get_xgridlines() + one.get_ygridlines())
    assert panels[0].get_ylabel() == "signal-to-noise ratio p/N0 at unit gain (dB)"
    assert axes[2].get_ylabel() == "goodput of Hete (tokens/s), B = 10 MHz"
    assert legend(figure) == (["calibrated pair", *(line[-1] for line in calibration.LINES)], 3, False)


@pytest.mark.parametrize(("values", "count"), [((1.88, 2.0), 0), ((1.5, 1.88), 0), ((1.5, 2.0), 1)])
def test_a_claim_has_a_line_where_it_is_inside(values, count):
    rows = [
        SurfaceRow(preset, time, ratio, 3, time + ratio, values[i], 9.0 + j, 1.0)
        for preset in PRESETS
        for i, time in enumerate((4.0, 8.0))
        for j, ratio in enumerate((14.0, 20.0))
    ]
    axes, _ = drawn(calibration.draw, rows)
    assert [len(one.collections) - 1 for one in axes[:2]] == [count, count]
