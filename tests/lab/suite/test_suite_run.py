"""``multispin suite run`` makes an entry of any method, within its budget, and continues after a stop."""

import copy
import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch as th
from sb3_contrib import ARS, RecurrentPPO
from stable_baselines3 import PPO, SAC

import multispin_lab
from multispin_agents.base import DirectLearner
from multispin_agents.policies import TracedNetwork, policy_of
from multispin_agents.runs import write_record
from multispin_env.apps.commands.main import main
from multispin_env.evaluation.policy import ONNX, load_policy
from multispin_env.files import lock_folder
from multispin_lab.suite.entries import CURVES, ENTRY, SCORES
from multispin_lab.suite.trainer import CELL, BudgetSpentError, Cell, PolicyRecorder, exported, part_of
from tests.repository import ROOT

# no import: the quick tests would do it in each worker
pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("onnxscript") is None, reason="needs onnxscript")]

NAMES = ("round-8", "resize")

HERE = "tests.lab.suite.test_suite_run"
SMALL = {"n_steps": 32, "batch_size": 32, "n_epochs": 1}


def short(policy, env, **others):
    return PPO(policy, env, **SMALL, **others)


def searching(policy, env, **others):
    """Method that ignores callbacks and evaluates whole episodes."""
    return ARS(policy, env, n_delta=1, n_eval_episodes=1, **others)


def brief(policy, env, **others):
    """Method that ends early in its budget."""
    model = short(policy, env, **others)
    learn = model.learn
    model.learn = lambda steps, **options: learn(64, **options)
    return model


def made_of_nothing(*_, **__):
    pass


def remembering(policy, env, **others):
    kwargs = {"lstm_hidden_size": 4, "n_lstm_layers": 2}
    return RecurrentPPO("MlpLstmPolicy", env, policy_kwargs=kwargs, **SMALL, **others)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    few = tuple(multispin_lab.suite.task(name) for name in NAMES)
    for module in (
        "multispin_lab.suite.trainer",
        "multispin_lab.commands.suite",
        "multispin_lab.suite.entries",
    ):
        monkeypatch.setattr(f"{module}.tasks", lambda: few)


def command(out, *more, agent=f"{HERE}:short", steps=200):
    return ["suite", "run", "--agent", agent, "--seeds", "2", "--steps", str(steps), "--out", str(out), *more]


def run(*arguments, **options):
    return main(command(*arguments, **options))


def soft(policy, env, **others):
    return SAC(policy, env, learning_starts=32, buffer_size=100, **others)


