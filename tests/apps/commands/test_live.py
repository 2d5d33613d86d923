"""``multispin live`` from end to end, with random models of a few thousand weights."""

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
from multispin_env.apps.commands import live
from multispin_env.apps.commands.main import main
from multispin_env.apps.models import contender
from multispin_env.apps.models.network import Pair, round_weights
from tests.apps.models.tiny import save_model, save_tiny, tiny_model, tiny_tokenizer

TASKS = tuple(ms.Task(name=name, acceptance_rate=0.4, acceptance_std=0.1) for name in ("code", "chat"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    for seed, name in enumerate(("large", "small")):
        save_tiny(folder / name, seed)
    save_tiny(folder / "other", 2, words=30)
    save_tiny(folder / "short", 3, context=30)
    close = tiny_model(0)
    round_weights(close.network, 3)
    save_model(close, folder / "close")
    rows = [{"prompt": f"w{k} w{k + 1} w5", "task": ("code", "chat")[k % 2]} for k in range(2, 12)]
    save_model(replace(tiny_model(1), tokenizer=tiny_tokenizer(reverse=True)), folder / "permuted")
    (folder / "blank.jsonl").write_text('{"prompt": "", "task": "chat"}', encoding="utf-8")
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "strange.jsonl").write_text('{"prompt": "w4", "task": "poetry"}', encoding="utf-8")
    (folder / "long.jsonl").write_text(json.dumps({"prompt": "w3 " * 40, "task": "chat"}), encoding="utf-8")
    (folder / "empty.txt").write_text("\n\n", encoding="utf-8")
    (folder / "taken.csv").mkdir()
    law = {"verification_fixed_time": 0.0, "verification_time_per_draft": 0.0, "padded_verification": True}
    law |= {"verification_pieces": ((0.001, 1e-4),), "max_draft_length": 8}
    ms.Scenario.preset("llama2", num_users=20, tasks=TASKS, **law).save(folder / "mine.toml")
    return folder


@pytest.fixture
def plain(monkeypatch):
    """Without the picture, which takes longer than all else."""
    monkeypatch.setattr(live, "save_timeline", lambda *_: None)


def command(folder, *more, out="run", **changed):
    options = {
        "scenario": folder / "mine.toml",
        "target": folder / "large",
        "draft": folder / "small",
        "prompts": folder / "prompts.jsonl",
        "num-users": 3,
        "rounds": 6,
        "tokens": 8,
        "out": folder / out,
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    return ["live", *(word for name, value in options.items() for word in (f"--{name}", str(value))), *more]


def test_a_run_writes_what_it_played(folder, capsys):
    assert main(command(folder, "--set", "min_draft_length=0")) == 0
    printed = capsys.readouterr().out
    assert "small drafts for" in printed
    assert re.search(r"^optimal\+filter / fixed +goodput ", printed, re.MULTILINE)
    kept = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert kept["about"]["rounds"] == 6
    assert ms.Scenario.from_dict(kept["about"]["scenario"]).num_users == 3
    with (folder / "run.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["contender"], row["round"]) for row in rows] == [
        (name, str(number)) for name in ("optimal+filter", "fixed") for number in range(1, 7)
    ]
    mine = rows[:6]
    tokens = np.array([row["tokens"].split() for row in mine], dtype=float)
    (line,) = [one for one in kept["rows"] if one["contender"] == "optimal+filter" and "goodput" in one["quantity"]]
    seconds = sum(float(row["measured_round"]) for row in mine)
    assert line["realised"]["mean"] == pytest.approx(tokens.sum() / seconds)
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")
    lengths = np.array([row["draft_length"].split() for row in rows[6:]], dtype=int)
    assert (lengths == 8).all()  # of fixed


def test_both_contenders_have_the_same_requests_and_devices(folder, plain):
    assert main(command(folder, controller="homogeneous", beside="homogeneous+task-mean", out="same")) == 0
    with (folder / "same.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    told = ("request", "age", "draft_length", "bandwidth_hz", "accepted", "tokens", "predicted_tokens", "upload_time")
    for one, other in zip(rows[:6], rows[6:], strict=True):
        assert [one[name] for name in told] == [other[name] for name in told]


def test_one_device_and_a_draft_that_is_the_target(folder, plain):
    words = command(folder, num_users=1, out="one")
    at = words.index("--draft")
    assert main([*words[:at], *words[at + 2 :]]) == 0
    with (folder / "one.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert row["accepted"] == row["draft_length"]


def rows_of(folder, out):
    with (folder / f"{out}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("temperature", "guess"), [(0, "greedy"), (1, "shared-seed")])
def test_devices_draft_ahead(folder, plain, capsys, temperature, guess):
    """A hit's head start makes the next drafting shorter; who draws numbers in turn does not matter."""
    words = command(folder, "--draft-ahead", temperature=temperature, draft=folder / "close", rounds=12, tokens=40)
    assert main(words) == 0
    assert f"hits, guess {guess}" in capsys.readouterr().out
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))["about"]
    assert (about["scenario"]["draft_ahead"], about["scenario"]["guess"]) == (True, guess)
    rows, hits, drafts = rows_of(folder, "run"), 0, 0
    for one, after in itertools.pairwise(rows):
        columns = [np.array(one[name].split(), dtype=float) for name in ("draft_length", "accepted", "hit")]
        length, accepted, hit = columns
        chain, next_chain = (np.array(row["head_start"].split(), dtype=float) for row in (one, after))
        spent = np.array(one["draft_time"].split(), dtype=float)
        assert (accepted[hit > 0] == length[hit > 0]).all()
        assert (spent[chain >= length] == 0.0).all()
        assert (spent[chain < length] > 0.0).all()
        if one["contender"] == after["contender"]:
            new = np.array(after["age"].split()) == "0"
            assert (next_chain[new | (hit == 0)] == 0.0).all()
            hits, drafts = hits + (next_chain > 0).sum(), drafts + len(hit)
    assert hits > drafts / 10
    assert sum(one["drafts"] for one in about["hits"]) == 2 * 12 * 3
    assert all(one["low"] <= one["hits"] / one["drafts"] <= one["high"] for one in about["hits"])


def test_without_drafting_ahead_nothing_speaks_of_it(folder, plain, capsys):
    assert main(command(folder)) == 0
    assert "hits" not in capsys.readouterr().out
    assert "hits" not in json.loads((folder / "run.json").read_text(encoding="utf-8"))["about"]
    assert not {"head_start", "hit"} & rows_of(folder, "run")[0].keys()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_was_played_is_kept(folder, plain, capsys, monkeypatch, error):
    """In the middle of the fifth round: four of both are complete."""
    step, calls = contender.LiveContender.step, iter(range(100))

    def stopped(self):
        if next(calls) == 9:
            raise error("a batch of 3 with 9 tokens each")
        return step(self)

    monkeypatch.setattr(contender.LiveContender, "step", stopped)
    assert main(command(folder, out="stopped")) == (130 if error is KeyboardInterrupt else 2)
    printed = capsys.readouterr()
    assert "stopped after 4 of 6 rounds; they are in " in printed.err
    assert ("a batch of 3 with 9 tokens" in printed.err) == (error is MemoryError)
    assert json.loads((folder / "stopped.json").read_text(encoding="utf-8"))["about"]["rounds"] == 4
    assert len((folder / "stopped.csv").read_text(encoding="utf-8").splitlines()) == 9


def cut(logits):
    return logits[..., :-1]


def flat(logits):
    return logits[:, 0]


def transposed(logits):
    return logits.transpose(0, 2)


def nan(logits):
    return logits * float("nan")


def fall(logits):
    raise RuntimeError("the device\nis gone")


@pytest.mark.parametrize(("which", "draft_ahead"), [("large", False), ("small", True)])
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (nan, "logits: expected finite numbers from 'tiny-{}', got nan"),
        (cut, "logits: expected shape (3, {}, 24) from 'tiny-{}', got (3, {}, 23)"),
        (flat, "logits: expected shape (3, {}, 24) from 'tiny-{}', got (3, 24)"),
        (transposed, "logits: expected shape (3, {}, 24) from 'tiny-{}', got (24, {}, 3)"),
        (
            fall,
            "model: expected 'tiny-{}' to read a batch of 3 with {} tokens each, {} with those before, got the device",
        ),
    ],
)
def test_a_model_that_fails_ends_in_a_sentence_and_what_was_played_is_kept(
    folder, plain, capsys, monkeypatch, wrong, sentence, which, draft_ahead
):
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
    more = ("--draft-ahead",) if draft_ahead else ()
    assert main(command(folder, *more, beside="optimal", rounds=50, out="failing")) == 2
    printed = capsys.readouterr()
    stopped, last = printed.err.splitlines()[-2:]
    expected = re.escape(sentence).replace(r"\{\}", r"\d+")
    assert re.fullmatch(f"multispin live: {expected}", last)
    kept = int(re.match(r"stopped after (\d+) of 50 rounds; they are in ", stopped)[1])
    assert json.loads((folder / "failing.json").read_text(encoding="utf-8"))["about"]["rounds"] == kept >= 2


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
def test_requests_that_end_at_once_have_a_token_each_round(folder, plain, draft_ahead):
    """Every token of the target ends a text."""
    ending = tiny_model(0)
    ending.network.generation_config.eos_token_id = list(range(24))
    save_model(ending, folder / "ending")
    more = ("--draft-ahead",) if draft_ahead else ()
    assert main(command(folder, *more, target=folder / "ending", out="ending")) == 0
    assert {(row["tokens"], row["age"]) for row in rows_of(folder, "ending")} == {("1 1 1", "0 0 0")}


def test_too_early_nothing_is_written(folder, capsys, monkeypatch):
    def stopped(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(contender.LiveContender, "step", stopped)
    assert main(command(folder, out="early")) == 130
    assert capsys.readouterr().out == ""
    assert not list(folder.glob("early*"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rounds": 1}, "rounds: expected an integer ≥ 2, got 1"),
        ({"tokens": 0}, "tokens: expected an integer ≥ 1, got 0"),
        ({"temperature": -1}, "temperature: expected a finite number"),
        ({"controller": "optimal+gradient"}, "controller: expected one that multispin live can run, got"),
        ({"beside": "optimal+clairvoyant"}, "controller: expected one that does not need the true acceptance"),
        ({"draft-ahead": "gready"}, "guess: expected one of .*, got 'gready'"),
        (
            {"draft-ahead": "greedy"},
            r"guess: expected one of \['shared-seed', 'independent'\] at this temperature, got",
        ),
        ({"draft-ahead": "independent", "temperature": 0}, r"guess: expected one of \['greedy'\] at this temperature"),
        (
            {"draft-ahead": "independent", "draft": "{}/short", "prompts": "{}/long.jsonl"},
            "long.jsonl, line 1, prompt: expected at most 13 tokens",
        ),
        ({"beside": "optimal+filter"}, "beside: expected another one than the controller, got 'optimal.filter'"),
        ({"prompts": "{}/empty.txt"}, "prompts: expected at least one prompt, got none"),
        (
            {"prompts": "{}/strange.jsonl"},
            r"strange.jsonl, line 1, task: expected one of .*'code', 'chat'\], got 'poetry'",
        ),
        (
            {"draft": "{}/permuted"},
            r"draft: expected the vocabulary of the target \(24 tokens\), got 24 tokens; 22 differ",
        ),
        ({"prompts": "{}/blank.jsonl"}, "blank.jsonl, line 1, prompt: expected a non-empty string, got ''"),
        ({"draft": "{}/other"}, r"draft: expected the vocabulary of the target \(24 tokens\), got 30"),
        ({"draft": "{}/short", "prompts": "{}/long.jsonl"}, "long.jsonl, line 1, prompt: expected at most 21 tokens"),
        ({"target": "{}/nothing"}, "model: expected a folder that exists, or"),
        ({"out": "{}/no/folder"}, "file: expected a file in a folder that exists, got"),
        ({"out": "{}/taken", "target": "never"}, "file: expected a file in a folder that exists, got"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(folder, capsys, options, sentence):
    given = {"out": folder / "bad"} | {
        name: value.format(folder) if isinstance(value, str) else value for name, value in options.items()
    }
    assert main(command(folder, **given)) == 2
    printed = capsys.readouterr()
    last = printed.err.splitlines()[-1]
    assert re.search(f"^multispin live: .*{sentence}", last)
    assert not list(folder.glob("bad*"))
