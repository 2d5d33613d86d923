"""The learning curve of a run: a row for each validation."""

import pytest

from agents.measures import add_row, points


def test_a_run_that_goes_back_to_its_checkpoint_takes_later_rows_away(tmp_path):
    path = tmp_path / "curve.csv"
    for rounds, score in ((100, 0.5), (200, 0.6), (300, 0.7), (200, 0.8), (250, 0.9)):
        add_row(path, {"timesteps": rounds, "share": score})
    assert points(path, "share") == ([100, 200, 250], [0.5, 0.8, 0.9])
    assert path.read_bytes() == b"timesteps,share\r\n100,0.5\r\n200,0.8\r\n250,0.9\r\n"


def test_a_row_is_added_to_no_other_file(tmp_path):
    (tmp_path / "curve.csv").write_bytes(b"timesteps,share\nmany,0.5\n")
    with pytest.raises(ValueError, match=r"curve\.csv: can't be read as a learning curve"):
        add_row(tmp_path / "curve.csv", {"timesteps": 1, "share": 0.5})
    assert (tmp_path / "curve.csv").read_bytes() == b"timesteps,share\nmany,0.5\n"
