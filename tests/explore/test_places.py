"""A page reads the scenario file and the runs that the command line names, and nothing else."""

import pytest

from multispin_env.explore.settings import Places
from multispin_env.scenario import Scenario

OUTSIDE = (
    "../secret", "..", ".", "", "/etc", "/etc/passwd", "mine/../../secret", "mine/..", "%2e%2e/secret", "..\\secret",
    "~", "mine\0", "mine/checkpoint",
)  # fmt: skip


@pytest.fixture
def places(tmp_path):
    for name in ("runs/mine", "runs/other", "runs/empty", "secret"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("runs/mine", "runs/other", "secret"):
        (tmp_path / name / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "secret", target_is_directory=True)
    return Places(None, tmp_path / "runs")


def test_runs_are_those_of_the_folder(places):
    assert places.run_names() == ("mine", "other")
    assert places.run("mine") == places.runs / "mine"


@pytest.mark.parametrize("name", [*OUTSIDE, "empty", "link"])
def test_no_other_folder_is_a_run(places, name):
    with pytest.raises(ValueError, match="run: expected one of"):
        places.run(name)


def test_no_folder_has_no_runs(tmp_path):
    assert Places(None, tmp_path / "nothing").run_names() == ()


@pytest.mark.parametrize("name", [*OUTSIDE, "other.toml"])
def test_no_other_file_is_a_scenario(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for file in ("mine.toml", "other.toml"):
        Scenario.preset("r1").save(file)
    places = Places(tmp_path / "mine.toml")
    assert places.scenario(str(tmp_path / "mine.toml")).name == "r1"
    with pytest.raises(ValueError, match="scenario: expected one of"):
        places.scenario(name)
