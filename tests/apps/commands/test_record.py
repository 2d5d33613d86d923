"""``multispin record``: with tiny models, killed and taken up again, from counts, and of a record that is there."""

import json
import shutil
import signal
from argparse import Namespace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import multispin_env as ms
from multispin_env.apps.commands import record
from multispin_env.apps.commands.main import main
from multispin_env.apps.models import rounds
from multispin_env.apps.models.counts import RecordedTexts, parse_texts
from multispin_env.apps.models.passes import Journal
from multispin_env.apps.models.prompts import read_prompts
from multispin_env.physics.records import load_overlap
from multispin_env.physics.tokens import expected_tokens
from tests.apps.commands.test_entry import without
from tests.apps.models.tiny import save_tiny

ROOT = Path(__file__).parents[3]
FILES = ["mine.json", "mine.npz", "mine.png", "mine.toml"]
PROMPTS = [("a", "w5 w2"), ("b", "w7"), ("a", "w9 w3 w2"), ("b", "w4 w4"), ("a", "w8"), ("b", "w11 w5")]
"""Tasks and texts that the tiny models answer with more than 8 tokens, most of them."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    names = {"target": (0, {}), "draft": (1, {}), "other": (2, {"words": 30}), "short": (0, {"context": 16})}
    return {name: save_tiny(folder / name, seed, **more) for name, (seed, more) in names.items()}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of prompts, in which the command runs."""
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
def said(refused):
    """The sentence of a call that is to refuse."""
    return lambda *given: refused("record", list(map(str, given)))


