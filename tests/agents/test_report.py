"""Tables and pictures at the end of a run, from a few numbers that were chosen by hand."""

import io
import json
from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from agents.measures import Headline, Report, agent_label, draw_report, show, write_report
from multispin_env.evaluation.comparison import Row

ROWS = [
    Row("optimal", 10.0, 9.0, 11.0, 1.0, 0.0, 0.0, 0.0),
    Row("ppo (lengths)", 8.0, 7.5, 8.25, 0.8, -2.0, -3.0, -1.0),
]
TEXT = "decided by     goodput\n-------------  -------\noptimal          10.00\nppo (lengths)     8.00"


def bar(name, mean, low, high, share):
    return Row(name, mean, low, high, share, 0.0, 0.0, 0.0)


BARS = [
    bar("optimal", 10.0, 9.0, 11.0, 1.0),
    bar("ppo (lengths)", 8.0, 7.5, 8.25, 0.75),
    bar("bad", -1.0, -2.0, -0.5, -0.5),
]


def report(axis="goodput", rows=BARS):
    return Report("title [of it]", TEXT, {"K": 2}, rows, axis, Headline("share", "of it", "share of the optimum"))


def test_label_of_an_agent():
    assert agent_label(SimpleNamespace(agent="ppo", action="lengths")) == "ppo (lengths)"


@pytest.mark.parametrize("terminal", [True, False])
def test_table_on_a_console(terminal):
    printed = io.StringIO()
    console = Console(file=printed, force_terminal=terminal, color_system="standard" if terminal else None, width=12)
    show(report(), console)
    lines = printed.getvalue().splitlines()
    best = lines[5]
    if terminal:
        assert "\x1b[1;32m" in best
        assert sum("\x1b" in line for line in lines) == 1
        lines[5] = "optimal          10.00"
    assert lines == ["", "title [of it]", "", *TEXT.splitlines(), ""]


def test_files_of_a_table(tmp_path):
    write_report(report(rows=ROWS), tmp_path)
    found = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert found == {"about": {"K": 2}, "rows": [row.to_dict() for row in ROWS]}
    assert (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()[
        1
    ] == "optimal,10.0,9.0,11.0,1.0,0.0,0.0,0.0"


@pytest.fixture
def pictures(monkeypatch, tmp_path):
    """Draws a report and returns the axes of its pictures by the name of their files."""
    (tmp_path / "curve.csv").write_text("timesteps,seconds,share\n100,1.0,0.5\n200,2.0,0.625\n", encoding="utf-8")

    def drawn(one, label="ppo (lengths)"):
        found = {}

        def keep(figure, path):
            path.touch()
            found[path.name] = figure.axes[0]

        monkeypatch.setattr(Figure, "savefig", keep)
        draw_report(one, label, tmp_path)
        return found

    return drawn


def test_bars(pictures):
    axes = pictures(report())["comparison.png"]
    bars, errors = axes.patches, axes.collections[0].get_segments()
    assert [bar.get_width() for bar in bars] == [-1.0, 8.0, 10.0]  # the best on top
    assert [bar.get_facecolor()[:3] for bar in bars] == [
        pytest.approx([part / 255 for part in colour]) for colour in ((0, 114, 178), (213, 94, 0), (0, 114, 178))
    ]
    assert [segment[:, 0].tolist() for segment in errors] == [[-2.0, -0.5], [7.5, 8.25], [9.0, 11.0]]
    texts = [(text.get_text(), *text.get_position()) for text in axes.texts]
    assert texts == [("  -0.5000", 0.0, 0), ("  0.7500", 8.25, 1), ("  1.0000", 11.0, 2)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["bad", "ppo (lengths)", "optimal"]
    assert axes.get_xlim() == pytest.approx((-2.24, 12.32))
    assert axes.get_xlabel() == "goodput, mean and 95 % interval; beside it the share of the optimum"
    axes = pictures(report("share of the optimum", BARS[:2]))["comparison.png"]
    assert axes.get_xlabel() == "share of the optimum, mean and 95 % interval"
    assert axes.get_xlim() == pytest.approx((0.0, 12.32))


def test_all_bars_below_nothing(pictures):
    bars = [bar("a", -1.0, -2.0, -0.5, 1.0), bar("b", -3.0, -4.0, -2.5, 0.5)]
    axes = pictures(report(rows=bars))["comparison.png"]
    assert axes.get_xlim() == pytest.approx((-4.48, 0.0))
    assert [text.get_position()[0] for text in axes.texts] == [0.0, 0.0]


OTHERS = [bar("colocated", 30.0, 29.0, 31.0, 3.0), bar("p2p", 2.0, 1.5, 2.5, 0.9)]


def test_bars_of_other_systems_are_grey_and_apart(pictures):
    axes = pictures(report(rows=[*BARS[:2], *OTHERS]))["comparison.png"]
    bars = {bar.get_width(): bar for bar in axes.patches}
    places = {width: bar.get_y() + bar.get_height() / 2.0 for width, bar in bars.items()}
    assert places == pytest.approx({2.0: -1.0, 30.0: 0.0, 8.0: 2.0, 10.0: 3.0})
    ticks = zip(axes.get_yticks(), (label.get_text() for label in axes.get_yticklabels()), strict=True)
    assert dict(ticks) == {-1: "p2p", 0: "colocated", 2: "ppo (lengths)", 3: "optimal"}
    grey, decides = ({bars[width].get_facecolor() for width in widths} for widths in ((2.0, 30.0), (8.0, 10.0)))
    assert len(grey) == 1
    assert not grey & decides
    assert [text.get_position()[1] for text in axes.texts if "other systems" in text.get_text()] == [1]


def test_curve_leaves_other_systems_out(pictures):
    alone = pictures(report(rows=BARS[:2]))["learning_curve.png"]
    beside = pictures(report(rows=[*BARS[:2], *OTHERS]))["learning_curve.png"]
    assert [line.get_label() for line in beside.lines] == [line.get_label() for line in alone.lines]
    assert beside.get_ylim() == alone.get_ylim()


def test_curve(pictures):
    axes = pictures(report())["learning_curve.png"]
    (steps, scores), *others = (line.get_data() for line in axes.lines)
    assert (list(steps), list(scores)) == ([100, 200], [0.5, 0.625])
    assert [list(data[1]) for data in others] == [[1.0, 1.0]]  # bad is far below the curve
    labels = [line.get_label() for line in axes.lines]
    assert labels == ["ppo (lengths), validation", "optimal, 1.0000"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == labels
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("rounds trained", "share of the optimum")


@pytest.mark.parametrize(("headline", "shown"), [(0.41, True), (0.39, False)])
def test_references_within_a_tenth_below_the_curve_are_shown(headline, shown, pictures):
    bars = [BARS[0], BARS[1], bar("near", 1.0, 1.0, 1.0, headline)]
    axes = pictures(report(rows=bars))["learning_curve.png"]
    assert (len(axes.lines) == 3) == shown


def test_a_tenth_is_of_the_highest_headline(pictures):
    rows = [bar("optimal", 10.0, 9.0, 11.0, 10.0), BARS[1], bar("near", 1.0, 1.0, 1.0, -0.4)]
    axes = pictures(report(rows=rows))["learning_curve.png"]
    assert [line.get_label() for line in axes.lines][1:] == ["optimal, 10.0000", "near, -0.4000"]
