"""The league resumes, pairs what it compares, and its runs are those of the training command."""

import json
import re

import numpy as np
import pytest

from agents import PRETRAINED
from agents.checkpoints import MODEL, load_checkpoint
from agents.evolution import EvolutionSettings
from agents.training import train
from multispin_env.commands.main import main
from multispin_env.evaluation.cases import Episodes, States
from multispin_env.evaluation.statistics import mean_interval
from multispin_env.scenario import Scenario

pytest.importorskip("matplotlib")

TRAIN = "benchmarks.league.cells.train"


def run(out, *more):
    return main(["league", "--quick", "--timesteps", "2000", "--size", "4", "--out", str(out), *more])


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def few_validations():
    """Most of so short a training would be validation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.training.VALIDATIONS", 2)
        yield


@pytest.fixture(scope="module")
def played(few_validations, tmp_path_factory):
    out = tmp_path_factory.mktemp("league")
    assert run(out) == 0
    return out


def test_a_league_leaves_tables_cells_and_pictures(played):
    content = read(played / "results.json")
    assert all(cell["commit"] is not None and cell["hyperparameters"]["learning_rate"] for cell in content["cells"])
    agents = [row for row in content["rows"] if row["role"] == "agent"]
    assert {row["name"] for row in agents} == {"ppo", "apg"}
    assert {row["seeds"] for row in agents} == {"0 1"}
    assert {row["verdict"] for row in agents} <= {"ahead", "behind", "undecided"}
    assert (played / "results.csv").read_text(encoding="utf-8").count("\n") == len(content["rows"]) + 1
    for picture in ("profile.png", "curves.png"):
        assert (played / picture).stat().st_size > 10_000


def test_scores_are_normalised_and_differences_paired(played):
    """Against the values in the files of cells and references."""
    rows = {row["name"]: row for row in read(played / "results.json")["rows"] if "Hetero" in row["env"]}
    (about,) = (read(path) for path in (played / "references").glob("hetero*"))
    floor, top = (np.array(about["values"][about[role]]) for role in ("floor", "reference"))
    assert (rows[about["floor"]]["score"], rows[about["reference"]]["score"]) == (0.0, 1.0)
    assert [rows[about["reference"]][f"minus_reference_{end}"] for end in ("mean", "low", "high")] == [0.0] * 3
    fixed = rows[about["floor"]]  # one seed: an interval over cases alone
    alone = [fixed[f"minus_reference_{end}"] for end in ("mean", "low", "high")]
    assert alone == pytest.approx(mean_interval(floor - top), rel=0.05)
    runs = [np.array(read(path)["values"]) for path in sorted((played / "cells").glob("hetero*ppo*"))]
    scores = [(values.mean() - floor.mean()) / (top.mean() - floor.mean()) for values in runs]
    assert rows["ppo"]["score"] == pytest.approx(np.mean(scores))
    assert rows["ppo"]["minus_reference_low"] <= min((values - top).mean() for values in runs)
    shares = re.search(r"\| ppo \| 2 \| 4 \| (\S+) \((\S+) to", (played / "results.md").read_text(encoding="utf-8"))
    both = [row["score"] for row in read(played / "results.json")["rows"] if row["name"] == "ppo"]
    assert min(both) <= float(shares[1]) <= max(both)  # of the middle half


def test_parts_find_what_a_whole_league_finds(played, tmp_path, monkeypatch):
    """In every byte of the files that say nothing of time; a call for the tables trains nothing again."""
    for part in ("1/2", "2/2"):
        assert run(tmp_path, "--part", part) == 0
        assert not (tmp_path / "results.json").exists()
    monkeypatch.setattr(TRAIN, lambda *given: pytest.fail("trained again"))
    assert run(tmp_path) == 0
    names = [sorted(path.relative_to(folder) for path in folder.rglob("*.*")) for folder in (tmp_path, played)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.parts[0] in ("cells", "references", "results.csv"):
            assert (tmp_path / name).read_bytes() == (played / name).read_bytes()


def test_a_league_that_fails_and_stops_shows_what_is_done_and_goes_on(played, tmp_path, monkeypatch, capsys):
    turns = iter([lambda *given: [][0], train, lambda *given: 15])
    options = ("--seeds", "3", "--agents", "ppo", "--envs", "MultiSpin/Heterogeneous-v0")
    with monkeypatch.context() as patch:
        patch.setattr(TRAIN, lambda *given: next(turns)(*given))
        assert run(tmp_path, *options) == 128 + 15
    assert "stopped by SIGTERM" in capsys.readouterr().err
    failed = tmp_path / "failed" / "heterogeneous-llama2-k3-ppo-s0-r2000.txt"
    assert "IndexError" in failed.read_text(encoding="utf-8")
    assert len(read(tmp_path / "results.json")["cells"]) == 1
    assert run(tmp_path, *options) == 0
    assert not failed.exists()
    assert len(read(tmp_path / "results.json")["cells"]) == 3


def test_cells_are_the_runs_of_the_training_command(played, tmp_path, monkeypatch):
    """The same seed by ``train.py`` makes the same network; the table that it prints afterwards has no part in it."""
    monkeypatch.setattr("agents.training._finish", lambda *given: None)
    options = ["--num-users", "3", "--timesteps", "2000", "--seed", "1", "--action", "lengths"]
    assert main(["train", "--name", str(tmp_path / "run"), *options]) == 0
    folders = (tmp_path / "run", played / "runs" / "heterogeneous-llama2-k3-ppo-s1-r2000")
    own, other = (load_checkpoint(folder, MODEL).parameters["policy"] for folder in folders)
    assert own.keys() == other.keys() != set()
    assert all((value == other[key]).all() for key, value in own.items())


def test_pretrained_agents_play_too(tmp_path, monkeypatch):
    """On a server, where the reference is the optimum of that server; and with other numbers of users."""
    env_id = "MultiSpin/Heterogeneous-v0"
    monkeypatch.setattr("agents.PRETRAINED", {env_id: PRETRAINED[env_id]})
    monkeypatch.setattr("benchmarks.league.pretrained.USERS", (2, 3))
    asked = ["--agents", "ppo", "--seeds", "1", "--envs", env_id, "--pretrained", "--generalisation"]
    law = ["--server", "a100-32b", "--set", "payload=ids", "min_draft_length=0"]
    assert run(tmp_path, *asked, *law) == 0
    commands = [cell.get("command", "") for cell in read(tmp_path / "results.json")["cells"]]
    assert any(command.startswith("python train.py") for command in commands)
    stem = "heterogeneous-llama2-k3-server-a100-32b-payload-ids-min_draft_length-0"
    found = read(tmp_path / "references" / f"{stem}.json")["values"]["optimal"]
    scenario = Scenario.preset("llama2", num_users=3, server="a100-32b", payload="ids", min_draft_length=0)
    assert found == pytest.approx(States.draw(scenario, 4).values("optimal"), rel=1e-6)
    rows = read(tmp_path / "generalisation.json")
    assert {row["num_users"] for row in rows} == {2, 3}
    assert all(row["agent_low"] <= row["agent"] <= row["agent_high"] for row in rows)
    assert (tmp_path / "generalisation.png").stat().st_size > 10_000


def test_without_the_barrier_the_reference_is_the_bound(quick_prices, tmp_path, monkeypatch):
    monkeypatch.setattr(Episodes, "watched_size", 4)
    monkeypatch.setattr("agents.evolution.SETTINGS", EvolutionSettings(pairs=2, cases=2))
    options = ["--agents", "evolution", "--seeds", "1", "--envs", "MultiSpin/Continuous-v0", "--users", "2"]
    assert run(tmp_path, *options, "--timesteps", "1000", "--set", "horizon=3.") == 0
    rows = {row["name"]: row for row in read(tmp_path / "results.json")["rows"]}
    assert (rows["bound"]["score"], rows["optimal"]["score"]) == (1.0, 0.0)
    assert all(0.0 < rows[name]["score"] < 1.0 for name in ("groups", "evolution"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--envs", "MultiSpin/Fare-v0"], "did you mean 'MultiSpin/Fair-v0'"),
        (["--server", "a100-32b", "--set", "server=a100-70b"], "set: expected 'server' once, got --server too"),
        (["--set", "sprea=0.1"], "got 'sprea'; did you mean 'spread'?"),
        (["--set", "delay=2", "--envs", "MultiSpin/Fair-v0"], "which is an argument of MultiSpin/DelayedChannel-v0"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options, message, capsys):
    assert main(["league", *options]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
