import csv
import functools
import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch as th

import multispin_env as ms
from multispin_env.apps.commands.main import main
from multispin_lab.commands import live
from multispin_lab.models import contender
from multispin_lab.models.engine import Pair
from multispin_lab.models.transformers_engine import round_weights
from tests.lab.models.tiny import save_model, save_tiny, tiny_model, tiny_tokenizer

TASKS = tuple(ms.Task(name=name, acceptance_rate=0.4, acceptance_std=0.1) for name in ("code", "chat"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    for seed, (name, more) in enumerate({"large": {}, "small": {}, "short": {"context": 30}}.items()):
        save_tiny(folder / name, seed, **more)
    close = tiny_model(0)
    round_weights(close.network, 3)
    save_model(close, folder / "close")
    rows = [{"prompt": f"w{k} w{k + 1} w5", "task": ("code", "chat")[k % 2]} for k in range(2, 12)]
    save_model(replace(tiny_model(1), tokenizer=tiny_tokenizer(reverse=True)), folder / "permuted")
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "strange.jsonl").write_text('{"prompt": "w4", "task": "poetry"}', encoding="utf-8")
    (folder / "long.jsonl").write_text(json.dumps({"prompt": "w3 " * 40, "task": "chat"}), encoding="utf-8")
    (folder / "taken.csv").mkdir()
    law = {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.0, "padded_verification": True}
    law |= {"verification_pieces": ((0.001, 1e-4),), "max_draft_length": 8}
    scenario = ms.Scenario.preset("llama2", num_users=20, tasks=TASKS, **law)
    scenario.save(folder / "mine.toml")
    scenario.replace(target="greedy").save(folder / "greedy.toml")
    return folder


@pytest.fixture(autouse=True)
def plain(monkeypatch):  # without the picture, which takes longest
    monkeypatch.setattr(live, "save_timeline", lambda *_: None)


def command(folder, *more, out="run", **changed):
    files = {"scenario": "mine.toml", "target": "large", "draft": "small", "prompts": "prompts.jsonl", "out": out}
    options = {name: folder / file for name, file in files.items()} | {"num-users": 3, "rounds": 6, "tokens": 8}
    options |= {name.replace("_", "-"): value for name, value in changed.items()}
    return ["live", *(word for name, value in options.items() for word in (f"--{name}", str(value))), *more]


def test_a_run_writes_what_it_played(folder, capsys, monkeypatch):
    monkeypatch.undo()  # with the picture
    assert main(command(folder, "--set", "min_draft_length=0")) == 0
    printed = capsys.readouterr().out
    assert "small drafts for" in printed
    assert re.search(r"^optimal\+filter / fixed +goodput ", printed, re.MULTILINE)
    content = content_of(folder, "run")
    assert content["about"]["rounds"] == 6
    assert ms.Scenario.from_dict(content["about"]["scenario"]).num_users == 3
    rows = rows_of(folder, "run")
    assert [(row["contender"], row["round"]) for row in rows] == [
        (name, str(number)) for name in ("optimal+filter", "fixed") for number in range(1, 7)
    ]
    tokens = np.array([row["tokens"].split() for row in rows[:6]], dtype=float)
    (line,) = [row for row in content["rows"] if row["contender"] == "optimal+filter" and "goodput" in row["quantity"]]
    seconds = sum(float(row["measured_round"]) for row in rows[:6])
    assert line["realised"]["mean"] == pytest.approx(tokens.sum() / seconds)
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")
    assert all(row["draft_length"] == "8 8 8" for row in rows[6:])  # of fixed
    assert "hits" not in printed  # without drafting ahead
    assert "hits" not in content["about"]
    assert not {"head_start", "hit"} & rows[0].keys()


def content_of(folder, out):
    return json.loads((folder / f"{out}.json").read_text(encoding="utf-8"))


def rows_of(folder, out):
    with (folder / f"{out}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_both_contenders_have_the_same_requests_and_devices(folder):
    assert main(command(folder, controller="homogeneous", versus="homogeneous+task-mean", out="same")) == 0
    rows = rows_of(folder, "same")
    names = ("request", "age", "draft_length", "bandwidth_hz", "accepted", "tokens", "predicted_tokens", "upload_time")
    for row, other in zip(rows[:6], rows[6:], strict=True):
        assert [row[name] for name in names] == [other[name] for name in names]


def test_several_contenders_and_rounds_with_the_time_of_acceptance(folder, capsys, monkeypatch):
    monkeypatch.undo()  # with the picture
    assert main(command(folder, "--versus", "fixed", "homogeneous", out="three")) == 0
    printed = capsys.readouterr().out
    content, rows = content_of(folder, "three"), rows_of(folder, "three")
    names = ("optimal+filter", "fixed", "homogeneous")
    assert [line["contender"] for line in content["rows"][12:]] == [f"{names[0]} / {other}" for other in names[1:]]
    for index, name in enumerate(names):
        mine = rows[6 * index : 6 * index + 6]
        assert {row["contender"] for row in mine} == {name}
        for row in mine:
            parts = ("access_time", "measured_pass", "accepting_time")
            assert float(row["measured_round"]) == pytest.approx(sum(float(row[part]) for part in parts))
            assert float(row["predicted_round"]) < float(row["access_time"]) + float(row["predicted_pass"]) + 1e-9
        accepting = 1e3 * np.mean([float(row["accepting_time"]) for row in mine])
        assert content["about"]["accepting_ms"][name] == pytest.approx(accepting)
        assert f"{name} {accepting:.2f} ms" in printed


def test_one_device_and_a_draft_that_is_the_target(folder):
    words = command(folder, num_users=1, out="one")
    index = words.index("--draft")
    assert main([*words[:index], *words[index + 2 :]]) == 0
    assert all(row["accepted"] == row["draft_length"] for row in rows_of(folder, "one"))


@pytest.mark.parametrize(
    "ahead", [[], pytest.param(["--draft-ahead"], marks=pytest.mark.slow)], ids=["rounds", "ahead"]
)
def test_ids_of_a_sampling_target_are_accepted_less_often(folder, ahead):
    def accepted(*settings, **options):
        more = {"draft": folder / "close", "rounds": 10, "tokens": 40, "controller": "homogeneous"} | options
        assert main(command(folder, *ahead, *(["--set", *settings] if settings else []), out="payload", **more)) == 0
        rows = [row for row in rows_of(folder, "payload") if row["contender"] == "fixed"]
        return [sum(int(part) for row in rows for part in row[name].split()) for name in ("accepted", "draft_length")]

    (everything, drafted), (ids, _) = accepted(), accepted("payload=ids")
    assert ids < 0.8 * everything < 0.8 * drafted
    assert content_of(folder, "payload")["about"]["scenario"]["target"] == "sampling"
    assert accepted("payload=ids", temperature=0) == accepted(temperature=0)
    assert content_of(folder, "payload")["about"]["scenario"]["target"] == "greedy"


@pytest.mark.parametrize(("temperature", "guess"), [(0, "greedy"), (1, "shared-seed")])
def test_devices_draft_ahead(folder, capsys, temperature, guess):
    words = command(folder, "--draft-ahead", temperature=temperature, draft=folder / "close", rounds=12, tokens=40)
    assert main(words) == 0
    assert f"hits with the guess {guess}" in capsys.readouterr().out
    about, hits, drafts = content_of(folder, "run")["about"], 0, 0
    assert (about["scenario"]["draft_ahead"], about["scenario"]["guess"]) == (True, guess)
    for row, after in itertools.pairwise(rows_of(folder, "run")):
        names = ("draft_length", "accepted", "hit", "head_start", "draft_time")
        length, accepted, hit, chain, spent = (np.array(row[name].split(), dtype=float) for name in names)
        next_chain = np.array(after["head_start"].split(), dtype=float)
        assert (accepted[hit > 0] == length[hit > 0]).all()
        assert ((spent > 0.0) == (chain < length)).all()
        if row["contender"] == after["contender"]:
            new = np.array(after["age"].split()) == "0"
            assert (next_chain[new | (hit == 0)] == 0.0).all()
            hits, drafts = hits + (next_chain > 0).sum(), drafts + len(hit)
    assert hits > drafts / 10
    assert sum(line["drafts"] for line in about["hits"]) == 2 * 12 * 3
    assert all(line["low"] <= line["hits"] / line["drafts"] <= line["high"] for line in about["hits"])


@pytest.mark.parametrize(("error", "steps"), [(KeyboardInterrupt, 13), (MemoryError, 13), (KeyboardInterrupt, 11)])
def test_complete_rounds_of_a_stopped_run_are_kept(folder, capsys, monkeypatch, error, steps):
    """Thirteen steps are six rounds of both contenders and a half; with fewer, nothing is written."""
    step, calls = contender.LiveContender.step, iter(range(100))

    def stopped(self):
        if next(calls) == steps:
            raise error("a batch of 3 with 9 tokens each")
        return step(self)

    monkeypatch.setattr(contender.LiveContender, "step", stopped)
    assert main(command(folder, rounds=8, out=f"stopped-{steps}")) == (130 if error is KeyboardInterrupt else 2)
    printed = capsys.readouterr()
    if steps == 11:
        assert printed.out == ""
        assert not list(folder.glob("stopped-11*"))
        return
    assert "stopped after 6 of 8 rounds, saved in " in printed.err
    assert ("a batch of 3 with 9 tokens" in printed.err) == (error is MemoryError)
    assert content_of(folder, "stopped-13")["about"]["rounds"] == 6
    assert len(rows_of(folder, "stopped-13")) == 12


FELL = "model: expected 'tiny-{}' to read a batch of 3 with {} tokens each, {} with those before, got the device"


def fall(logits):
    raise RuntimeError("the device\nis gone")


@pytest.mark.parametrize(
    ("wrong", "sentence", "which", "draft_ahead"),
    [
        (lambda logits: logits * np.nan, "logits: expected finite numbers from 'tiny-{}', got nan", "small", True),
        (lambda logits: logits[:, 0], "logits: expected shape (3, {}, 24) from 'tiny-{}', got (3, 24)", "large", False),
        (fall, FELL, "small", True),
        (fall, FELL, "large", False),
    ],
)
def test_a_failing_model_is_one_sentence(folder, capsys, monkeypatch, wrong, sentence, which, draft_ahead):
    pair = Pair(tiny_model(1), tiny_model(0))
    network = (pair.target if which == "large" else pair.draft).network
    forward, passes = network.forward, itertools.count()

    @functools.wraps(forward)
    def failing(**arguments):
        out = forward(**arguments)
        if next(passes) > 40 and len(arguments["input_ids"]) == 3:
            out.logits = wrong(out.logits)
        return out

    monkeypatch.setattr(network, "forward", failing)
    monkeypatch.setattr(live, "load_pair", lambda _: pair)
    more = ["--draft-ahead"] * draft_ahead
    assert main(command(folder, *more, versus="optimal", rounds=50, out="failing")) == 2
    stopped, last = capsys.readouterr().err.splitlines()[-2:]
    expected = re.escape(sentence).replace(r"\{\}", r"\d+")
    assert re.fullmatch(f"multispin live: {expected}", last)
    complete = int(re.match(r"stopped after (\d+) of 50 rounds, saved in ", stopped)[1])
    assert content_of(folder, "failing")["about"]["rounds"] == complete >= 6


@pytest.mark.parametrize(("which", "temperature"), [("target", 0), ("draft", 1)])
def test_weights_that_are_not_numbers_are_refused_at_once(folder, capsys, which, temperature):
    broken = tiny_model(0)
    with th.no_grad():
        broken.network.lm_head.weight[3] = float("nan")
    save_model(broken, folder / "broken")
    assert main(command(folder, out="never", temperature=temperature, **{which: folder / "broken"})) == 2
    expected = f"multispin live: logits: expected finite numbers from {str(folder / 'broken')!r}, got nan"
    assert capsys.readouterr().err.splitlines()[-1] == expected
    assert not list(folder.glob("never*"))


@pytest.mark.parametrize("draft_ahead", [False, True])
def test_requests_that_end_at_once_have_a_token_each_round(folder, draft_ahead):
    ending = tiny_model(0)
    ending.network.generation_config.eos_token_id = list(range(24))
    save_model(ending, folder / "ending")
    assert main(command(folder, *["--draft-ahead"] * draft_ahead, target=folder / "ending", out="ending")) == 0
    assert {(row["tokens"], row["age"]) for row in rows_of(folder, "ending")} == {("1 1 1", "0 0 0")}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rounds": 5}, "rounds: expected an integer ≥ 6, got 5"),
        ({"tokens": 0}, "tokens: expected an integer ≥ 1, got 0"),
        ({"temperature": -1}, "temperature: expected a finite number"),
        ({"controller": "greedy"}, "controller: expected a contender that multispin live can run, got 'greedy'"),
        ({"versus": "optimal+clairvoyant"}, "controller: expected a contender that does not need the true acceptance"),
        ({"scenario": "{}/greedy.toml"}, "target: expected 'sampling' at this temperature, got 'greedy'"),
        ({"draft-ahead": "greedy"}, r"guess: expected one of \['shared-seed', 'independent'\] at this temperature"),
        ({"draft-ahead": "independent", "temperature": 0}, r"guess: expected one of \['greedy'\] at this temperature"),
        ({"draft-ahead": "independent", "draft": "{}/short", "prompts": "{}/long.jsonl"}, "expected at most 13 tokens"),
        ({"versus": "optimal+filter"}, "versus: expected different controllers, other than --controller, got"),
        ({"set": "bits_per_probability=17"}, "bits_per_probability: expected an integer in 1..16, got 17"),
        ({"prompts": "{}/strange.jsonl"}, r"strange.jsonl, line 1, task: expected one of .*'code', .*, got 'poetry'"),
        (
            {"draft": "{}/permuted"},
            r"draft: expected the vocabulary of the target \(24 tokens\), got 24 tokens; 22 differ",
        ),
        ({"draft": "{}/short", "prompts": "{}/long.jsonl"}, "long.jsonl, line 1: prompt: expected at most 21 tokens"),
        ({"target": "{}/nothing"}, "model: expected a folder that exists, or"),
        ({"out": "{}/no/folder"}, "file: expected a file in a folder that exists, got"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(folder, capsys, options, sentence):
    texts = {name: value.format(folder) if isinstance(value, str) else value for name, value in options.items()}
    assert main(command(folder, **{"out": folder / "bad"} | texts)) == 2
    assert re.search(f"^multispin live: .*{sentence}", capsys.readouterr().err.splitlines()[-1])
    assert not list(folder.glob("bad*"))
