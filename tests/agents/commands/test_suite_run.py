"""``multispin suite run`` makes an entry of any method, within its budget, and goes on where it was stopped."""

import copy
import json

import numpy as np
import pytest
import torch as th
from gymnasium.wrappers import FlattenObservation
from sb3_contrib import ARS, RecurrentPPO
from stable_baselines3 import PPO

import multispin_env as ms
from agents.base import DirectLearner
from agents.suite import CELL, BudgetSpentError, Cell, PolicyRecorder
from multispin_env.apps.commands.main import main
from multispin_env.evaluation.policy import load_policy
from multispin_env.evaluation.suite.entries import CURVES, ENTRY, SCORES

pytestmark = pytest.mark.slow

pytest.importorskip("onnxscript")

NAMES = ("round-8", "resize")

SHORT = "tests.agents.commands.test_suite_run:short"


def short(policy, env, **others):
    """PPO with small rollouts."""
    return PPO(policy, env, n_steps=32, batch_size=32, n_epochs=1, **others)


def searching(policy, env, **others):
    """A method that heeds no callback, and evaluates whole episodes."""
    return ARS(policy, env, n_delta=1, n_eval_episodes=1, **others)


class Brief(PPO):
    """A method that ends by itself, early in its budget."""

    def learn(self, total_timesteps, **others):
        return super().learn(64, **others)


def brief(policy, env, **others):
    """It, with small rollouts."""
    return Brief(policy, env, n_steps=32, batch_size=32, n_epochs=1, **others)


def made_of_nothing(*_, **__):
    """No method."""


