import io
import json

import pytest
from rich.console import Console

from multispin_agents import measures
from multispin_agents.measures import Headline, Measure, Report, add_row, print_report, read_curve, write_report
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.comparison import Row

TEXT = "decided by     goodput\n-------------  -------\noptimal          10.00\nppo (lengths)     8.00"


def bar(name, mean, low, high, share):
    return Row(name, mean, low, high, share, 0.0, 0.0, 0.0)


BARS = [
    bar("optimal", 10.0, 9.0, 11.0, 1.0),
    bar("ppo (lengths)", 8.0, 7.5, 8.25, 0.75),
    bar("bad", -1.0, -2.0, -0.5, -0.5),
    bar("colocated", 30.0, 29.0, 31.0, 3.0),  # another system
]
REPORT = Report("title [of it]", TEXT, {"K": 2}, BARS, "goodput", Headline("share", "of it", "share of the optimum"))


@pytest.mark.parametrize(
    ("name", "reference"), [("Heterogeneous", "the optimum"), ("DelayedChannel", "optimal+clairvoyant")]
)
def test_the_headline_names_the_reference(name, reference):
    measure = Measure(EnvConfig.of(f"MultiSpin/{name}-v0", num_users=2))
    assert measure.headline == Headline("share_of_reference", f"of {reference}", f"share of {reference}")


def test_a_run_that_goes_back_to_its_checkpoint_takes_later_rows_away(tmp_path):
    path = tmp_path / "curve.csv"
    for rounds, score in ((100, 0.5), (200, 0.6), (300, 0.7), (200, 0.8), (250, 0.9)):
        add_row(path, {"timesteps": rounds, "share": score})
    assert read_curve(path, "share") == ([100, 200, 250], [0.5, 0.8, 0.9])


@pytest.mark.parametrize(
    "content",
    [None, b"timesteps\n1\n", b"timesteps,share\n1\n", b"\xff", b"timesteps,share\nx,1\n"],
    ids=["missing", "no-score", "short-row", "no-text", "no-number"],
)
def test_a_foreign_curve_is_one_sentence(tmp_path, content):
    path = tmp_path / "curve.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"curve\.csv: can't be read as a learning curve"):
        read_curve(path, "share")
    if content in (b"\xff", b"timesteps,share\nx,1\n"):
        with pytest.raises(ValueError, match=r"curve\.csv: can't be read as a learning curve"):
            add_row(path, {"timesteps": 1, "share": 0.5})
        assert path.read_bytes() == content


def test_a_large_curve_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(measures, "LARGEST_FILE", 100)
    (tmp_path / "curve.csv").write_bytes(b"timesteps,share\n" + b"1,1.0\n" * 100)
    with pytest.raises(ValueError, match="size: expected at most 100 bytes, got more"):
        read_curve(tmp_path / "curve.csv", "share")


def test_table_on_a_console():
    printed = io.StringIO()
    print_report(REPORT, Console(file=printed, width=12))
    assert printed.getvalue().splitlines() == ["", "title [of it]", "", *TEXT.splitlines(), ""]


def test_files_of_a_table(tmp_path):
    write_report(REPORT, tmp_path)
    table = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert table == {"about": {"K": 2}, "rows": [row.to_dict() for row in BARS]}
    rows = (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1] == "optimal,10.0,9.0,11.0,1.0,0.0,0.0,0.0"