def write_rounded(model, config, folder):
    """Export a model whose matrices are rounded to half precision, in which entries store them."""
    for tensor in model.policy.parameters():
        if tensor.ndim > 1:
            tensor.data = tensor.half().float()
    for name, content in exported(model, config).items():
        (folder / name).write_bytes(content)


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def test_a_method_of_another_library_becomes_an_entry_in_one_call_and_in_parts(tmp_path, capsys):
    out, parts, board = tmp_path / "entry", tmp_path / "parts", tmp_path / "board"
    assert run(out) == 0
    assert "resize: not played" in capsys.readouterr().err
    entry, scores = read(out / ENTRY), read(out / SCORES)
    assert list(entry["policies"]) == ["round-8"]
    assert (entry["steps"], entry["seeds"]) == (200, [0, 1])
    assert entry["starts"] == 2  # after 2 and 20 steps, before the update after 32
    assert entry["cpu_seconds"] > 0.0
    assert scores["round-8"][0] != scores["round-8"][1]
    assert main(["suite", "evaluate", str(out), "--check"]) == 0
    assert main(["suite", "table", str(out), "--out", str(board)]) == 0
    reached = multispin_lab.suite.task("round-8").performance(np.array(scores["round-8"])).mean_scores
    assert read(out / CURVES)["round-8"][-1] == pytest.approx(reached)
    assert "| reported after 1% |" in (board / "leaderboard.md").read_text(encoding="utf-8")
    assert all((board / f"{name}.png").stat().st_size > 10_000 for name in ("profile", "curves"))
    capsys.readouterr()
    words = command(parts, "--part", "1/2", "--workers", "2", "--tasks", "round-8")
    ended = subprocess.run([sys.executable, "-m", "multispin_env", *words], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0
    assert "missing in the entry: round-8-1, round-50-0" in ended.stderr
    assert "resource_tracker" not in ended.stderr  # a worker that ends by itself deletes semaphores of libraries
    assert read(parts / ENTRY)["seeds"] == [0]
    assert read(parts / SCORES) == {name: values[:1] for name, values in scores.items()}
    assert run(parts, "--part", "2/2") == 0
    assert "missing" not in capsys.readouterr().err
    assert read(parts / ENTRY)["seeds"] == [0, 1]
    assert (parts / SCORES).read_bytes() == (out / SCORES).read_bytes()


def test_a_method_that_remembers_becomes_an_entry(tmp_path):
    assert run(tmp_path, "--seeds", "1", agent=f"{HERE}:remembering", steps=64) == 0
    assert read(tmp_path / ENTRY)["policies"]["round-8"] == [{"folder": "round-8-0"}]
    assert main(["suite", "evaluate", str(tmp_path), "--check"]) == 0
    model, config = Cell("sb3_contrib:RecurrentPPO", "late", 0, 1).start()
    assert TracedNetwork.of(model.policy, config).memory == 2 * 256


@pytest.mark.parametrize("method", ["remembering", "short", "soft"])
def test_a_network_is_exported_as_its_library_plays_it(tmp_path, method):
    """In all steps, and in a second episode after a reset."""
    model, config = Cell(f"{HERE}:{method}", "late", 0, 64).start()
    model.learn(64)
    write_rounded(model, config, tmp_path)
    entries = list(config.observations.space.spaces)
    for policy in (policy_of(model, config), load_policy(tmp_path)):
        for _ in range(2):
            envs, memory = multispin_lab.suite.task("late").make_vec(3, seed=0), None
            observation, _ = envs.reset(seed=0)
            policy.reset()
            for _ in range(4):
                flat = np.concatenate([observation[name] for name in entries], -1)
                expected, memory = model.predict(flat, state=memory, deterministic=True)
                action = policy.act(observation)
                np.testing.assert_allclose(action.reshape(3, -1), expected.reshape(3, -1), atol=1e-6)
                observation, *_ = envs.step(action)


@pytest.mark.parametrize(("largest", "kind"), [(65000.0, np.float16), (66000.0, np.float32)])
def test_matrices_are_stored_in_half_precision_unless_that_overflows(largest, kind):
    onnx = pytest.importorskip("onnx")
    model, config = Cell(f"{HERE}:short", "round-8", 0, 64).start()
    matrix = model.policy.action_net.weight
    matrix.data[0, 0] = largest
    stored = onnx.load_from_string(exported(model, config)[ONNX])
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in stored.graph.initializer]
    (found,) = [array for array in arrays if array.size == matrix.numel() and array.max() > 1e4]
    assert found.dtype == kind
    assert found.max() == pytest.approx(largest, rel=1e-3)


def test_an_agent_of_ours_plays_with_any_number_of_devices(tmp_path):
    """Before its other tasks are complete, the entry has a gap."""
    assert run(tmp_path, "--seeds", "1", "--tasks", "resize", agent="apg", steps=3000) == 0
    assert read(tmp_path / ENTRY)["policies"] == {"resize": [{"folder": "resize-0"}]}
    assert main(["suite", "table", str(tmp_path), "--seed", "0"]) == 0
    assert run(tmp_path, "--seeds", "1", agent="apg", steps=3000) == 0
    entry = read(tmp_path / ENTRY)
    assert entry["policies"]["resize"] == [{"folder": "resize-0"}]
    assert 0 < entry["steps"] <= 3000
    assert main(["suite", "evaluate", str(tmp_path), "--check"]) == 0


def test_a_policy_of_ours_learns_with_ppo_of_another_library(tmp_path):
    """For any number of devices."""
    cell = Cell("benchmarks.suite.methods:device_ppo", "resize", 0, 64)
    assert cell.obstacle() == ""
    model, config = cell.start()
    write_rounded(model, config, tmp_path)
    for users in (8, 3):
        scenario = config.scenario.replace(num_users=users)
        observation, _ = config.replace(num_users=users).make_vec(2).reset(seed=0)
        played, expected = load_policy(tmp_path).on(scenario), policy_of(model, config).on(scenario)
        np.testing.assert_allclose(played.act(observation), expected.act(observation), atol=1e-6)