def remembering(policy, env, **others):
    """A recurrent method, with small rollouts and two layers."""
    small = {"lstm_hidden_size": 4, "n_lstm_layers": 2}
    return RecurrentPPO("MlpLstmPolicy", env, n_steps=32, batch_size=32, n_epochs=1, policy_kwargs=small, **others)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Two of the tasks, in the second of which other numbers of devices play."""
    few = tuple(ms.suite.task(name) for name in NAMES)
    for module in ("agents.suite", "multispin_env.apps.commands.suite", "multispin_env.evaluation.suite.entries"):
        monkeypatch.setattr(f"{module}.tasks", lambda: few)


def run(out, *more, agent=SHORT, steps=200):
    return main(["suite", "run", "--agent", agent, "--seeds", "2", "--steps", str(steps), "--out", str(out), *more])


def read(file):
    return json.loads(file.read_text(encoding="utf-8"))


def test_a_method_of_another_library_becomes_an_entry(tmp_path, capsys):
    """Its network has one number of devices, and counts as random actions where there are others."""
    out, board = tmp_path / "entry", tmp_path / "board"
    assert run(out) == 0
    assert "resize: counts as random actions" in capsys.readouterr().err
    entry, scores = read(out / ENTRY), read(out / SCORES)
    assert entry["policies"]["resize"] == [{"rule": "random-actions"}] * 2
    assert (entry["steps"], entry["seeds"]) == (200, [0, 1])
    assert entry["cpu_seconds"] > 0.0
    assert scores["round-8"][0] != scores["round-8"][1]
    assert main(["suite", "evaluate", str(out), "--check"]) == 0
    assert main(["suite", "table", str(out), "--out", str(board)]) == 0
    reached = ms.suite.task("round-8").performance(np.array(scores["round-8"])).mean_scores
    assert read(out / CURVES)["round-8"][-1] == pytest.approx(reached)
    assert "| after 1% |" in (board / "leaderboard.md").read_text(encoding="utf-8")
    assert all((board / f"{name}.png").stat().st_size > 10_000 for name in ("profile", "curves"))


def test_a_method_that_remembers_becomes_an_entry(tmp_path):
    assert run(tmp_path, "--seeds", "1", agent=SHORT.replace("short", "remembering"), steps=64) == 0
    assert read(tmp_path / ENTRY)["policies"]["round-8"] == [{"folder": "round-8-0"}]
    assert main(["suite", "evaluate", str(tmp_path), "--check"]) == 0


def test_a_class_that_remembers_gets_its_own_kind_of_policy():
    assert Cell("sb3_contrib:RecurrentPPO", "late", 0, 1).training().network().memory == 2 * 256


def test_a_network_that_remembers_is_exported_as_its_library_plays_it(tmp_path):
    """From step to step, and from the beginning of every episode on."""
    one = ms.suite.task("late")
    training = Cell(SHORT.replace("short", "remembering"), "late", 0, 64).training()
    training.model.learn(64)
    for name, content in training.export().items():
        (tmp_path / name).write_bytes(content)
    for policy in (training.policy(), load_policy(tmp_path)):
        for _ in range(2):
            envs, memory = one.make_vec(3, seed=0), None
            seen, _ = envs.reset(seed=0)
            policy.reset()
            for _ in range(4):
                flat = np.concatenate([seen[name] for name in training.network().entries[:-1]], -1)
                expected, memory = training.model.predict(flat, state=memory, deterministic=True)
                action = policy.act(seen)
                np.testing.assert_allclose(action.reshape(3, -1), expected.reshape(3, -1), atol=1e-6)
                seen, *_ = envs.step(action)


def test_an_agent_of_ours_plays_with_any_number_of_devices(tmp_path):
    assert run(tmp_path, "--seeds", "1", "--tasks", "resize", agent="apg", steps=3000) == 0
    assert not (tmp_path / ENTRY).exists()
    assert run(tmp_path, "--seeds", "1", agent="apg", steps=3000) == 0
    entry = read(tmp_path / ENTRY)
    assert entry["policies"]["resize"] == [{"folder": "resize-0"}]
    assert 0 < entry["steps"] <= 3000
    assert main(["suite", "evaluate", str(tmp_path), "--check"]) == 0


def test_what_is_missing_is_trained_and_the_users_words_are_kept(tmp_path, monkeypatch, capsys):
    play, failing = Cell.play, [1]

    def fail(cell):
        return play(cell) if cell.seed not in failing else [][0]

    monkeypatch.setattr(Cell, "play", fail)
    assert run(tmp_path) == 1
    assert "IndexError" in (tmp_path / "failed" / "round-8-1.txt").read_text(encoding="utf-8")
    assert not (tmp_path / ENTRY).exists()
    before = (tmp_path / "round-8-0" / CELL).read_bytes()
    failing[:] = [0]
    assert run(tmp_path) == 0
    assert (tmp_path / "round-8-0" / CELL).read_bytes() == before
    about = read(tmp_path / ENTRY)
    (tmp_path / ENTRY).write_text(json.dumps({**about, "authors": "A. Nonymous"}), encoding="utf-8")
    assert run(tmp_path) == 0
    assert read(tmp_path / ENTRY) == {**about, "authors": "A. Nonymous"}
    assert run(tmp_path, steps=100) == 2
    said = capsys.readouterr().err
    assert "out: expected a new folder" in said
    assert "'steps': 200" in said


def test_no_training_replaces_an_entry_of_something_else(tmp_path, capsys):
    assert main(["suite", "evaluate", "random-actions", "--out", str(tmp_path)]) == 0
    assert run(tmp_path) == 2
    assert "out: expected a new folder, or one with an entry of this method" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_method_that_learns_nowhere_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("agents.suite.tasks", lambda: (ms.suite.task("resize"),))
    assert run(tmp_path) == 2
    assert "agent: expected an agent that can learn in at least one task" in capsys.readouterr().err


def test_parts_in_processes_find_what_one_call_finds(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(whole) == 0
    assert run(parts, "--part", "1/2", "--workers", "1") == 0
    assert not (parts / ENTRY).exists()
    assert run(parts, "--part", "2/2") == 0
    assert (parts / SCORES).read_bytes() == (whole / SCORES).read_bytes()


def test_a_flat_network_is_exported_as_its_library_plays_it():
    one = ms.suite.task("late")
    training = Cell(SHORT, "late", 0, 64).training()
    training.model.learn(64)
    env = FlattenObservation(one.make())
    seen, _ = env.reset(seed=3)
    entries = {name: value[None] for name, value in one.make().reset(seed=3)[0].items()}
    expected, _ = training.model.predict(seen, deterministic=True)
    np.testing.assert_allclose(training.policy().act(entries)[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "task", "steps"),
    [
        ("ppo", "fair", 5000),
        ("evolution", "ahead-8", 20_000),
        ("tests.agents.commands.test_suite_run:searching", "fair", 200),
    ],
)
def test_no_training_takes_more_steps_than_its_budget(name, task, steps):
    found, _ = Cell(name, task, 0, steps).play()
    assert 0.5 * steps < found["steps"] <= steps
    assert len(found["values"]) == 3


def test_a_method_that_ends_early_has_a_whole_curve():
    """After that it is what it was at the end."""
    found, _ = Cell(SHORT.replace("short", "brief"), "fair", 0, 5000).play()
    _, second, last = map(np.array, found["values"])
    assert found["steps"] == 64
    np.testing.assert_allclose(second, last, rtol=1e-3)


def test_a_first_step_beyond_the_budget_is_a_sentence():
    with pytest.raises(ValueError, match="steps: expected an integer ≥ 1, got 0"):
        Cell("apg", "round-8", 0, 10).play()


def test_a_step_beyond_the_budget_is_not_learnt_from(monkeypatch):
    """Some agents take many environment steps at once, in some environments more and more."""
    improve, sizes, states = DirectLearner._improve, [400, 500, 700], []

    def growing(model):
        states.append(copy.deepcopy(model.policy.state_dict()))
        improve(model)
        return sizes[len(states) - 1]

    monkeypatch.setattr(DirectLearner, "_improve", growing)
    model, keeper = Cell("apg", "round-8", 0, 1500).training().model, PolicyRecorder(1500)
    with pytest.raises(BudgetSpentError):
        model.learn(1500, callback=keeper)
    assert keeper.taken == 900
    assert all(th.equal(value, keeper.states()[-1][name]) for name, value in states[-1].items())
    assert not all(th.equal(value, keeper.states()[-1][name]) for name, value in model.policy.state_dict().items())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--agent", "pppo"], "did you mean 'ppo'"),
        (["--agent", "math:pi"], "which makes no model"),
        (["--agent", "os:getcwd"], "which makes no model"),
        (["--agent", "stable_baselines3:DQN"], "which makes no model"),
        (["--agent", f"{__name__}:made_of_nothing"], "which makes no model"),
        (["--tasks", "lat"], "did you mean"),
        (["--steps", "300000"], "steps: expected an integer in"),
        (["--part", "3/2"], "part: expected"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options, said, tmp_path, capsys):
    assert main(["suite", "run", "--agent", "ppo", "--seeds", "1", "--out", str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
