"""A search repeats, goes on, is shared by processes, and says what failed."""

import csv
import json

import pytest

from agents import sweep, training
from multispin_env.apps.commands.main import main

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module", autouse=True)
def few_validations():
    """Most of so short a training would be validation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "VALIDATIONS", 1)
        yield


def run(out, *more, tune=("learning_rate=1e-4:1e-2:log", "width=4,8")):
    options = ("--num-users", "2", "--timesteps", "2048", "--out", str(out), "--tune", *tune)
    return main(["sweep", *options, *more])


def rows(out):
    return list(csv.DictReader((out / "results.csv").read_text(encoding="utf-8").splitlines()))


def test_a_search_goes_on_where_it_was_and_repeats(tmp_path, capsys):
    assert run(tmp_path / "parts", "--trials", "1") == 0
    assert run(tmp_path / "parts", "--trials", "3") == 0
    capsys.readouterr()
    assert run(tmp_path / "parts", "--trials", "3") == 0
    assert "0 of" not in capsys.readouterr().err  # nothing is missing
    found = rows(tmp_path / "parts")
    assert sorted(int(row["trial"]) for row in found) == [0, 1, 2]
    assert [float(row["score"]) for row in found] == sorted((float(row["score"]) for row in found), reverse=True)
    best = json.loads((tmp_path / "parts" / "best.json").read_text(encoding="utf-8"))
    assert str(best["values"]["learning_rate"]) == found[0]["learning_rate"]
    assert best["values"]["width"] in (4, 8)
    assert (tmp_path / "parts" / "sweep.png").stat().st_size > 5_000
    assert run(tmp_path / "once", "--trials", "1") == 0
    first = next(row for row in found if row["trial"] == "0")
    assert rows(tmp_path / "once") == [first]


def test_workers_score_as_one_process_does(tmp_path):
    """The same choices have the same scores; which are chosen depends on how many are tried at a time."""
    tune = ("width=4",)
    for name, more in (("serial", ()), ("workers", ("--workers", "2"))):
        assert run(tmp_path / name, "--trials", "2", *more, tune=tune) == 0
    scores = [{row["score"] for row in rows(tmp_path / name)} for name in ("serial", "workers")]
    assert scores[0] == scores[1]
    assert len(scores[0]) == 1


def test_a_number_is_used_as_it_is_set(tmp_path, monkeypatch):
    """Also where the environment has numbers of its own, which hold for all others."""
    used = []
    monkeypatch.setattr("agents.sweep.train", lambda *given: used.append(given[-1]) or 2)
    run(tmp_path, "--trials", "1", "--env", "MultiSpin/Homogeneous-v0", tune=("width=24",))
    assert (used[0].width, used[0].rollout_rounds) == (24, 8)


def test_choices_that_fail_are_said(tmp_path, capsys):
    assert run(tmp_path, "--trials", "1", tune=("batch_size=0,-1",)) == 1
    assert "trial 0 failed: " in capsys.readouterr().err
    assert not (tmp_path / "results.csv").exists()


def test_a_stopped_search_goes_on(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr("agents.sweep.train", lambda *given: 2)
        assert run(tmp_path, "--trials", "1") == 128 + 2
    assert "stopped by SIGINT; the same command goes on" in capsys.readouterr().err
    assert run(tmp_path, "--trials", "1") == 0
    assert len(rows(tmp_path)) == 1


def test_a_folder_has_one_search(tmp_path, capsys):
    assert run(tmp_path, "--trials", "1") == 0
    assert run(tmp_path, "--trials", "1", "--seeds", "2") == 2
    assert "out: expected an empty folder, or the same seeds, got" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ("learning_rat=1:2", "did you mean 'learning_rate'"),
        ("learning_rate", f"tune: expected {sweep.EXPECTED}, got 'learning_rate'"),
        ("learning_rate=1e-2:1e-3", "LOW < HIGH"),
        ("learning_rate=0:1:log", "LOW > 0 for log"),
        ("learning_rate=1:2:lin", "LOW < HIGH"),
        ("width=8,x", "of int, got 'width=8,x'"),
        ("width=4,8 width=4:8", "tune: expected 'width' once, got it twice"),
    ],
)
def test_bad_ranges_are_refused_in_one_sentence(tune, message, tmp_path, capsys):
    assert run(tmp_path, tune=tune.split()) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