def test_missing_cells_are_trained_and_the_users_words_stay(tmp_path, monkeypatch, capsys):
    play, failing = Cell.play, [1]

    def fail(cell):
        return play(cell) if cell.seed not in failing else [][0]

    monkeypatch.setattr(Cell, "play", fail)
    assert run(tmp_path) == 1
    assert "IndexError" in (tmp_path / "failed" / "round-8-1.txt").read_text(encoding="utf-8")
    assert read(tmp_path / ENTRY)["policies"]["round-8"] == [{"folder": "round-8-0"}]
    before = (tmp_path / "round-8-0" / CELL).read_bytes()
    failing[:] = [0]
    assert run(tmp_path) == 0
    assert (tmp_path / "round-8-0" / CELL).read_bytes() == before
    about = read(tmp_path / ENTRY)
    (tmp_path / ENTRY).write_text(json.dumps({**about, "authors": "A. Nonymous"}), encoding="utf-8")
    assert run(tmp_path) == 0
    assert read(tmp_path / ENTRY) == {**about, "authors": "A. Nonymous"}
    assert run(tmp_path, steps=100) == 2
    printed = capsys.readouterr().err
    assert "out: expected a new folder" in printed
    assert "'steps': 200" in printed


def test_seeds_of_an_entry_without_cells_are_kept(tmp_path, capsys):
    """Stored entries have no files of cells; only missing seeds are trained."""
    out, cell = tmp_path / "entry", tmp_path / "entry" / "round-8-0"
    assert run(out, "--seeds", "1") == 0
    (cell / CELL).unlink()
    before = {path: path.read_bytes() for path in cell.iterdir()}
    old = {name: read(out / name)["round-8"] for name in (SCORES, CURVES)}
    for changed, words in (
        ({"agent": f"{HERE}:brief"}, "out: expected a new folder, or an entry of"),
        ({"steps": 100}, "with 100 steps, got"),
    ):
        assert run(out, **changed) == 2
        assert words in capsys.readouterr().err
    assert run(out) == 0
    assert "1 of 1 done" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in cell.iterdir()} == before
    assert read(out / SCORES)["round-8"][0] == old[SCORES][0]
    assert [point[0] for point in read(out / CURVES)["round-8"]] == [point[0] for point in old[CURVES]]
    assert read(out / ENTRY)["starts"] == 2
    assert main(["suite", "evaluate", str(out), "--check"]) == 0
    (cell / ONNX).unlink()  # it stays recorded, and its scores
    files, scores = read(out / ENTRY)["files"], read(out / SCORES)
    assert run(out) == 0
    assert (read(out / ENTRY)["files"], read(out / SCORES)) == (files, scores)
    (cell / ONNX).write_bytes(b"")
    assert run(out) == 2
    assert "got another 'round-8-0/policy.onnx'" in capsys.readouterr().err


def test_a_run_is_refused_while_another_trains_a_cell_of_its_part_and_writes_through_no_links(tmp_path, capsys):
    out, elsewhere = tmp_path / "entry", tmp_path / "elsewhere"
    (out / "round-8-1").mkdir(parents=True)
    with lock_folder(out / "round-8-1"):
        assert run(out) == 2
        assert "folder: expected a folder that no other process writes to" in capsys.readouterr().err
        assert not (out / "round-8-0" / CELL).exists()
        assert run(out, "--part", "1/2") == 0
    (out / "round-8-0").rename(elsewhere)
    (out / "round-8-0").symlink_to(elsewhere, target_is_directory=True)
    before = {path: path.read_bytes() for path in elsewhere.iterdir()}
    assert run(out) == 2
    assert "run: expected a folder without links" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in elsewhere.iterdir()}


def test_parts_of_trainings():
    parts = [part_of("abcdefg", f"{first}/3") for first in (1, 2, 3)]
    assert sorted("".join(map("".join, parts))) == part_of("abcdefg", None) == list("abcdefg")
    for wrong in ("4/3", "0/3", "1", "a/b"):
        with pytest.raises(ValueError, match="part: expected I/N"):
            part_of("abc", wrong)


