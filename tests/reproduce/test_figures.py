"""Every figure: rows that repeat, labelled axes, legends beside the data, captions that are true."""

import dataclasses

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from multispin_env.reproduce.figures import barrier, load, verification

from multispin_env.controllers.factory import make_controller
from multispin_env.evaluation.cases.states import States
from multispin_env.evaluation.table import to_csv
from multispin_env.registry import FIGURES
from multispin_env.reproduce.allocations import CASES, device_rows
from multispin_env.reproduce.drawing import DPI, draw_sweep
from multispin_env.reproduce.figure import PRESETS, Scale

SCALE = Scale(quick=True, states=12)

SHORTER = (
    (barrier, "QUICK_STATES", 2),
    (barrier, "WARM_UP", 0.5),
    (barrier, "QUICK_HORIZON", 1.5),
    (load, "QUICK_COPIES", 2),
    (load, "QUICK_HORIZON", 2.0),
)
"""What figures that are played in time have of their own: tests here ask for rows and pictures, not for numbers."""


@pytest.fixture(scope="module")
def computed():
    """Rows of each figure, and the progress that it told."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in SHORTER:
            patch.setattr(module, name, value)
        for name in FIGURES.names():
            seen = []
            found[name] = FIGURES.load(name).compute(dataclasses.replace(SCALE, progress=seen.append)), seen
    return found


@pytest.fixture(scope="module")
def tables(computed):
    return {name: rows for name, (rows, _) in computed.items()}


@pytest.fixture(params=FIGURES.names())
def name(request):
    return request.param


def drawn(spec, rows):
    figure = Figure(figsize=spec.size, dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    spec.draw(rows, figure)
    canvas.draw()
    return figure, canvas.get_renderer()


def test_rows_hold_texts_and_plain_numbers(name, tables):
    rows = tables[name]
    assert len({type(row) for row in rows}) == 1
    for value in dataclasses.astuple(rows[0]):
        assert type(value) in (str, int, float, bool)
    assert to_csv(rows).count("\n") == len(rows) + 1


def test_both_presets_are_there(name, tables):
    if hasattr(tables[name][0], "preset"):
        assert {row.preset for row in tables[name]} == set(PRESETS)


def test_axes_are_labelled_and_legends_cover_no_data(name, tables):
    figure, renderer = drawn(FIGURES.load(name), tables[name])
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert any(axes.get_ylabel() or axes.get_yticklabels() for axes in panels)
    assert all(axes.get_xlabel() for axes in panels if axes.get_subplotspec().is_last_row())
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    for legend in figure.legends:
        assert not any(legend.get_window_extent(renderer).overlaps(box) for box in boxes)
        assert figure.bbox.containsx(legend.get_window_extent(renderer).x1)
    assert all(axes.get_legend() is None for axes in figure.axes)


def test_caption_and_title_are_sentences(name):
    spec = FIGURES.load(name)
    assert spec.title
    assert spec.caption.endswith(".")
    assert len(spec.caption) < 450


def test_progress_ends_at_one(name, computed):
    _, seen = computed[name]
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_draft_length_star_is_at_most_one_token_beside_the_peak(tables):
    keys = {(row.preset, row.acceptance_rate) for row in tables["draft-length"]}
    for key in keys:
        rows = [row for row in tables["draft-length"] if (row.preset, row.acceptance_rate) == key]
        assert [row.draft_length for row in rows] == list(range(1, 26))
        (star,) = (row for row in rows if row.closed_form)
        assert abs(max(rows, key=lambda row: row.goodput).draft_length - star.draft_length) <= 1


def test_optimum_is_never_below(tables):
    for row in tables["bandwidth"] + tables["users"]:
        best = next(
            other
            for other in tables["bandwidth"] + tables["users"]
            if other.system == "optimal"
            and (other.preset, other.num_users, other.bandwidth_mhz) == (row.preset, row.num_users, row.bandwidth_mhz)
        )
        beyond = row.system == "centralized" and row.num_users < 4  # another system: no uplink, a faster drafter
        assert beyond or best.goodput >= row.goodput * (1.0 - 1e-6)


def test_one_device_alone_is_p2p(tables):
    for preset in PRESETS:
        alone = {row.system: row.goodput for row in tables["users"] if row.num_users == 1 and row.preset == preset}
        for system in ("optimal", "homogeneous", "uniform-bandwidth"):
            assert alone[system] == pytest.approx(alone["p2p"], rel=1e-9)


def test_shares_add_up_and_lengths_are_common(tables):
    for row in tables["remark-2"]:
        assert 0.0 < row.bandwidth_share < 1.0
    states = {}
    for row in tables["remark-2"]:
        states.setdefault((row.preset, row.case, row.state), []).append(row)
    for (_, case, _), rows in states.items():
        assert sum(row.bandwidth_share for row in rows) == pytest.approx(1.0)
        assert case == "heterogeneous" or len({row.draft_length for row in rows}) == 1


def test_batches_are_those_up_to_the_largest(tables):
    for preset in PRESETS:
        batches = [row.batch for row in tables["verification"] if row.preset == preset]
        assert batches == list(range(1, verification.LARGEST + 1))


def test_devices_are_those_of_the_first_states():
    rows = device_rows(dataclasses.replace(SCALE, states=6), 2)
    assert [(row.preset, row.case, row.state, row.device) for row in rows] == [
        (preset, case, state, device)
        for preset in PRESETS
        for case in CASES
        for state in range(2)
        for device in range(20)
    ]


def test_panels_of_remark_2_show_their_own_preset(tables):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure()
    FIGURES.load("remark-2").draw(tables["remark-2"], figure)
    for axes, preset in zip(figure.axes[::2], PRESETS, strict=True):
        shown = np.concatenate([points.get_offsets()[:, 1] for points in axes.collections])
        expected = [100.0 * row.bandwidth_share for row in tables["remark-2"] if row.preset == preset]
        assert sorted(shown) == sorted(expected)
        assert preset in axes.get_ylabel()


def test_calibration_has_no_line_where_uniform_bandwidth_equals_homogeneous(monkeypatch):
    """The optimum takes most of the time and has no part in it: another stands for it."""
    monkeypatch.setattr(
        States, "make", lambda states, name: make_controller("fixed" if name == "optimal" else name, states.scenario)
    )
    rows = FIGURES.load("calibration").compute(dataclasses.replace(SCALE, states=400))
    assert {row.states for row in rows} == {200}  # no more than that, whatever the scale
    lead = {preset: [row.uniform_over_homogeneous for row in rows if row.preset == preset] for preset in PRESETS}
    assert max(lead["llama2"]) < 1.0 < min(lead["qwen3.5"])


def test_formula_is_within_a_tenth_of_the_record(tables):
    for row in tables["recorded"]:
        assert np.allclose([row.fitted, row.plain], row.replayed, rtol=0.1)
        assert row.low <= row.replayed <= row.high


def test_certificate_bounds_every_regret(tables):
    for row in tables["certificate"]:
        assert 0.0 <= row.gap <= 1e-6
        for loss in (row.rule, row.algorithm1, row.homogeneous, row.uniform_bandwidth, row.fixed):
            assert -row.gap - 1e-12 <= loss < 1.0


def test_sweep_draws_any_presets(tables):
    rows = [row for row in tables["users"] if row.preset == PRESETS[0]]
    figure = Figure()
    assert len(draw_sweep(rows, figure, lambda row: row.num_users, "devices K")) == 1