@pytest.fixture(scope="module")
def whole(models, tmp_path_factory):
    """Files of a run that nobody stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("whole"))
        write_prompts()
        assert main(arguments(models)) == 0
        assert sorted(path.name for path in Path().iterdir()) == sorted([*FILES, "prompts.jsonl"])
        return files()


def test_the_files_are_what_the_environment_takes(models, here, whole, capsys):
    assert main(arguments(models, "--server", "a100-32b", "--scenario", "qwen3.5", "--total-bandwidth", "5e6")) == 0
    out = capsys.readouterr().out
    assert "left out, as they have fewer than 8 tokens: 1 of 6 texts\n\ntask" in out
    assert "mine.npz, mine.toml, mine.json, mine.png" in out
    scenario = ms.Scenario.load("mine.toml")
    base = ms.Scenario.preset("qwen3.5", server="a100-32b", total_bandwidth=5e6)
    assert scenario == base.replace(name="mine", vocabulary_size=24, tasks=scenario.tasks)
    assert [task.name for task in scenario.tasks] == ["a", "b"]
    assert files()["mine.npz"] == whole["mine.npz"]
    records = ms.load_records("mine.npz")
    assert len(load_overlap("mine.npz", records)) == records.length.sum()
    env = gym.make("MultiSpin/RecordedAcceptance-v0", scenario="mine.toml", records="mine.npz", num_users=2)
    env.reset(seed=0)
    base = env.unwrapped
    assert np.allclose(base.assumptions.acceptance_mean, [task.acceptance_rate for task in scenario.tasks])
    about = json.loads(files()["mine.json"])
    assert [row["task"] for row in about["rows"]] == ["a", "b", "all"]


def test_texts_of_the_record_are_those_of_the_models(models, here, whole):
    """Flat arrays in the order of the prompts, whatever the groups."""
    Path("mine.npz").write_bytes(whole["mine.npz"])
    options = Namespace(target=models["target"], draft=models["draft"], draft_bits=None, device="cpu", dtype="float32")
    pair = record.load_pair(options)
    encoded = read_prompts("prompts.jsonl").encode(pair.target, 8)
    texts = [
        text for first in (0, 2, 4) for text in rounds.record_texts(pair, encoded[first : first + 2], first, 40, 1.0, 3)
    ]
    long = [index for index, text in enumerate(texts) if len(text.token) >= 8]
    records = ms.load_records("mine.npz")
    assert records.task.tolist() == [index % 2 for index in long]
    assert records.length.tolist() == [len(texts[index].token) for index in long]
    beta = np.concatenate([texts[index].probability for index in long]).astype(np.float16)
    np.testing.assert_array_equal(records.probability, beta)
    np.testing.assert_array_equal(records.accepted, np.concatenate([texts[index].accepted for index in long]))


def test_a_run_that_is_stopped_at_once_leaves_nothing(models, here, capsys, monkeypatch):
    monkeypatch.setattr(record, "load_pair", lambda options: signal.raise_signal(signal.SIGINT))
    assert main(arguments(models)) == 130
    assert capsys.readouterr().err == "\nmultispin record: interrupted; nothing is done yet\n"
    assert [path.name for path in here.iterdir()] == ["prompts.jsonl"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_same_files(models, here, whole, number, capsys, monkeypatch, said):
    real = rounds.record_texts

    def stopped_in_the_second(pair, prompts, first, *rest):
        if first == 2:
            signal.raise_signal(number)
        return real(pair, prompts, first, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(rounds, "record_texts", stopped_in_the_second)
        assert main(arguments(models)) == 128 + number
    kept = "multispin record: interrupted; 1 of 3 groups are kept in 'mine.part', and the same command goes on"
    assert capsys.readouterr().err.splitlines()[-1] == kept
    assert not Path("mine.npz").exists()
    before = Path("mine.part").read_bytes()
    assert "mine.part: expected a file with seed = 4, got 3" in said(*arguments(models, "--seed", 4)[1:])
    Path("prompts.jsonl").write_text('{"prompt": "w5"}\n', encoding="utf-8")
    assert "mine.part: expected a file with prompts = '" in said(*arguments(models)[1:])
    assert Path("mine.part").read_bytes() == before
    write_prompts()
    Path("mine.part").write_bytes(before + before.splitlines()[1][:100])  # half a line of a kill
    assert main(arguments(models)) == 0
    assert "1 of 3 groups are done already" in capsys.readouterr().err
    assert files() == whole
    assert not Path("mine.part").exists()


def test_more_texts_than_prompts_are_refused(models, here, said):
    options = record.COMMAND.parser("x").parse_args(arguments(models)[1:])
    journal = Journal(
        Path("mine.part"), "record", record._settings(options, read_prompts("prompts.jsonl")), parse_texts
    )
    text = RecordedTexts(np.array([9]), np.full(9, 0.5, np.float16), np.ones(9, bool), np.full(9, 0.5, np.float16))
    for _ in range(7):
        journal.add(text.line())
    assert "mine.part: expected texts of 6 prompts, got 7; delete the file" in said(*arguments(models)[1:])


def test_too_little_memory_keeps_what_is_done(models, here, monkeypatch, said):
    real = rounds.record_texts

    def too_large(pair, prompts, first, *rest):
        if first == 4:
            raise MemoryError("a batch of 2 with 1 tokens each, 30 with those before")
        return real(pair, prompts, first, *rest)

    monkeypatch.setattr(rounds, "record_texts", too_large)
    assert "(a batch of 2 with 1 tokens each, 30 with those before)" in said(*arguments(models)[1:])
    assert Path("mine.part").read_bytes().count(b"\n") == 3


PROMPT = ["--prompts", "x.txt"]
MODEL = [*PROMPT, "--target", "x"]
GOOD = [*MODEL, "--out", "m"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["--out", "m"], "--from-counts, --counters, --acceptance-length and --read, got none"),
        ([*GOOD, "--from-counts", "y.csv"], "got --prompts and --from-counts"),
        (["--counters", "x", "--acceptance-length", 2, "--out", "m"], "got --counters and --acceptance-length"),
        (["--counters", "x.txt", "--out", "m"], "counters: expected a readable text file, got PosixPath('x.txt')"),
        (["--counters", "x.txt", "--drafted", 0, "--out", "m"], "drafted: expected an integer ≥ 1, got 0"),
        (["--acceptance-length", 2, "--drafted", 4], "out: expected a name for the files to write, got none"),
        (["--acceptance-length", 2, "--out", "m"], "drafted: expected an integer ≥ 1, got None"),
        (["--acceptance-length", 5.1, "--drafted", 4, "--out", "m"], "acceptance_length: expected a finite number in"),
        (["--acceptance-length", 0.9, "--drafted", 4, "--out", "m"], "in [1, 5], got 0.9"),
        (["--acceptance-length", "nan", "--drafted", 4, "--out", "m"], "in [1, 5], got nan"),
        ([*PROMPT, "--out", "m"], "target: expected a model, got none"),
        (MODEL, "out: expected a name for the files to write, got none"),
        ([*MODEL, "--out", ".."], "out: expected a name for the files to write, got '..'"),
        ([*MODEL, "--out", "none/m"], "file: expected a file in a folder that exists"),
        (
            [*GOOD, "--prompts", "prompts.jsonl", "--out", "taken"],
            "taken.part: expected a new file or a file of this command",
        ),
        ([*GOOD, "--tokens", 7], "tokens: expected an integer ≥ 8, got 7"),
        ([*GOOD, "--temperature", -1], "temperature: expected a finite number in [0, inf), got -1.0"),
        ([*GOOD, "--dtype", "float23"], "did you mean 'float32'"),
        (GOOD, "prompts: expected a file that can be read, got 'x.txt'"),
        (
            [*GOOD, "--prompts", "prompts.jsonl", "--tokens", 1_000_000],
            "tokens: expected at most 166666 for 6 prompts, as a record has 1000000 positions at most, got 1000000",
        ),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(given, sentence, here, monkeypatch, said):
    monkeypatch.setattr(record, "load_pair", lambda options: pytest.fail("a model was loaded"))
    Path("taken.part").write_text("my notes", encoding="utf-8")
    assert sentence in said(*given)
    assert not Path("m.part").exists()


def test_wrong_models_leave_nothing_behind(models, here, said):
    options = ["--prompts", "prompts.jsonl", "--out", "mine"]
    wrong = said(*options, "--target", models["target"], "--draft", models["other"])
    assert "draft: expected the vocabulary of the target (24 tokens), got 30" in wrong
    assert "model: expected a folder that exists" in said(*options, "--target", "./nowhere")
    Path("prompts.jsonl").write_text('{"prompt": "w5"}\n{"prompt": "w2 w3 w4 w5 w6 w7 w8 w9 w10"}\n', encoding="utf-8")
    long = said(*options, "--target", models["short"])
    assert "prompts.jsonl, line 2, prompt: expected at most 8 tokens, so that 8 more fit in the context of 16" in long
    assert [path.name for path in here.iterdir()] == ["prompts.jsonl"]


def test_a_task_without_a_long_text_is_refused(here):
    length = np.array([8, 5, 8, 7, 8, 3])
    flat = np.full(length.sum(), 0.5)
    with pytest.raises(ValueError, match="expected a text of at least 8 tokens for task 'b', got 7 in the longest"):
        record._kept(read_prompts("prompts.jsonl"), RecordedTexts(length, flat, flat > 0.5, flat))


def test_the_record_of_the_package_is_shown_and_written_as_it_is(here, said, capsys):
    assert main(["record", "--read", "packaged"]) == 0
    shown = capsys.readouterr().out
    assert "code 12 1536 0.924" in " ".join(shown.split())
    assert list(here.iterdir()) == [here / "prompts.jsonl"]
    assert main(["record", "--read", "packaged", "--out", "mine"]) == 0
    assert capsys.readouterr().out.startswith(shown)
    assert main(["record", "--read", "mine.npz", "--scenario", "mine.toml"]) == 0
    assert capsys.readouterr().out == shown
    assert main(["record", "--read", "mine.npz"]) == 0
    assert "\ntask 3 " in capsys.readouterr().out
    ms.Scenario.preset("llama2", tasks=ms.Scenario.preset("llama2").tasks[:2]).save("two.toml")
    assert "tasks of the scenario: expected" in said("--read", "mine.npz", "--scenario", "two.toml")
    assert "path: expected a readable .npz file" in said("--read", "none.npz")
    shipped = ROOT / "multispin_env" / "data" / "records" / "acceptance.npz"
    with np.load(shipped) as old, np.load("mine.npz") as new:
        assert list(old) == list(new)
        for name in old:
            assert old[name].dtype == new[name].dtype
            np.testing.assert_array_equal(old[name], new[name])


LOG = "request,task,drafted,accepted\n1,x,4,4\n1,x,4,2\n2,x,4,1\n2,y,4,4\n3,y,4,0\n"


def test_counts_make_a_scenario(here, capsys, said):
    Path("log.csv").write_text(LOG, encoding="utf-8")
    assert main(["record", "--from-counts", "log.csv", "--scenario", "qwen3.5", "--out", "mine"]) == 0
    assert capsys.readouterr().out.startswith("task")
    x, y = ms.Scenario.load("mine.toml").tasks
    assert (x.name, x.acceptance_rate) == ("x", pytest.approx(7 / 9))
    assert (y.name, y.acceptance_rate) == ("y", pytest.approx(4 / 5))
    rows = json.loads(Path("mine.json").read_text(encoding="utf-8"))["rows"]
    assert [(row["task"], row["requests"], row["rounds"], row["drafted"]) for row in rows] == [
        ("x", 2, 3, 12),
        ("y", 2, 2, 8),
    ]
    assert sorted(path.name for path in here.iterdir()) == ["log.csv", "mine.json", "mine.toml", "prompts.jsonl"]
    Path("log.csv").write_text(LOG + "3,y,4,five\n", encoding="utf-8")
    assert "log.csv, line 7, accepted: expected an integer in 0..4" in said("--from-counts", "log.csv", "--out", "m")


PAGES = ROOT / "tests" / "apps" / "models" / "pages"


def test_metrics_pages_make_a_scenario_with_a_task_each(here, capsys, said):
    shutil.copy(PAGES / "vllm.txt", "code.txt")
    shutil.copy(PAGES / "sglang.txt", "chat.txt")
    assert main(["record", "--counters", "code.txt", "chat.txt", "--scenario", "qwen3.5", "--out", "mine"]) == 0
    assert "mine.toml, mine.json" in capsys.readouterr().out
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
    assert "counters: expected files of different names" in said(
        "--counters", "code.txt", "other/code.txt", "--out", "m"
    )
    assert not Path("m.toml").exists()


def test_an_acceptance_length_makes_a_scenario(here, capsys):
    assert main(["record", "--acceptance-length", "2.9", "--drafted", "4", "--out", "mine"]) == 0
    assert "no interval" in capsys.readouterr().out
    (task,) = ms.Scenario.load("mine.toml").tasks
    assert task.name == "all"
    assert float(expected_tokens(4, np.array(task.acceptance_rate))) == pytest.approx(2.9)


def test_counts_need_no_torch(here):
    Path("log.csv").write_text(LOG, encoding="utf-8")
    done = without("torch", "record", "--from-counts", str(here / "log.csv"), "--out", str(here / "mine"))
    assert (done.returncode, done.stderr) == (0, "")
