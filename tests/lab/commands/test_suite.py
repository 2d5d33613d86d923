import copy
import csv
import html
import json
import os
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import multispin_agents
import multispin_env as ms
import multispin_lab
from multispin_env.apps.commands.main import main
from multispin_env.apps.executors import Serial
from multispin_env.envs.config import EnvConfig
from multispin_env.evaluation.policy import MEMORY, NEXT_MEMORY, ONNX, OUTPUT, POLICY, describe, load_policy
from multispin_lab.commands import suite
from multispin_lab.suite import statistics
from multispin_lab.suite.entries import (
    CURVES,
    ENTRY,
    SCORES,
    check_replaced,
    kinds_of,
    read_entry,
    read_scores,
    rule_entry,
    rule_policies,
    save_entry,
    save_values,
)

TASKS = multispin_lab.suite.tasks()
FIRST = TASKS[0]
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def network(numbers=(0.0, 0.0), kind="Mul", inputs="", outputs="", constants="", product=OUTPUT, nodes=""):
    """Return a network whose action of each device is its ``compute`` times these numbers."""
    values = ", ".join(map(str, numbers))
    return onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 18]>
    g (float[batch, users] compute{inputs}) => (float[] {OUTPUT}{outputs})
    <float[1, 1, {len(numbers)}] numbers = {{{values}}}, int64[1] axis = {{2}}{constants}> {{
        wide = Unsqueeze(compute, axis)
        {product} = {kind}(wide, numbers)
        {nodes}
    }}""").SerializeToString()


LOOPING = network(
    constants=", bool go = {1}, int64 times = {3}",
    nodes="all = Loop(times, go) <body = b (int64 i, bool on) => (bool more) { more = Identity(go) }>",
)


def flat_format(path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(network(), options)
    return path.read_bytes()


def remembering(size=1, copies=1):
    """Return a network whose actions grow with the steps; it declares a memory of ``size`` numbers."""
    constants = f"float[1, 1] step = {{{2.0**-10}}}, int64[1] axes = {{1}}, int64[2] tiles = {{1, {copies}}}"
    mean, more = f"mean = ReduceMean({MEMORY}, axes)", "more = Add(mean, step)"
    action = f"wide_mean = Unsqueeze(mean, axis) {OUTPUT} = Add(nothing, wide_mean)"
    return network(
        inputs=f", float[batch, {size}] {MEMORY}",
        outputs=f", float[] {NEXT_MEMORY}",
        constants=f", {constants}",
        product="nothing",
        nodes=f"{mean} {more} {NEXT_MEMORY} = Tile(more, tiles) {action}",
    )


def write_policy(folder, content, env=FIRST.config.env_id, **changed):
    folder.mkdir()
    (folder / ONNX).write_bytes(content)
    config = EnvConfig.of(env, FIRST.config.scenario, action=FIRST.config.action)
    about = describe(config, {ONNX: content}) | changed
    (folder / POLICY).write_text(json.dumps(about), encoding="utf-8")


class Nothing:
    def __call__(self, observation):
        return np.zeros((*observation["compute"].shape, 2))


@pytest.fixture
def entry(tmp_path):
    """Folder of an entry with a network for each of two seeds in the first task, and rules in the others."""
    folder = tmp_path / "entry"
    folder.mkdir()
    for seed in (0, 1):
        write_policy(folder / f"first-{seed}", network((0.1 * seed, 0.0)))
    policies = {task.name: [{"rule": "random-actions"}, {"rule": "fixed"}] for task in TASKS}
    policies[FIRST.name] = [{"folder": "first-0"}, {"folder": "first-1"}]
    about = {
        **{"kind": "multispin_env suite entry", "version": "v1", "method": "mine", "authors": "A. Nonymous"},
        **{"link": "https://example.org", "steps": 1000, "seconds": 1.5, "cpu_seconds": 1, "seeds": [0, 1]},
        **{"repository": "https://example.org/mine", "revision": "1f0c", "files": {}},
        "policies": policies,
    }
    (folder / ENTRY).write_text(json.dumps(about), encoding="utf-8")
    return folder


def use_tasks(monkeypatch, names):
    tasks = [multispin_lab.suite.task(name) for name in names]
    for module in ("commands.suite", "suite.entries", "suite.leaderboard"):
        monkeypatch.setattr(f"multispin_lab.{module}.tasks", lambda: tasks)


@pytest.fixture(autouse=True)
def quick_tables(monkeypatch):
    """Tables start no processes, and draw few samples for their intervals."""
    make = suite.executor_of
    monkeypatch.setattr(statistics, "RESAMPLES", 50)
    monkeypatch.setattr(suite, "executor_of", lambda *given: Serial() if given[0].do is suite._table else make(*given))


@pytest.fixture
def few(monkeypatch):
    use_tasks(monkeypatch, ["round-8", "round-50"])


@pytest.fixture
def small(few, entry):
    rewrite(entry, lambda about: [about["policies"].pop(task.name) for task in TASKS[2:]])
    return entry


def rewrite(folder, change, name=ENTRY):
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    change(content)
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def error(refused):
    def error(*arguments):
        message = refused("suite", list(map(str, arguments)))
        assert message.startswith("multispin suite: ")
        assert len(message) < 2000
        return message

    return error


def test_tasks_are_listed(capsys):
    assert main(["suite"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2 : 2 + len(TASKS)]] == [task.name for task in TASKS]
    assert max(map(len, lines)) <= 100


def test_an_entry_is_played_checked_and_listed(capsys, small, error, tmp_path):
    """A forged score is refused; rounding errors of a processor are not."""
    entry = small
    assert "scores: expected a file scores.json" in error("evaluate", entry, "--check")
    assert main(["suite", "evaluate", str(entry), "--trust"]) == 0
    assert main(["suite", "evaluate", str(entry), "--check"]) == 0  # in processes with limits
    assert capsys.readouterr().out.endswith("reproduced exactly\n")
    played = json.loads((entry / SCORES).read_text(encoding="utf-8"))
    np.testing.assert_array_equal(played["round-50"], [TASKS[1].values("random-actions"), TASKS[1].values("fixed")])
    out = tmp_path / "out"
    assert main(["suite", "table", str(entry), "--check", "--seed", "0", "--out", str(out), "--trust"]) == 0
    assert "*" not in capsys.readouterr().out  # all rows are played
    (row,) = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    assert (row["method"], row["public"]) == ("mine", "played")
    assert row["worst"] == pytest.approx(np.mean([0.0, TASKS[1].score("fixed").score.mean]))
    assert (row["iqm_low"], row["iqm_high"]) == (None, None)  # of two seeds
    assert row["round-50_min"] < 1e-9 < row["round-50"] < row["round-50_max"]
    assert 0.0 < row["round-50_error"] < 0.1
    assert (out / "leaderboard.csv").read_text(encoding="utf-8").count("\n") == 2
    assert "| round-50 |" in (out / "leaderboard.md").read_text(encoding="utf-8")
    assert "method: expected distinct names, got 'mine'" in error("table", entry, entry)

    def forge(digit):
        scores = copy.deepcopy(played)
        scores["round-50"][1][0][7] += digit * max(scores["round-50"][1][0])
        (entry / SCORES).write_text(json.dumps(scores), encoding="utf-8")

    forge(1e-14)
    assert main(["suite", "evaluate", str(entry), "--check", "--trust"]) == 0
    assert capsys.readouterr().out.endswith("of the largest value\n")
    forge(1e-8)
    message = error("evaluate", entry, "--check", "--trust")
    assert "scores of round-50: expected the scores of the policies" in message
    assert "1.0e-08 of the largest value" in message
    (entry / CURVES).write_text('{"round-8": [[1, 1]], "round-50": [[1, 1]]}', encoding="utf-8")
    assert "curves of round-8: expected finite numbers of shape (3, 2)" in error("table", entry, "--seed", "0")


def test_a_network_that_remembers_forgets_where_episodes_begin(tmp_path):
    write_policy(tmp_path / "policy", remembering())
    policy = load_policy(tmp_path / "policy")
    env = FIRST.make_vec(3, seed=0)
    seen, _ = env.reset()
    for _ in range(2):
        policy.reset()
        assert [policy.act(seen)[2, 0, 0] for _ in range(3)] == [0.0, 2.0**-10, 2.0**-9]
    played = FIRST.values(policy)
    np.testing.assert_array_equal(FIRST.values(policy), played)
    assert policy.act(seen)[0, 0, 0] == 0.0  # of fewer environments than before


@pytest.mark.parametrize(("name", "score"), [("random-actions", 0.0), ("reference", 1.0)])
def test_an_entry_is_made_of_a_rule(name, score, monkeypatch, tmp_path):
    """Made again, it keeps the words of its author."""
    use_tasks(monkeypatch, ["round-8"])
    folder, out = tmp_path / "rule", tmp_path / "out"
    make = ["suite", "evaluate", name, "--out", str(folder)]
    assert main(make) == 0
    rewrite(folder, lambda about: about.update(method="Mine", authors="A. Nonymous"))
    assert main(make) == 0
    assert main(["suite", "table", str(folder), "--seed", "3", "--out", str(out)]) == 0
    (row,) = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    assert (row["method"], row["authors"], row["steps"], row["seeds"]) == ("Mine", "A. Nonymous", 0, 1)
    assert [row["iqm"], row["worst"], row["fresh"]] == pytest.approx([score] * 3, abs=1e-6)
    assert row["rules"] == "round-8"
    page = (out / "leaderboard.md").read_text(encoding="utf-8")
    assert "| Mine (rule) &#42; |" in page
    assert page.endswith("\n\n- Mine: A. Nonymous\n")


def test_an_entry_of_the_references_names_the_rule_of_each_task():
    names = "fair", "late"
    policies = rule_policies("reference", [multispin_lab.suite.task(name) for name in names])
    assert policies == {name: [{"rule": multispin_lab.suite.task(name).reference}] for name in names}


def test_a_rule_may_play_some_tasks(few, tmp_path):
    assert main(["suite", "evaluate", "fixed", "--tasks", "round-8", "--out", str(tmp_path)]) == 0
    assert list(read_entry(tmp_path).policies) == ["round-8"]


def test_no_rule_replaces_another_entry(error, small, tmp_path):
    before = (small / ENTRY).read_bytes()
    words = "out: expected a new folder, or one with an entry of this method"
    assert words in error("evaluate", "fixed", "--out", small)
    assert "out: expected no value for the folder of an entry" in error("evaluate", small, "--out", tmp_path / "out")
    assert (small / ENTRY).read_bytes() == before
    assert not (small / SCORES).exists()


def test_a_method_with_another_policy_in_one_task_replaces_nothing(tmp_path):
    tasks = [multispin_lab.suite.task(name) for name in ("late", "fair")]
    save_entry(tmp_path, rule_entry("optimal+quantile", tasks))  # the reference of the first
    check_replaced(tmp_path, rule_policies("optimal+quantile", tasks[:1]))
    with pytest.raises(ValueError, match=r"^out: expected a new folder, or one with an entry of this method"):
        check_replaced(tmp_path, rule_policies("reference", tasks))


def test_an_agent_of_ours_is_an_entry(error, small):
    pytest.importorskip("stable_baselines3")
    for name in ("heterogeneous", "fair"):
        shutil.copytree(Path(multispin_agents.__file__).parent / "pretrained" / name, small / name)
    _first({"folder": "heterogeneous"}, {"folder": "first-0"})(small)
    assert main(["suite", "evaluate", str(small), "--trust"]) == 0
    played = np.array(json.loads((small / SCORES).read_text(encoding="utf-8"))["round-8"])
    assert FIRST.performance(played).mean_scores[0] > 0.99
    _first({"folder": "fair"}, {"folder": "fair"})(small)
    assert "got one for 'MultiSpin/Fair-v0'" in error("evaluate", small, "--trust")


def test_a_name_is_played_without_a_folder(capsys, error):
    assert main(["suite", "evaluate", "random-actions", "--tasks", "round-8"]) == 0
    assert "0.000 (0.000 to 0.000)" in capsys.readouterr().out
    assert main(["suite", "evaluate", f"{__name__}:Nothing", "--tasks", "round-8"]) == 0
    assert f"{FIRST.score(Nothing()).value.mean:.3f}" in capsys.readouterr().out
    assert main(["suite", "evaluate", "optimal", "--tasks", "round-8", "--seed", "5"]) == 0
    assert "2 of 2 done" in capsys.readouterr().err  # it is one end of the scores
    assert "did you mean 'optimal'" in error("evaluate", "optimall", "--tasks", "round-8")
    assert "expected a folder with scores" in error("evaluate", "fixed", "--check")


def table(capsys, *arguments):
    """Return the rows of the table of entries as lists of cells, and those of the JSON file."""
    capsys.readouterr()
    assert main(["suite", "table", *map(str, arguments), "--trust"]) == 0
    return capsys.readouterr().out


def test_a_fresh_seed_catches_stored_actions(small, capsys, tmp_path):
    """A network that observes nothing, and returns the actions of the optimum in the order of the public episodes."""
    cases = FIRST.cases()[0]
    env = cases.env(FIRST.config)
    env.reset(seed=cases.seed)
    best = env.unwrapped.encode_action(ms.make_controller("optimal", env.unwrapped.scenario)(env.unwrapped.state))
    model = onnx.ModelProto.FromString(network(product="nothing", nodes=f"{OUTPUT} = Add(nothing, table)"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(best.astype(np.float32), "table"))
    write_policy(small / "stored", model.SerializeToString())
    rewrite(small, lambda about: about.update(seeds=[0], policies={FIRST.name: [{"folder": "stored"}]}))
    assert main(["suite", "evaluate", str(small), "--trust"]) == 0
    _, best = FIRST.ends(5)
    save_values(small / "scores-5.json", {FIRST.name: best[None]})  # which nobody has played
    assert "mine *" in table(capsys, small, "--seed", "5", "--out", tmp_path / "out")
    (row,) = json.loads((tmp_path / "out" / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    assert row["round-8"] > 0.99
    assert row["iqm"] == pytest.approx(row["round-8"])  # of one task
    assert row["fresh"] < 0.8 * row["iqm"]
    assert (row["gaps"], row["round-50"], row["rules"], row["public"]) == ("round-50", None, "", "read")
    assert main(["suite", "evaluate", str(small), "--seed", "5", "--check", "--trust"]) == 0


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_scores_above_a_proven_bound_are_refused(task, tmp_path):
    entry = replace(rule_entry("random-actions", ()), policies={task.name: [{"rule": "random-actions"}]})
    floor, top = task.ends()

    def read(score):
        save_values(tmp_path / SCORES, {task.name: (floor + score * (top - floor))[None]})
        return read_scores(tmp_path, entry)

    read(1.0)
    if task.name in ("texts", "fair", "requests", "bursts"):  # nothing is proven
        read(2.0)
        return
    for score in [1.001, 1.3] if task.bound == "reference" else [1.6]:
        with pytest.raises(ValueError, match=rf"scores of {task.name}: expected at most 1\.\d+, .* got {score}"):
            read(score)


def test_gaps_and_equal_networks_are_marked(small, capsys, tmp_path):
    def shown(**policies):
        rewrite(small, lambda about: about.update(policies=policies))
        assert main(["suite", "evaluate", str(small), "--trust"]) == 0
        return table(capsys, small, "--seed", "0")

    shutil.copytree(small / "first-0", small / "same")
    same = {"round-8": [{"folder": "first-0"}, {"folder": "same"}]}
    lines = shown(**same).splitlines()
    assert lines[2].split()[:10] == ["mine", "*", "-", "1", "o", "1,000", "1", "1", "-", "0.805"]  # no rank
    assert next(line.split()[1] for line in lines if line.startswith("round-50")) == "-"
    (small / CURVES).write_text('{"round-8": [[0, 0], [0.2, 0.2], [0.8, 0.8]]}', encoding="utf-8")
    assert re.search(r"0\.000 +0\.200 +0\.800\n", table(capsys, small, "--seed", "0"))
    (small / CURVES).unlink()
    assert shown(**same, **{"round-50": [{"rule": "random-actions"}] * 2}).splitlines()[:3] == lines[:3]
    assert "mine (rule in 1 of 2 tasks)" in shown(**same, **{"round-50": [{"rule": "optimal"}]})


def test_other_files_than_the_recorded_ones_are_refused(small, error):
    assert main(["suite", "evaluate", str(small), "--trust"]) == 0
    files = json.loads((small / ENTRY).read_text(encoding="utf-8"))["files"]
    assert set(files) == {f"first-{seed}/{name}" for seed in (0, 1) for name in (ONNX, POLICY)}
    rewrite(small, lambda about: about["files"].pop("first-0/policy.onnx"))
    assert "got another 'first-0/policy.onnx'" in error("table", small, "--seed", "0")
    rewrite(small, lambda about: about.update(files=files))
    with (small / "first-1" / POLICY).open("ab") as file:
        file.write(b" ")
    for arguments in (("evaluate", small, "--check"), ("table", small, "--seed", "0")):
        assert "files: expected the recorded file, got another 'first-1/policy.json'" in error(*arguments)


def test_a_policy_without_its_network_has_the_scores_that_its_entry_states(small, capsys, error, tmp_path):
    """The networks that are there are played and checked; the sentence names the others."""
    assert main(["suite", "evaluate", str(small), "--trust"]) == 0
    names, words = (
        (ENTRY, SCORES),
        "not played, since the entry has their scores but not their networks: round-8 (seed 1)",
    )
    before, played = [(small / name).read_bytes() for name in names], json.loads((small / SCORES).read_bytes())
    board = ["--out", tmp_path / "out"]

    def row():
        return json.loads((tmp_path / "out" / "leaderboard.json").read_text(encoding="utf-8"))["rows"][0]

    assert "mine *" not in table(capsys, small, "--check", "--seed", "5", *board)
    full, fresh = row(), json.loads((small / "scores-5.json").read_bytes())
    (small / "first-1" / ONNX).unlink()
    for more in (["--check"], []):
        assert main(["suite", "evaluate", str(small), "--trust", *more]) == 0
        assert capsys.readouterr().out.endswith(f"\nthe stored scores are reproduced exactly\n\n{words}\n")
        assert [(small / name).read_bytes() for name in names] == before
    assert main(["suite", "evaluate", str(small), "--trust", "--seed", "5"]) == 0
    assert capsys.readouterr().out.endswith(f"\n\n{words}\n")
    assert json.loads((small / "scores-5.json").read_bytes()) == {**fresh, "round-8": fresh["round-8"][:1]}
    assert main(["suite", "evaluate", str(small), "--trust", "--seed", "5", "--check"]) == 0
    printed = table(capsys, small, "--check", "--seed", "5", *board)
    assert "mine (rule in 1 of 2 tasks) *" in printed
    assert "plays the networks in it" in printed
    assert "since these entries have their scores but not all networks: mine (3 of 4)\n" in printed
    public, again = (
        np.concatenate([FIRST.performance(np.array(values["round-8"][:1]), seed).mean_scores, others])
        for values, seed, others in (
            (played, 0, TASKS[1].performance(np.array(played["round-50"])).mean_scores),
            (fresh, 5, TASKS[1].performance(np.array(fresh["round-50"]), 5).mean_scores),
        )
    )
    numbers = [f"{statistics.interquartile_mean([scores]):.3f}" for scores in (public, again)]
    assert next(line.split()[-2:] for line in printed.splitlines() if " 3 of 4 " in line) == numbers
    assert row() == {**full, "public": "read", "fresh": None}
    rewrite(small, lambda scores: scores["round-8"][1][0].append(scores["round-8"][1][0].pop() + 1.0), SCORES)
    assert main(["suite", "evaluate", str(small), "--trust", "--check"]) == 0  # only stated
    rewrite(small, lambda scores: scores["round-50"][1][0].append(scores["round-50"][1][0].pop() + 1.0), SCORES)
    for arguments in (("evaluate", small), ("table", small, "--seed", "0")):
        assert "scores of round-50: expected the scores of the policies" in error(*arguments, "--trust", "--check")


def test_an_entry_without_networks_is_listed_and_nothing_is_reproduced(small, capsys):
    rewrite(small, lambda about: about["policies"].pop("round-50"))
    assert main(["suite", "evaluate", str(small), "--trust"]) == 0
    for seed in (0, 1):
        (small / f"first-{seed}" / ONNX).unlink()
    capsys.readouterr()
    for arguments in (["--check"], ["--seed", "5"], ["--seed", "5", "--check"]):
        assert main(["suite", "evaluate", str(small), *arguments]) == 0
        printed = capsys.readouterr().out
        assert "reproduced" not in printed
        assert printed.endswith(" networks: round-8 (seed 0, 1)\n")
    lines = table(capsys, small, "--check", "--seed", "7").splitlines()
    assert lines[2].startswith("mine *")
    assert any(line.split() == ["mine", "0", "of", "2", "-", "-"] for line in lines)


def test_a_missing_network_excuses_no_other_file(small, error):
    assert main(["suite", "evaluate", str(small), "--trust"]) == 0
    scores = (small / SCORES).read_bytes()
    (small / "first-1" / ONNX).unlink()
    other, policy = small / "first-0" / ONNX, small / "first-1" / POLICY
    for path, content in ((other, network((1.0, 1.0))), (policy, b"{}"), (policy, None)):
        kept = path.read_bytes()
        path.unlink() if content is None else path.write_bytes(content)
        for arguments in (("evaluate", small), ("evaluate", small, "--seed", "5"), ("table", small, "--seed", "5")):
            words = f"files: expected the recorded file, got another '{path.relative_to(small).as_posix()}'"
            assert words in error(*arguments, "--trust")
        path.write_bytes(kept)
    assert (small / SCORES).read_bytes() == scores
    (small / SCORES).unlink()
    assert "scores: expected a file scores.json" in error("evaluate", small, "--trust")


def test_two_entries_are_compared_in_the_same_episodes(few, capsys, tmp_path, error):
    folders = [tmp_path / name for name in ("homogeneous", "fixed")]
    for folder in folders:
        assert main(["suite", "evaluate", folder.name, "--out", str(folder)]) == 0
    lines = table(capsys, *folders, "--paired", "--seed", "0").splitlines()
    first, second = (FIRST.score(folder.name).score.mean for folder in folders)
    assert any(line.split()[:2] == ["round-8", f"{first - second:.3f}"] for line in lines)
    assert "entries: expected two with --paired, got 1" in error("table", folders[0], "--paired", "--seed", "0")


def test_any_name_of_a_method_is_shown_as_it_is(few, tmp_path):
    names, out = ["=1+1", "a|b", r"$\frac{1}{$", "<script>alert(1)</script>", "_hidden", "[x](y)`"], tmp_path / "out"
    assert main(["suite", "evaluate", "fixed", "--out", str(tmp_path / "0")]) == 0
    folders = [
        tmp_path / "0",
        *(shutil.copytree(tmp_path / "0", tmp_path / str(index)) for index in range(1, len(names))),
    ]
    for folder, name in zip(folders, names, strict=True):
        rewrite(folder, lambda about, name=name: about.update(method=name, steps=1000))
        save_values(folder / CURVES, {task: np.array([[0.1], [0.2], [0.3]]) for task in ("round-8", "round-50")})
    assert main(["suite", "table", *map(str, folders), "--seed", "0", "--out", str(out)]) == 0
    rows = json.loads((out / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    assert [row["method"] for row in rows] == names
    lines = (out / "leaderboard.md").read_text(encoding="utf-8").splitlines()
    assert {line.count("|") for line in lines if line.startswith("|")} == {16, 9, 7}
    assert not any(sign in line for line in lines for sign in ("<", "$", "](", "`"))
    assert [html.unescape(line).split(" (rule) *")[0] for line in lines[4:10]] == [f"| {name}" for name in names]
    with (out / "leaderboard.csv").open(encoding="utf-8") as file:
        assert [row["method"] for row in csv.DictReader(file)] == ["'=1+1", *names[1:]]
    assert (out / "curves.png").stat().st_size > 10_000


def _set(**fields):
    return lambda folder: rewrite(folder, lambda about: about.update(fields))


def _first(*policies):
    return lambda folder: rewrite(folder, lambda about: about["policies"].update({FIRST.name: list(policies)}))


def _other_policy(content, **changed):
    def change(folder):
        write_policy(folder / "other", content, **changed)
        _first({"folder": "other"}, {"folder": "other"})(folder)

    return change


def _text(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def _linked(folder):
    outside = folder.parent / "outside"
    write_policy(outside, network())
    (folder / "link").symlink_to(outside, target_is_directory=True)
    _first({"folder": "link"}, {"folder": "link"})(folder)


def _linked_file(folder):
    (folder / "first-0" / ONNX).rename(folder.parent / ONNX)
    (folder / "first-0" / ONNX).symlink_to(folder.parent / ONNX)


def _linked_entry(folder):
    (folder / ENTRY).rename(folder.parent / "e")
    (folder / ENTRY).symlink_to(folder.parent / "e")


def _pipe(folder):
    (folder / "first-0" / ONNX).unlink()
    os.mkfifo(folder / "first-0" / ONNX)


def _recorded(change, name=f"first-0/{ONNX}"):
    """Let the entry record a network, and change something else."""

    def change_both(folder):
        rewrite(folder, lambda about: about.update(files={name: "0" * 64}))
        change(folder)

    return change_both


def _linked_nowhere(folder):
    (folder / "first-0" / ONNX).unlink()
    (folder / "first-0" / ONNX).symlink_to(folder / "none")


class Evil:
    def __reduce__(self):
        return exec, ("import pathlib; pathlib.Path('pwned').touch()",)


HOSTILE = {
    "no JSON": (_text(ENTRY, b"{"), "entry.json"),
    "no table": (_text(ENTRY, b"[]"), "expected a table of fields"),
    "a pickle for an entry": (_text(ENTRY, pickle.dumps(Evil())), "UTF-8"),
    "another kind": (_set(kind="other"), "kind: expected one of"),
    "another version": (_set(version="v0"), "version: expected one of"),
    "a field too many": (_set(score=1.0), "field: expected one of"),
    "a field too few": (lambda f: rewrite(f, lambda about: about.pop("authors")), "expected the field 'authors'"),
    "a name of many lines": (_set(method="a\nb"), "method: expected a text of one line"),
    "more steps than the budget": (_set(steps=10**9), "steps: expected an integer in"),
    "seconds that are none": (_set(seconds=float("nan")), "seconds: expected a finite number"),
    "seeds that are none": (_set(seeds="01"), "seeds: expected a list"),
    "seeds twice": (_set(seeds=[1, 1]), "seeds: expected distinct numbers"),
    "too many seeds": (_set(seeds=list(range(101))), "seeds: expected a list"),
    "no policies": (_set(policies=3), "policies: expected a table of tasks"),
    "policies of no task": (_set(policies={}), "policies: expected at least one task"),
    "starts that are none": (_set(starts=-1), "starts: expected an integer in"),
    "an unknown task": (lambda f: rewrite(f, lambda about: about["policies"].update(x=[])), "field: expected one of"),
    "a seed too many": (_first(*[{"folder": "first-0"}] * 3), "with one for each seed"),
    "no seed": (_first(), "with one for each seed"),
    "files that are none": (_set(files=[1]), "files: expected a table of paths"),
    "a revision of many lines": (_set(revision="a\nb"), "revision: expected a text of one line"),
    "a policy that is none": (_first(3, 3), "policy: expected"),
    "two ways at once": (_first(*[{"folder": "first-0", "rule": "fixed"}] * 2), "policy: expected"),
    "code by its name": (_first(*[{"rule": "os:getcwd"}] * 2), "rule: expected the name of a rule of the package"),
    "an unknown rule": (_first(*[{"rule": "best"}] * 2), "controller: expected one of"),
    "a rule without a name": (_first(*[{"rule": ""}] * 2), "round-8, seed 0: controller: expected one of"),
    "a rule of a long name": (_first(*[{"rule": "a\n" * 10**6}] * 2), "round-8, seed 0: controller: expected one of"),
    "a rule of the other family": (_first(*[{"rule": "groups"}] * 2), "controller: expected a controller of rounds"),
    "a path upwards": (_first(*[{"folder": "../entry"}] * 2), "folder: expected a folder within the entry"),
    "an absolute path": (_first(*[{"folder": "/etc"}] * 2), "folder: expected a folder within the entry"),
    "a name with a zero": (_first(*[{"folder": "a\0b"}] * 2), "folder: expected a folder within the entry"),
    "a link to a folder elsewhere": (_linked, "folder: expected a folder within the entry"),
    "a link to a file elsewhere": (_linked_file, "folder: expected a folder with the files"),
    "no file of a policy": (_first(*[{"folder": "none"}] * 2), "folder: expected a folder within the entry"),
    "a pickle for a network": (_other_policy(pickle.dumps(Evil())), "can't be read as a network"),
    "a network of another checksum": (_text(f"first-0/{ONNX}", network((1.0, 1.0))), "got another"),
    "a policy for no environment": (lambda f: rewrite(f / "first-0", lambda a: a.pop("env"), POLICY), "field 'env'"),
    "a policy for another environment": (_other_policy(network(), env="MultiSpin/Homogeneous-v0"), "env: expected"),
    "weights that are NaN": (_other_policy(network((float("nan"), 0.0))), "round-8, seed 0: action"),
    "actions out of range": (_other_policy(network((9.0, 0.0))), "round-8, seed 0: action"),
    "a loop": (_other_policy(LOOPING), "expected nodes that run once"),
    "another format of networks": (lambda f: _other_policy(flat_format(f / "other.ort"))(f), "can't be read as a net"),
    "memory without an end": (_other_policy(remembering(size=10**12)), "memory: expected (n, size)"),
    "memory of any size": (_other_policy(remembering(size="any")), "memory: expected (n, size)"),
    "memory that grows": (_other_policy(remembering(copies=2)), "next_memory: expected numbers of shape"),
    "actions of twice the batch": (
        _other_policy(network(product="half", nodes=f"{OUTPUT} = Concat<axis = 0>(half, half)")),
        "action: expected numbers of shape",
    ),
    "actions of text": (_other_policy(network(product="all", nodes=f"{OUTPUT} = Cast<to = 8>(all)")), "Type Error"),
    "checksums that are none": (
        _set(files={f"first-0/{ONNX}": [1]}),
        "files: expected a table of paths with their SHA",
    ),
    "a network that nothing records": (lambda f: (f / "first-0" / ONNX).unlink(), "expected a folder with the files"),
    "a link to nothing": (_recorded(_linked_nowhere), "folder: expected a folder with the files"),
    "a recorded network elsewhere": (
        _recorded(_first(*[{"folder": "../none"}] * 2), f"../none/{ONNX}"),
        "folder: expected a folder within the entry",
    ),
    "a recorded network of a rule": (
        _recorded(_first(*[{"rule": "best"}] * 2), f"None/{ONNX}"),
        "controller: expected",
    ),
    "an entry that is a link": (_linked_entry, "expected a folder with a file entry.json"),
}
if hasattr(os, "mkfifo"):
    HOSTILE["a pipe for a network"] = (_pipe, "folder: expected a folder with the files")
    HOSTILE["a pipe for a recorded network"] = (_recorded(_pipe), "folder: expected a folder with the files")


def _call_supernet(folder, rules):
    """Let an entry of rules look like one of a trained method."""
    policies = {name: [{"rule": rule}] for name, rule in rules.items()}
    rewrite(folder, lambda about: about.update(method="SuperNet (deep RL)", steps=50_000, policies=policies))


def test_rules_are_marked_whatever_their_entry_says(small, capsys):
    _call_supernet(small, dict.fromkeys(("round-8", "round-50"), "homogeneous"))
    assert main(["suite", "evaluate", str(small)]) == 0
    assert table(capsys, small, "--seed", "0").splitlines()[2].startswith("SuperNet (deep RL) (rule)")


def test_actions_without_a_known_action_0_are_apart(small):
    """Also those of files that are no description of a policy."""

    def kind():
        return kinds_of(small, read_entry(small))["round-8"]

    zero = FIRST.frozen.middle
    assert kind() == ("own", zero)
    rewrite(small / "first-1", lambda about: about.update(action="lengths"), POLICY)
    assert kind() == ("mixed", None)
    for odd in ({"action": [1], "arguments": 3}, {"action": "none", "arguments": {"reference": [1]}}):
        for seed in (0, 1):
            rewrite(small / f"first-{seed}", lambda about, odd=odd: about.update(odd), POLICY)
        assert kind() == ("around a rule", None)


@pytest.mark.parametrize("rule", ["optimal", "optimal+clairvoyant"])
def test_a_rule_that_sees_what_is_hidden_is_refused(rule, error, entry):
    _call_supernet(entry, {"round-8": "optimal", "late": rule})
    for command in ("evaluate", "table"):
        assert f"rule: expected one that sees only what late shows, got '{rule}'" in error(command, entry)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_entry_ends_in_a_sentence(kind, error, entry, monkeypatch):
    """Without limits, since each is refused early; networks that need limits are in the tests of `suite_box`."""
    change, words = HOSTILE[kind]
    use_tasks(monkeypatch, [FIRST.name])
    rewrite(entry, lambda about: about.update(policies={FIRST.name: about["policies"][FIRST.name]}))
    monkeypatch.chdir(entry)
    change(entry)
    assert words in error("evaluate", entry, "--trust")
    assert not (entry / "pwned").exists()
    assert not (entry / SCORES).exists()


def test_a_table_plays_fresh_episodes_of_all_entries_together(small, error, few, tmp_path):
    """A policy that fails loses no scores of other entries; scores of other policies than now are deleted."""
    fixed = tmp_path / "fixed"
    assert main(["suite", "evaluate", "fixed", "--out", str(fixed)]) == 0
    assert main(["suite", "evaluate", str(small), "--trust"]) == 0
    write_policy(small / "other", network((9.0, 0.0)))
    _first({"folder": "other"}, {"folder": "first-1"})(small)
    save_entry(small, read_entry(small))
    assert not (small / SCORES).exists()
    shutil.copy(fixed / SCORES, small / SCORES)
    rewrite(small, lambda scores: [values.append(values[0]) for values in scores.values()], SCORES)
    assert "entry, round-8, seed 0: action" in error("table", fixed, small, "--seed", "5", "--trust")
    assert not (small / "scores-5.json").exists()
    played = json.loads((fixed / "scores-5.json").read_text(encoding="utf-8"))
    np.testing.assert_array_equal(played["round-8"][0], FIRST.values("fixed", eval_seed=5))


def test_one_hostile_policy_does_not_lose_the_others(capsys, small):
    write_policy(small / "other", LOOPING)
    _first({"folder": "other"}, {"folder": "first-1"})(small)
    assert main(["suite", "evaluate", str(small), "--trust"]) == 2
    printed = capsys.readouterr()
    assert "round-8, seed 0: " in printed.err
    assert [line.split()[0] for line in printed.out.splitlines()[2:]] == ["round-8", "round-50"]


def test_networks_play_without_limits_only_if_trusted(monkeypatch, error, small):
    monkeypatch.setattr("multispin_lab.commands.suite.has_limits", lambda: False)
    assert "trust: expected --trust on a system that can't limit the memory" in error("evaluate", small)
    _first(*[{"rule": "fixed"}] * 2)(small)
    assert main(["suite", "evaluate", str(small)]) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "expected a table of fields"),
        ("{}", "expected the field 'round-8'"),
        ('{"round-8": [[[1.0]]], "round-50": 0}', "expected finite numbers of shape (2, 1, 500)"),
        ('{"round-8": "many", "round-50": 0}', "could not convert"),
        ('{"round-8": [[1], [1, 2]], "round-50": 0}', "scores.json"),
    ],
)
def test_hostile_scores_end_in_a_sentence(content, words, error, small):
    save_entry(small, read_entry(small))
    (small / SCORES).write_text(content, encoding="utf-8")
    assert words in error("table", small)
