"""The league resumes, pairs what it compares, and its aggregates are those of the paper it names."""

import json
from dataclasses import replace

import numpy as np
import pytest

from agents import AGENTS, PRETRAINED, evolution, training
from agents import training as train_command
from agents.checkpoints import MODEL, load_checkpoint
from agents.evolution import EvolutionSettings
from benchmarks.league import cells, studies
from benchmarks.league import command as league
from benchmarks.league.cells import Contest, Others
from benchmarks.league.statistics import Performance, all_scores, crossed, iqm, iqm_interval, profile, weights_of
from multispin_env.commands.main import main
from multispin_env.evaluation.cases.episodes import Episodes
from multispin_env.evaluation.cases.states import States
from multispin_env.scenario import Scenario

pytest.importorskip("matplotlib")

SHIPPED = ("MultiSpin/Heterogeneous-v0", "MultiSpin/HiddenAcceptance-v0")
"""Pretrained agents that are studied here: one is measured on states, one over episodes."""


def rng():
    return np.random.default_rng(0)


def test_iqm_is_the_mean_of_the_middle_half():
    scores = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0])
    assert iqm(scores) == pytest.approx(3.5)


def test_crossed_intervals_know_both_sources():
    """Constant over cases: the interval is that of seeds; and the other way round; one seed has cases alone."""
    seeds = np.array([1.0, 2.0, 3.0])[:, None]
    found = crossed(np.repeat(seeds, 50, axis=1), rng())
    assert found.mean == pytest.approx(2.0)
    assert found.low == pytest.approx(1.0, abs=0.35)
    one = crossed(np.arange(100.0)[None], rng())
    assert one.high - one.low == pytest.approx(2 * 1.96 * np.arange(100.0).std() / 10.0, rel=0.1)


def test_intervals_cover_the_truth():
    """Ten seeds and forty cases, each with an effect of its own, several hundred times."""
    source, covered = np.random.default_rng(1), 0
    for _ in range(200):
        values = source.normal(size=(10, 1)) + source.normal(size=(1, 40))
        found = crossed(values, rng())
        covered += found.low <= 0.0 <= found.high
    assert 0.82 <= covered / 200 <= 0.99


def test_scores_are_normalised_and_paired():
    floor, top = np.array([1.0, 3.0]), np.array([3.0, 7.0])
    performance = Performance(np.array([floor, top, 0.5 * (floor + top)]), floor, top)
    assert performance.scores(np.array([0.5, 0.5])) == pytest.approx([0.0, 1.0, 0.5])
    assert performance.scores(weights_of(2, rng())).std(0) == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)
    assert all_scores([performance, performance]).shape == (6,)
    found = iqm_interval([performance, performance], rng())
    assert found.mean == pytest.approx(0.5)
    assert found.low <= found.mean <= found.high
    share, low, high = profile([performance], np.array([-1.0, 0.25, 0.75, 2.0]), rng())
    assert share == pytest.approx([1.0, 2 / 3, 1 / 3, 0.0])
    assert (low <= share).all()
    assert (share <= high).all()


def run(out, *more):
    """Of agents whose best model does not depend on how often it is looked for: workers do it more often."""
    agents = ("--agents", "ppo", "decentralised", "evolution")
    return main(["league", "--quick", *agents, "--timesteps", "2000", "--size", "4", "--out", str(out), *more])