SPEC = {"agent": f"{HERE}:short", "task": "round-8", "seed": 1, "steps": 200, "version": "v1"}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_text("{", encoding="utf-8"), "Expecting property name"),
        (lambda path: path.write_text("[]", encoding="utf-8"), "expected a table of fields"),
        (lambda path: path.write_text(json.dumps({"spec": SPEC}), encoding="utf-8"), "schema: expected 4, got None"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"0.25", b"0.75")), "does not match its digest"),
        (lambda path: write_record(path, {}), "out: expected a new folder"),
        (lambda path: write_record(path, {"spec": {**SPEC, "seed": 0}}), "out: expected a new folder"),
        (lambda path: write_record(path, {"spec": {**SPEC, "agent": "ppo"}}), "out: expected a new folder"),
    ],
)
def test_a_damaged_cell_ends_in_a_sentence_and_stays(damage, words, tmp_path, capsys):
    path = tmp_path / "round-8-1" / CELL
    path.parent.mkdir()
    write_record(path, {"spec": SPEC, "steps": 200, "seconds": 1.0, "cpu_seconds": 1.0, "values": [0.25]})
    damage(path)
    content = path.read_bytes()
    assert run(tmp_path, "--tasks", "resize") == 2
    printed = capsys.readouterr().err
    assert f"{path}: " in printed
    assert words in printed
    assert path.read_bytes() == content
    assert {entry.name for entry in tmp_path.iterdir()} == {"round-8-1"}


def test_other_entries_and_methods_without_tasks_are_refused(tmp_path, monkeypatch, capsys):
    assert main(["suite", "evaluate", "random-actions", "--out", str(tmp_path)]) == 0
    assert run(tmp_path) == 2
    assert "out: expected a new folder, or one with an entry of this method" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
    monkeypatch.setattr("multispin_lab.suite.trainer.tasks", lambda: (multispin_lab.suite.task("resize"),))
    assert run(tmp_path) == 2
    assert "agent: expected an agent that can learn in at least one task" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "task", "steps"),
    [("ppo", "fair", 5000), ("evolution", "ahead-8", 20_000), (f"{HERE}:searching", "fair", 200)],
)
def test_no_training_takes_more_steps_than_its_budget(name, task, steps):
    content, _ = Cell(name, task, 0, steps).play()
    assert 0.5 * steps < content["steps"] <= steps
    assert len(content["values"]) == 3


def test_a_method_that_ends_early_has_a_whole_curve():
    """With its last policy at all later points."""
    content, _ = Cell(f"{HERE}:brief", "fair", 0, 5000).play()
    _, second, last = map(np.array, content["values"])
    assert content["steps"] == 64
    np.testing.assert_allclose(second, last, rtol=1e-3)
    with pytest.raises(ValueError, match="steps: expected an integer ≥ 1, got 0"):
        Cell("apg", "round-8", 0, 10).play()  # its first step is beyond the budget


def test_a_step_beyond_the_budget_is_not_learnt_from(monkeypatch):
    """Some agents take many environment steps per update, and a growing number."""
    improve, sizes, states = DirectLearner._improve, [400, 500, 700], []

    def growing(model):
        states.append(copy.deepcopy(model.policy.state_dict()))
        improve(model)
        return sizes[len(states) - 1]

    monkeypatch.setattr(DirectLearner, "_improve", growing)
    (model, _), recorder = Cell("apg", "round-8", 0, 1500).start(), PolicyRecorder(1500)
    with pytest.raises(BudgetSpentError):
        model.learn(1500, callback=recorder)
    assert recorder.taken == 900
    assert all(th.equal(value, recorder.states()[-1][name]) for name, value in states[-1].items())
    assert not all(th.equal(value, recorder.states()[-1][name]) for name, value in model.policy.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--agent", "pppo"], "did you mean 'ppo'"),
        (["--agent", "math:pi"], "which is not callable"),
        (["--agent", "os:getcwd"], "which makes no model"),
        (["--agent", "stable_baselines3:DQN"], "which makes no model"),
        (["--agent", f"{__name__}:made_of_nothing"], "which makes no model"),
        (["--tasks", "lat"], "did you mean"),
        (["--steps", "300000"], "steps: expected an integer in"),
        (["--part", "3/2"], "part: expected"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options, message, tmp_path, capsys):
    assert main(["suite", "run", "--agent", "ppo", "--seeds", "1", "--out", str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
