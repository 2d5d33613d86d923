import dataclasses
from itertools import groupby

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from multispin_env.controllers.names import make_controller
from multispin_env.evaluation.cases import StateCases
from multispin_env.evaluation.drawing import SETTINGS
from multispin_env.evaluation.statistics import to_csv
from multispin_lab.reproduce import FIGURES, optimum
from multispin_lab.reproduce.figure import PRESETS, Scale
from tests.lab.reproduce.test_numbers import rows_of

SCALE = Scale(quick=True, states=12)


@pytest.fixture(scope="module")
def tables():
    return {name: rows_of(FIGURES.load(name), SCALE) for name in FIGURES.names()}


def check_rows_and_picture(spec, rows):
    contents = [row if isinstance(row, dict) else vars(row) for row in rows]
    assert len(set(map(tuple, contents))) == 1  # the same columns
    assert {type(value) for value in contents[0].values()} <= {str, int, float, bool}
    assert to_csv(rows).count("\n") == len(rows) + 1
    if "preset" in contents[0]:
        assert {content["preset"] for content in contents} == set(PRESETS)
    if (cells := spec.cells) is not None:
        header, lines = cells(rows)
        assert {len(line) for line in lines} == {len(header)}

    with rc_context(SETTINGS):
        figure = Figure(figsize=spec.size, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        spec.draw(rows, figure)
        canvas.draw()
    assert any(axes.has_data() for axes in figure.axes)
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert any(axes.get_ylabel() or axes.get_yticklabels() for axes in panels)
    assert all(axes.get_xlabel() for axes in panels if axes.get_subplotspec().is_last_row())
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for legend in figure.legends:
        assert not any(legend.get_window_extent().overlaps(box) for box in boxes)
        assert figure.bbox.containsx(legend.get_window_extent().x1)
    assert all(axes.get_legend() is None for axes in figure.axes)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES.names())
def test_rows_hold_texts_and_plain_numbers_and_pictures_show_them(name, tables):
    check_rows_and_picture(FIGURES.load(name), tables[name])


def test_a_draft_length_star_is_at_most_one_token_beside_the_peak(tables):
    for _, group in groupby(tables["draft-length"], lambda row: (row["preset"], row["acceptance_rate"])):
        rows = list(group)
        (star,) = (row for row in rows if row["closed_form"])
        assert abs(max(rows, key=lambda row: row["goodput"])["draft_length"] - star["draft_length"]) <= 1


def test_the_optimum_is_never_below(tables):
    rows = tables["bandwidth"] + tables["users"]
    best = {
        (row["preset"], row["num_users"], row["bandwidth_mhz"]): row["goodput"]
        for row in rows
        if row["system"] == "optimal"
    }
    for row in rows:
        beyond = row["system"] == "centralized" and row["num_users"] < 4  # another system: no uplink, a faster drafter
        assert beyond or best[row["preset"], row["num_users"], row["bandwidth_mhz"]] >= row["goodput"] * (1.0 - 1e-6)


def test_one_device_alone_is_p2p(tables):
    for preset in PRESETS:
        alone = {
            row["system"]: row["goodput"]
            for row in tables["users"]
            if row["num_users"] == 1 and row["preset"] == preset
        }
        for system in ("optimal", "homogeneous", "uniform-bandwidth"):
            assert alone[system] == pytest.approx(alone["p2p"], rel=1e-9)


def test_calibration_has_no_line_where_uniform_bandwidth_equals_homogeneous(monkeypatch):
    """The optimum is replaced, as it takes most of the time and does not matter."""
    monkeypatch.setattr(optimum, "QUICK_GRID", 3)
    monkeypatch.setattr(
        StateCases,
        "make",
        lambda states, name: make_controller("fixed" if name == "optimal" else name, states.scenario),
    )
    rows = rows_of(FIGURES.load("calibration"), dataclasses.replace(SCALE, states=400))
    assert {row["states"] for row in rows} == {200}  # no more than that, whatever the scale
    lead = {preset: [row["uniform_over_homogeneous"] for row in rows if row["preset"] == preset] for preset in PRESETS}
    assert max(lead["llama2"]) < 1.0 < min(lead["qwen3.5"])


def test_the_formula_is_within_a_tenth_of_the_record(tables):
    for row in tables["recorded"]:
        assert np.allclose([row["fitted"], row["plain"]], row["replayed"], rtol=0.1)
        assert row["low"] <= row["replayed"] <= row["high"]