@pytest.fixture(scope="module", autouse=True)
def few_validations():
    """Most of so short a training would be validation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "VALIDATIONS", 2)
        yield


@pytest.fixture(scope="module")
def played(few_validations, tmp_path_factory):
    out = tmp_path_factory.mktemp("league")
    assert run(out) == 0
    return out


def test_a_league_leaves_tables_cells_and_a_picture(played):
    content = json.loads((played / "results.json").read_text(encoding="utf-8"))
    assert len(content["cells"]) == 8
    assert all(cell["commit"] is not None and cell["hyperparameters"]["learning_rate"] for cell in content["cells"])
    agents_found = [row for row in content["rows"] if row["role"] == "agent"]
    assert {row["name"] for row in agents_found} == {"decentralised", "ppo"}
    assert {row["verdict"] for row in agents_found} <= {"ahead", "behind", "undecided"}
    assert all(row["seeds"] == "0 1" for row in agents_found)
    assert any("evolution, MultiSpin/DelayedChannel-v0" in line for line in content["left_out"])
    text = (played / "results.md").read_text(encoding="utf-8")
    assert "IQM" in text
    assert "## Shares of the reference" in text
    assert text.count("MultiSpin/DelayedChannel-v0, llama2, K = 3") >= 3  # in both short tables, and in one of its own
    assert "best plug-in" in text
    assert (played / "results.csv").read_text(encoding="utf-8").count("\n") == len(content["rows"]) + 1
    for picture in ("profile.png", "curves.png"):
        assert (played / picture).stat().st_size > 10_000


def test_a_fraction_is_of_each_agents_own_budget(capsys):
    options = league.COMMAND.parser("league").parse_args(["--fraction", "0.25", "--envs", "MultiSpin/Heterogeneous-v0"])
    league._complete(options)
    found, _ = league.cells_of(options)
    assert {(cell.agent, cell.rounds) for cell in found} == {
        (name, AGENTS.load(name).timesteps // 4) for name in AGENTS.names() if not name.startswith("evolution")
    }
    assert main(["league", "--fraction", "2"]) == 2
    assert "fraction: expected a finite number in (0, 1], got 2.0" in capsys.readouterr().err


def test_a_contest_can_be_on_a_server(tmp_path):
    """The reference is the optimum there, and cells of it have files of their own."""
    options = ["--agents", "apg", "--seeds", "1", "--envs", "MultiSpin/Heterogeneous-v0"]
    law = ["--server", "a100-32b", "--set", "payload=ids", "min_draft_length=0"]
    assert run(tmp_path, *options, *law) == 0
    rows = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["rows"]
    assert {row["chosen"] for row in rows} == {"server=a100-32b payload=ids min_draft_length=0"}
    title = "llama2, K = 3, server=a100-32b, payload=ids, min_draft_length=0"
    assert f"MultiSpin/Heterogeneous-v0, {title}" in (tmp_path / "results.md").read_text(encoding="utf-8")
    stem = "heterogeneous-llama2-k3-server-a100-32b-payload-ids-min_draft_length-0"
    found = json.loads((tmp_path / "references" / f"{stem}.json").read_text(encoding="utf-8"))["values"]["optimal"]
    scenario = Scenario.preset("llama2", num_users=3, server="a100-32b", payload="ids", min_draft_length=0)
    there = States.draw(scenario, 4)
    assert found == pytest.approx(there.values("optimal"), rel=1e-6)


def test_a_contest_can_have_another_encoding():
    """It is named in its files and its title, so that it is not taken for the contest with the usual one."""
    usual = Contest("MultiSpin/Continuous-v0", "llama2", 3, "'reference=\"own-pace\"'")
    other = replace(usual, action="residual")
    assert usual.settings.action == "tuned"
    assert other.settings.action == "residual"
    assert other.stem == usual.stem.replace("-k3-", "-k3-residual-")
    assert other.title == usual.title.replace("K = 3, ", "K = 3, residual, ")


def test_without_the_barrier_the_reference_is_the_bound(quick_prices, tmp_path, monkeypatch):
    monkeypatch.setattr(Episodes, "watched_size", 4)
    monkeypatch.setattr(evolution, "SETTINGS", EvolutionSettings(pairs=2, cases=2))
    options = ["--agents", "evolution", "--seeds", "1", "--envs", "MultiSpin/Continuous-v0", "--timesteps", "1000"]
    assert main(["league", "--quick", "--out", str(tmp_path), *options, "--users", "2", "--set", "horizon=8."]) == 0
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in content["rows"]}
    assert rows["bound"]["score"] == 1.0
    assert rows["optimal"]["score"] == 0.0
    assert 0.0 < rows["groups"]["score"] <= rows["evolution"]["score"] < 1.0
    assert (tmp_path / "curves.png").stat().st_size > 10_000


def test_where_something_is_hidden_the_floor_has_an_estimator(tmp_path):
    others = Others(Contest("MultiSpin/Continuous-v0", "llama2", 2, "acceptance_visible=False horizon=4."), 2)
    content = others.play().content
    assert content["floor"] == "optimal+filter"
    assert content["reference"] == content["validated_by"] == "prices+clairvoyant"  # nothing bounds it


def test_what_agents_cannot_play_is_left_out_of_a_whole_league():
    options = league.COMMAND.parser("league").parse_args(["--set", "spread=0.1"])
    league._complete(options)
    found, skipped = league.cells_of(options)
    assert {cell.contest.env for cell in found} == {"MultiSpin/HiddenAcceptance-v0", "MultiSpin/Fair-v0"}
    assert any("MultiSpin/Homogeneous-v0: got an unexpected keyword argument 'spread'" in line for line in skipped)


def test_a_second_call_repeats_nothing(played, monkeypatch):
    before = (played / "results.csv").read_text(encoding="utf-8")
    monkeypatch.setattr(cells, "train", lambda *given: pytest.fail("trained again"))
    assert run(played) == 0
    assert (played / "results.csv").read_text(encoding="utf-8") == before


def test_processes_and_parts_find_what_a_serial_league_finds(played, tmp_path, capsys):
    """In every field, and in every byte of the files of runs that say nothing of time."""
    for more in (("--workers", "2", "--part", "1/2"), ("--part", "2/2")):
        assert run(tmp_path, *more) == 0
        assert not (tmp_path / "results.json").exists()
    said = capsys.readouterr().err
    assert "2 running" in said
    assert run(tmp_path, "--workers", "2") == 0
    own, other = (json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (tmp_path, played))
    assert {key: value for key, value in own.items() if key != "command"} == {
        key: value for key, value in other.items() if key != "command"
    }
    names = [sorted(path.relative_to(folder) for path in folder.rglob("*.*")) for folder in (tmp_path, played)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.parts[0] in ("cells", "references"):
            assert (tmp_path / name).read_bytes() == (played / name).read_bytes()


def test_a_cell_that_fails_is_said_and_the_others_are_done(tmp_path, monkeypatch, capsys):
    options = ("--seeds", "2", "--agents", "ppo", "--envs", "MultiSpin/Heterogeneous-v0")
    train, calls = cells.train, []

    def first_fails(*given):
        calls.append(given)
        return train(*given) if len(calls) > 1 else [][0]

    with monkeypatch.context() as patch:
        patch.setattr(cells, "train", first_fails)
        assert run(tmp_path, *options) == 1
    stem = "heterogeneous-llama2-k3-ppo-s0-r2000"
    assert f"failed, see {tmp_path}/failed: {stem}" in capsys.readouterr().err
    assert "IndexError" in (tmp_path / "failed" / f"{stem}.txt").read_text(encoding="utf-8")
    assert len(json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["cells"]) == 1
    assert run(tmp_path, *options) == 0
    assert not (tmp_path / "failed" / f"{stem}.txt").exists()


def test_a_stopped_league_shows_what_is_done_and_goes_on(tmp_path, monkeypatch, capsys):
    options = ("--seeds", "2", "--agents", "ppo", "--envs", "MultiSpin/Heterogeneous-v0")
    train, calls = cells.train, []

    def second_is_stopped(*given):
        calls.append(given)
        return 15 if len(calls) == 2 else train(*given)

    with monkeypatch.context() as patch:
        patch.setattr(cells, "train", second_is_stopped)
        assert run(tmp_path, *options) == 128 + 15
    assert "stopped by SIGTERM; tables hold what is done, and the same command goes on" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["cells"]) == 1
    assert run(tmp_path, *options) == 0
    assert len(json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["cells"]) == 2


def test_cells_are_the_runs_of_the_training_command(played, tmp_path, monkeypatch):
    """The same seed by ``train.py`` makes the same network; the table that it prints afterwards has no part in it."""
    monkeypatch.setattr(train_command, "_finish", lambda *given: None)
    options = ["--num-users", "3", "--timesteps", "2000", "--seed", "1", "--action", "lengths"]
    assert main(["train", "--name", str(tmp_path / "run"), *options]) == 0
    folders = (tmp_path / "run", played / "runs" / "heterogeneous-llama2-k3-ppo-s1-r2000")
    own, other = (load_checkpoint(folder, MODEL).parameters["policy"] for folder in folders)
    assert own.keys() == other.keys() != set()
    assert all((value == other[key]).all() for key, value in own.items())


def test_pretrained_agents_play(tmp_path):
    options = ["--pretrained", "--agents", "--envs", "MultiSpin/Homogeneous-v0", "--size", "4", "--out", str(tmp_path)]
    assert main(["league", *options]) == 0
    (cell,) = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["cells"]
    assert cell["command"].startswith("python train.py")


def test_studies_run(tmp_path, monkeypatch):
    shipped = {name: PRETRAINED[name] for name in SHIPPED}
    monkeypatch.setattr(studies.agents, "PRETRAINED", shipped)
    for name, value in {"USERS": (2, 3), "TIMED_USERS": 3, "ALONE": 2, "BATCHES": 1}.items():
        monkeypatch.setattr(studies, name, value)
    for name, study in studies.STUDIES.items():
        assert "pretrained" in study(tmp_path, 3)
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
        assert json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--envs", "MultiSpin/Fare-v0"], "did you mean 'MultiSpin/Fair-v0'"),
        (["--agents", "pp"], f"agent: expected one of {[*AGENTS.names(), 'module:ATTRIBUTE']}, got 'pp'"),
        (["--studies", "tim"], "did you mean 'time'"),
        (["--seeds", "0"], "seeds: expected an integer ≥ 1, got 0"),
        (["--envs", "MultiSpin/Continuous-v0", "--action", "shares"], "action: expected one of"),
        (["--workers", "0"], "workers: expected an integer ≥ 1, got 0"),
        (["--part", "3/2"], "part: expected I/N with 1 ≤ I ≤ N, as 2/8, got '3/2'"),
        (["--size", "1"], "size: expected an integer ≥ 2, got 1"),
        (["--server", "a100-32"], "server: expected one of"),
        (["--server", "a100-32b", "--set", "server=a100-70b"], "set: expected 'server' once, got --server too"),
        (["--set", "num_users=3"], "set: expected an argument other than"),
        (["--set", "sprea=0.1"], "MultiSpin/Homogeneous-v0: got an unexpected keyword argument 'sprea'"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options, message, capsys):
    assert main(["league", *options]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
