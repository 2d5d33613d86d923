import json
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_env.draft import expected_tokens
from multispin_lab.commands import record
from multispin_lab.models import rounds
from multispin_lab.models.counts import KEPT, RecordedTexts
from multispin_lab.models.engine import Pair
from multispin_lab.models.loading import load_model
from multispin_lab.models.prompts import read_prompts
from multispin_lab.models.record_files import EXTRAS, load_extras
from tests.lab.models.tiny import save_tiny

ROOT = Path(__file__).parents[3]
FILES = ["mine.json", "mine.npz", "mine.png", "mine.toml"]
PROMPTS = [("a", "w5 w2"), ("b", "w7"), ("a", "w9 w3 w2"), ("b", "w4 w4"), ("a", "w8"), ("b", "w11 w5")]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    names = {"target": (0, {}), "draft": (1, {}), "other": (2, {"words": 30}), "short": (0, {"context": 16})}
    return {name: save_tiny(folder / name, seed, **more) for name, (seed, more) in names.items()}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_prompts()
    return tmp_path


def write_prompts():
    rows = [json.dumps({"task": task, "prompt": text}) for task, text in PROMPTS]
    Path("prompts.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def arguments(models, *more):
    options = ["--target", models["target"], "--draft", models["draft"], "--prompts", "prompts.jsonl"]
    return ["record", *options, "--tokens", "40", "--batch", "2", "--seed", "3", "--out", "mine", *map(str, more)]


def files():
    return {name: Path(name).read_bytes() for name in FILES}


@pytest.fixture
def error(refused):
    return lambda *options: refused("record", list(map(str, options)))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def whole(models, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        write_prompts()
        assert main(arguments(models)) == 0
        assert names(Path()) == sorted([*FILES, "prompts.jsonl"])
        return files()


def test_the_files_are_what_the_environment_takes(models, here, whole, capsys):
    assert main(arguments(models, "--server", "a100-32b", "--scenario", "qwen3.5", "--total-bandwidth", "5e6")) == 0
    shown = r"left out, shorter than 8 tokens: 1 of 6 texts\n\ntask.*mine.npz, mine.toml, mine.json, mine.png\n"
    assert re.search(shown, capsys.readouterr().out, re.DOTALL)
    scenario = ms.Scenario.load("mine.toml")
    base = ms.Scenario.preset("qwen3.5", server="a100-32b", total_bandwidth=5e6)
    measured = {"tasks": scenario.tasks, "acceptance_shifts": scenario.acceptance_shifts}
    model = {"vocabulary_size": 24, "kept_probabilities": 24, "target_model": "target"}
    assert scenario == base.replace(name="mine", **model, **measured)
    assert [task.name for task in scenario.tasks] == ["a", "b"]
    shifts = dict(scenario.acceptance_shifts)
    assert shifts[1] < shifts[4] < shifts[16] < 0.0 == shifts[64]
    assert files()["mine.npz"] == whole["mine.npz"]
    records = ms.physics.load_records("mine.npz")
    extras = load_extras("mine.npz", records)
    assert list(extras) == list(EXTRAS)
    env = gym.make("MultiSpin/RecordedAcceptance-v0", scenario="mine.toml", records="mine.npz", num_users=2)
    env.reset(seed=0)
    assumed = env.unwrapped.assumptions.acceptance_mean
    assert np.allclose(assumed, [task.acceptance_rate for task in scenario.tasks])
    rows = json.loads(files()["mine.json"])["rows"]
    assert [row["task"] for row in rows] == ["a", "b", "all"]
    shares = np.array([list(row["explained"].values()) for row in rows])
    assert shares.shape == (3, 3)
    assert (shares < 1.0).all()
    capsys.readouterr()
    assert main(["record", "--read", "mine.npz", "--scenario", "mine.toml"]) == 0
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last == ["all", *(f"{share:z.3f}" for share in shares[-1])]


def test_the_time_is_estimated_from_the_first_two_tokens(models, here, capsys, monkeypatch):
    monkeypatch.setattr(record, "monotonic", iter((10.0, 15.0, 17.0)).__next__)  # 5 s, then 2 s a token
    assert main(arguments(models)) == 0
    seconds = 3 * (5 + 39 * 2)  # of 3 groups
    assert f"\nabout {seconds} s for 6 prompts, less if texts end before 40 tokens\n" in capsys.readouterr().err


def test_texts_of_the_record_are_those_of_the_models(models, here, whole):
    Path("mine.npz").write_bytes(whole["mine.npz"])
    pair = Pair(load_model(models["draft"]), load_model(models["target"]))
    encoded = read_prompts("prompts.jsonl").encode(pair.target, 8)
    groups = [rounds.record_texts(pair, encoded[first : first + 2], first, 40, 1.0, 3) for first in (0, 2, 4)]
    texts = [text for group in groups for text in group]
    long = [index for index, text in enumerate(texts) if len(text.token) >= 8]
    records = ms.physics.load_records("mine.npz")
    assert records.task.tolist() == [index % 2 for index in long]
    assert records.length.tolist() == [len(texts[index].token) for index in long]
    for name, kind in (("probability", np.float16), ("accepted", bool)):
        values = np.concatenate([getattr(texts[index], name) for index in long]).astype(kind)
        np.testing.assert_array_equal(getattr(records, name), values)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_stopped_run_goes_on_to_the_same_files(models, here, whole, number, capsys, monkeypatch, error):
    stopped = f"multispin record: stopped by {signal.Signals(number).name}\n"
    with monkeypatch.context() as patch:
        patch.setattr(rounds, "record_texts", failing_from(0, lambda: signal.raise_signal(number)))
        assert main(arguments(models)) == 128 + number
        assert capsys.readouterr().err.endswith(f"\nnothing is saved yet\n{stopped}")
        assert names(here) == ["prompts.jsonl"]
        patch.setattr(rounds, "record_texts", failing_from(2, lambda: signal.raise_signal(number)))
        assert main(arguments(models)) == 128 + number
    saved = f"\n1 of 3 groups are saved in 'mine.part'; repeat the command to resume\n{stopped}"
    assert capsys.readouterr().err.endswith(saved)
    assert not Path("mine.npz").exists()
    before = Path("mine.part").read_bytes()
    assert "mine.part: expected a file with seed = 4, got 3" in error(*arguments(models, "--seed", 4)[1:])
    Path("mine.part").write_bytes(before + 3 * before.splitlines(True)[-1])
    assert "mine.part: expected texts of 6 prompts, got 8; delete the file" in error(*arguments(models)[1:])
    Path("mine.part").write_bytes(before)
    Path("prompts.jsonl").write_text('{"prompt": "w5"}\n', encoding="utf-8")
    assert "mine.part: expected a file with prompts = '" in error(*arguments(models)[1:])
    assert Path("mine.part").read_bytes() == before
    write_prompts()
    Path("mine.part").write_bytes(before + before.splitlines()[1][:100])  # half a line, as after a kill
    assert main(arguments(models)) == 0
    assert "1 of 3 groups are already done" in capsys.readouterr().err
    assert files() == whole
    assert not Path("mine.part").exists()


def failing_from(start, fail, real=rounds.record_texts):
    def record_texts(pair, prompts, first, *rest):
        if first == start:
            fail()
        return real(pair, prompts, first, *rest)

    return record_texts


def test_too_little_memory_keeps_finished_groups(models, here, monkeypatch, error):
    monkeypatch.setattr(rounds, "record_texts", failing_from(4, lambda: np.empty(10**15)))
    assert "that fit into memory, got too large ones (Unable to allocate" in error(*arguments(models)[1:])
    assert Path("mine.part").read_bytes().count(b"\n") == 3


def test_bad_files_are_refused_before_a_model_is_loaded(here, error):
    Path("taken.part").write_text("my notes", encoding="utf-8")
    options = ["--prompts", "prompts.jsonl", "--target", "x"]
    assert "taken.part: expected a new file or a file of this command" in error(*options, "--out", "taken")
    assert "tokens: expected at most 166666 for 6 prompts, " in error(*options, "--out", "m", "--tokens", 10**6)
    assert names(here) == ["prompts.jsonl", "taken.part"]


def test_wrong_models_leave_no_files(models, here, error):
    options = ["--prompts", "prompts.jsonl", "--out", "mine"]
    wrong = error(*options, "--target", models["target"], "--draft", models["other"])
    assert "draft: expected the vocabulary of the target (24 tokens), got 30" in wrong
    assert "model: expected a folder that exists" in error(*options, "--target", "./nowhere")
    Path("prompts.jsonl").write_text('{"prompt": "w5"}\n{"prompt": "w2 w3 w4 w5 w6 w7 w8 w9 w10"}\n', encoding="utf-8")
    long = error(*options, "--target", models["short"])
    assert "prompts.jsonl, line 2: prompt: expected at most 8 tokens, so that 8 more fit in the context of 16" in long
    assert names(here) == ["prompts.jsonl"]


def test_a_task_without_a_long_text_is_refused(here):
    length = np.array([8, 5, 8, 7, 8, 3])
    flat = np.full(length.sum(), 0.5)
    texts = RecordedTexts(length, flat, flat > 0.5, flat, np.repeat(flat, len(KEPT)), np.repeat(flat, 3))
    with pytest.raises(ValueError, match="expected a text of at least 8 tokens for task 'b', got at most 7"):
        record._long_texts(read_prompts("prompts.jsonl"), texts)


def test_the_record_of_the_package_is_shown_and_written_as_it_is(here, error, capsys):
    assert main(["record", "--read", "packaged"]) == 0
    shown = capsys.readouterr().out
    assert "code          12       1536   0.924" in shown
    assert "ρ" not in shown  # it has no confidences
    assert list(here.iterdir()) == [here / "prompts.jsonl"]
    assert main(["record", "--read", "packaged", "--out", "mine"]) == 0
    assert capsys.readouterr().out.startswith(shown)
    assert main(["record", "--read", "mine.npz", "--scenario", "mine.toml"]) == 0
    assert capsys.readouterr().out == shown
    assert main(["record", "--read", "mine.npz"]) == 0
    assert "\ntask 3 " in capsys.readouterr().out
    ms.Scenario.preset("llama2", tasks=ms.Scenario.preset("llama2").tasks[:2]).save("two.toml")
    assert "tasks of the scenario: expected" in error("--read", "mine.npz", "--scenario", "two.toml")
    assert "path: expected a readable .npz file" in error("--read", "none.npz")
    shipped = ROOT / "multispin_env" / "data" / "records" / "acceptance.npz"
    with np.load(shipped) as old, np.load("mine.npz") as new:
        assert list(old) == list(new)
        for name in old:
            np.testing.assert_array_equal(old[name], new[name], strict=True)


def test_counts_make_a_scenario(here, error):
    log = "request,task,drafted,accepted\n1,x,4,4\n1,x,4,2\n2,x,4,1\n2,y,4,4\n3,y,4,0\n"
    Path("log.csv").write_text(log, encoding="utf-8")
    assert main(["record", "--from-counts", "log.csv", "--scenario", "qwen3.5", "--out", "mine"]) == 0
    x, y = ms.Scenario.load("mine.toml").tasks
    assert (x.name, x.acceptance_rate) == ("x", pytest.approx(7 / 9))
    assert (y.name, y.acceptance_rate) == ("y", pytest.approx(4 / 5))
    rows = json.loads(Path("mine.json").read_text(encoding="utf-8"))["rows"]
    numbers = [(row["task"], row["requests"], row["rounds"], row["drafted"]) for row in rows]
    assert numbers == [("x", 2, 3, 12), ("y", 2, 2, 8)]
    assert names(here) == ["log.csv", "mine.json", "mine.toml", "prompts.jsonl"]
    Path("log.csv").write_text(log + "3,y,4,five\n", encoding="utf-8")
    assert "log.csv: line 7, accepted: expected an integer in 0..4" in error("--from-counts", "log.csv", "--out", "m")


PAGES = ROOT / "tests" / "lab" / "models" / "pages"


def test_metrics_pages_make_a_scenario_with_a_task_each(here, capsys, error):
    shutil.copy(PAGES / "vllm.txt", "code.txt")
    shutil.copy(PAGES / "sglang.txt", "chat.txt")
    assert main(["record", "--counters", "code.txt", "chat.txt", "--scenario", "qwen3.5", "--out", "mine"]) == 0
    shown = capsys.readouterr().out
    assert "mine.toml, mine.json" in shown
    assert re.search(r"^code +10000 +3.00 +2.5240 +0.5080 +0.69", shown, re.MULTILINE)
    assert re.search(r"^2 +7000 +4870 +0.6957 +0.4870 +2.1870 ", shown, re.MULTILINE)
    scenario = ms.Scenario.load("mine.toml")
    assert scenario == ms.Scenario.preset("qwen3.5").replace(name="mine", tasks=scenario.tasks)
    tokens = [float(expected_tokens(3, np.array(task.acceptance_rate))) for task in scenario.tasks]
    assert [task.name for task in scenario.tasks] == ["code", "chat"]
    assert tokens == pytest.approx([2.524, 2.6])
    code, chat = json.loads(Path("mine.json").read_text(encoding="utf-8"))["rows"]
    assert code["interval"][0] < code["rate"] == scenario.tasks[0].acceptance_rate < code["interval"][1]
    assert (code["accepted"], chat["interval"]) == ([7000, 4870, 3370], None)
    gym.make("MultiSpin/HiddenAcceptance-v0", scenario="mine.toml", num_users=2).reset(seed=0)
    Path("other").mkdir()
    shutil.copy(PAGES / "vllm.txt", "other/code.txt")
    twice = error("--counters", "code.txt", "other/code.txt", "--out", "m")
    assert "counters: expected files with different names" in twice
    assert not Path("m.toml").exists()


def test_an_acceptance_length_makes_a_scenario(here, capsys):
    words = ["--acceptance-length", "2.9", "--drafted", "4", "--scenario", "qwen3.5", "--out", "mine"]
    assert main(["record", *words]) == 0
    printed = capsys.readouterr().out
    assert printed.endswith("\nvocabulary of 248320 tokens and draft time of 10 ms: those of qwen3.5\n")
    assert "no interval" in printed
    (task,) = ms.Scenario.load("mine.toml").tasks
    assert task.name == "all"
    assert float(expected_tokens(4, np.array(task.acceptance_rate))) == pytest.approx(2.9)


def test_draft_times_and_their_growth_are_those_of_a_measured_server(here):
    profile = ms.registry.SERVERS.load("cpu-1.5b")
    measured = replace(profile, name="box", draft_time=0.02, draft_context_time=1e-6, draft_context=128)
    measured.save(Path("box.toml"))
    words = ["--acceptance-length", "2.9", "--drafted", "4", "--scenario", "qwen3.5", "--out", "mine"]
    assert main(["record", *words, "--server", "box.toml"]) == 0
    scenario = ms.Scenario.load("mine.toml")
    assert (scenario.mean_draft_time, scenario.draft_context_time, scenario.draft_context) == (0.02, 1e-6, 128)
    assert (scenario.server_draft_time, scenario.server_draft_context_time) == (0.02, 1e-6)
