"""Runs that a stranger made: what their files may name, and what is refused before it is read."""

import json
import re
import shutil
import struct

import numpy as np
import pytest

import agents
from agents import checkpoints, tracing
from agents import training as train_command
from agents.checkpoints import MODEL, Checkpoint, load_checkpoint, save_checkpoint
from agents.measures import Measure
from agents.models import ROOT, SCORE, read
from agents.runs import CONFIG, DIGEST, digest, load_config, save_config
from agents.vec_env import make_vec_env
from multispin_env.apps.commands.main import main
from multispin_env.evaluation.policy import ONNX, POLICY, config_of, read_about
from multispin_env.files import make_folder
from multispin_env.physics.records import load_records

RECORDED = "MultiSpin/RecordedAcceptance-v0"
STOPPED = 15


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A record of the user's own, of four tasks with two texts each."""
    path = tmp_path_factory.mktemp("records") / "mine.npz"
    rng = np.random.default_rng(3)
    probability = rng.random(80)
    task, length = np.repeat(np.arange(4), 2), np.full(8, 10)
    np.savez(path, task=task, length=length, accept_probability=probability, accepted=rng.random(80) < probability)
    return path


@pytest.fixture
def run(tmp_path):
    """Copy of the run of a pretrained agent, by environment."""

    def copied(env_id=RECORDED):
        folder = tmp_path / "foreign"
        shutil.copytree(ROOT / agents.PRETRAINED[env_id], folder)
        return folder

    return copied


def rewrite(folder, change):
    """Change what a configuration says, as somebody who makes its digest anew."""
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    change(content)
    content[DIGEST] = digest(content)
    (folder / CONFIG).write_text(json.dumps(content), encoding="utf-8")


def name_record(folder, name):
    rewrite(folder, lambda content: content["arguments"].update(records=name))


def add_network(folder):
    """Give a run an untrained network with its optimiser, which pretrained agents do without."""
    config, _ = load_config(folder)
    agent = agents.AGENTS.load(config.agent)
    env = make_vec_env(config.env, agent.num_envs, max_episode_steps=1, seed=0)
    model = agent.for_environment(config.env).build(env, lambda progress: progress, 0, "cpu")
    save_checkpoint(folder / MODEL, Checkpoint.of(model, 1.0))


def refused(command, arguments, capsys):
    capsys.readouterr()
    assert main([command, *map(str, arguments)]) == 2
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1
    assert "Traceback" not in printed
    return printed


@pytest.fixture
def untrained(monkeypatch):
    """Let ``train.py`` stop as soon as it would train; it still writes a new run's configuration."""
    started = []

    def train(config, folder, limits, resume, device, console):
        started.append(config)
        if not resume:
            save_config(folder, config, limits)
        return STOPPED

    monkeypatch.setattr(train_command, "train", train)
    return started


@pytest.mark.parametrize("name", ["/etc/passwd", "../mine.npz", "deeper/mine.npz", "link.npz", "missing.npz", "", 7])
def test_a_run_names_no_record_outside_its_folder(run, record, tmp_path, name, capsys):
    folder = run()
    shutil.copy(record, tmp_path / "mine.npz")
    (folder / "deeper").mkdir()
    shutil.copy(record, folder / "deeper" / "mine.npz")
    (folder / "link.npz").symlink_to(record)
    name_record(folder, name)
    said = f"records: expected a file beside the configuration, or your own path by --set records=PATH, got {name!r}"
    for command, arguments in (("evaluate", [folder]), ("train", ["--resume", folder])):
        assert said in refused(command, arguments, capsys)
    with pytest.raises(ValueError, match=re.escape(said)):
        read(folder)


def test_an_export_takes_the_record_along(run, record, tmp_path, monkeypatch):
    folder, out = run(), tmp_path / "out"
    add_network(folder)
    shutil.copy(record, folder / "records.npz")
    name_record(folder, "records.npz")
    same = tracing.Format(lambda *_: b"network", lambda _, network: lambda entries: network(*entries).numpy())
    monkeypatch.setitem(tracing.FORMATS, ONNX, same)
    make_folder(out)
    tracing.export(folder, out, [ONNX])
    assert config_of(read_about(out), out / POLICY).variant.records == str(out / "records.npz")
    assert (out / "records.npz").read_bytes() == record.read_bytes()


class PlayedError(Exception):
    pass


def test_the_path_that_the_user_gives_is_taken(run, record, untrained, monkeypatch):
    def report(measure, model, label, size=None):
        raise PlayedError(measure.config.variant.records)

    monkeypatch.setattr(Measure, "report", report)
    folder = run()
    add_network(folder)
    name_record(folder, "/nowhere/records.npz")
    arguments = ["--set", f"records={record}"]
    with pytest.raises(PlayedError, match=record.name):
        main(["evaluate", str(folder), *arguments, "--num-users", "2"])
    assert main(["train", "--resume", str(folder), *arguments]) == 128 + STOPPED
    assert untrained[0].env.variant.records == str(record)


def test_a_run_keeps_the_record_it_was_trained_with(record, untrained, tmp_path, monkeypatch, capsys):
    folder, own = tmp_path / "run", tmp_path / "own.npz"
    shutil.copy(record, own)
    monkeypatch.chdir(tmp_path)
    arguments = ["--env", RECORDED, "--set", "records=own.npz", "--num-users", "2"]
    assert main(["train", "--name", str(folder), *arguments]) == 128 + STOPPED
    assert json.loads((folder / CONFIG).read_text(encoding="utf-8"))["arguments"]["records"] == "records.npz"
    assert (folder / "records.npz").read_bytes() == record.read_bytes()

    monkeypatch.chdir(folder)  # neither the position nor the first file matters from here on
    for given in ([], ["--set", "records=../own.npz"], ["--set", f"records={own}"]):
        assert main(["train", "--resume", str(folder), *given]) == 128 + STOPPED
        assert untrained[-1].env.variant.records == str(folder / "records.npz")
    own.unlink()
    assert main(["train", "--resume", str(folder)]) == 128 + STOPPED
    assert load_records(untrained[-1].env.variant.records).num_tasks == 4


def test_a_run_does_not_go_on_with_another_record(record, untrained, tmp_path, capsys):
    folder, other = tmp_path / "run", tmp_path / "other.npz"
    arguments = ["--env", RECORDED, "--set", f"records={record}", "--num-users", "2"]
    assert main(["train", "--name", str(folder), *arguments]) == 128 + STOPPED
    with np.load(record) as arrays:
        np.savez(other, **{**arrays, "accepted": ~arrays["accepted"]})
    printed = refused("train", ["--resume", folder, "--set", f"records={other}"], capsys)
    assert f"variant: expected the values of the run {str(folder)!r}, or none, got others" in printed
    (folder / "records.npz").unlink()
    assert "records: expected a file beside the configuration" in refused("train", ["--resume", folder], capsys)
    assert main(["train", "--resume", str(folder), "--set", f"records={record}"]) == 128 + STOPPED


def test_a_bad_record_leaves_no_run(untrained, tmp_path, capsys):
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"x")
    arguments = ["--name", tmp_path / "run", "--env", RECORDED, "--set", f"records={bad}"]
    assert "bad.npz: file: expected an .npz archive, got b'x' at its start" in refused("train", arguments, capsys)
    assert not (tmp_path / "run").exists()


NESTED = "[" * 200_000


@pytest.mark.parametrize(
    "content",
    [NESTED, '{"a":' * 100_000, "9" * 5000, "\0", b"\xff", b"{}", b"[]"],
    ids=lambda content: repr(content)[:14],
)
def test_broken_configurations_are_refused(run, content, capsys):
    folder = run()
    (folder / CONFIG).write_bytes(content.encode() if isinstance(content, str) else content)
    for command, arguments in (("evaluate", [folder]), ("train", ["--resume", folder])):
        assert f"{CONFIG}: can't be read as the configuration of a run (" in refused(command, arguments, capsys)


@pytest.mark.parametrize("content", [NESTED, "\0", "[]", b"\xff"], ids=["deep", "nul", "list", "byte"])
def test_broken_scores_are_refused(run, content):
    folder = run()
    (folder / SCORE).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=rf"{SCORE}: can't be read as the score of an agent \("):
        read(folder)


HUGE = 10**4000


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        *(("scenario", "num_users", value) for value in (HUGE, 10**400, 2**63, float("inf"), float("nan"), "3", [3])),
        *(("scenario", "total_bandwidth", value) for value in (HUGE, 10**400, 1e999, float("nan"), None, {})),
        *(("scenario", field, HUGE) for field in ("kept_probabilities", "bits_per_probability", "max_draft_length")),
        ("scenario", "tasks", [[[]]]),
        ("scenario", "channel", ["independent"]),
        ("arguments", "mean_rounds", float("nan")),
        ("arguments", "half", HUGE),
        ("arguments", "x" * 10_000, 1),
    ],
    ids=lambda value: repr(value)[:16] if not isinstance(value, int) else "int",
)
def test_numbers_without_bounds_are_refused(run, part, field, value, capsys):
    folder = run()
    rewrite(folder, lambda content: content[part].update({field: value}))
    assert "can't be read as the configuration of a run (" in refused("evaluate", [folder], capsys)


def test_an_endless_request_may_be_written_as_a_number_too_large_for_floats(run):
    folder = run()
    rewrite(folder, lambda content: content["arguments"].update(mean_rounds=10**400))
    assert load_config(folder)[0].env.variant.mean_rounds == 10**400
    rewrite(folder, lambda content: content["arguments"].update(mean_rounds=float("inf")))
    assert load_config(folder)[0].env.variant.mean_rounds == float("inf")


TOO_LARGE = (
    "memory: expected numbers of users, episodes etc. that fit into memory, got too large ones (Unable to allocate"
)


@pytest.mark.parametrize("way", ["file", "option"])
def test_more_users_than_memory_has_room_for_are_one_sentence(run, way, capsys):
    folder, users = run("MultiSpin/Heterogeneous-v0"), 10**15
    if way == "file":
        rewrite(folder, lambda content: content["scenario"].update(num_users=users))
    arguments = [folder] if way == "file" else [folder, "--num-users", users]
    assert TOO_LARGE in refused("evaluate", arguments, capsys)


def tensors_file(header, size=None, numbers=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + numbers


def tensor(shape, end):
    return {"policy/a": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}


@pytest.mark.parametrize(
    "content",
    [
        tensors_file({}, size=2**40),
        tensors_file(tensor([10**13], 4 * 10**13), numbers=bytes(16)),
        tensors_file(tensor([2**62, 4], 0)),
        tensors_file(b'{"a":' + NESTED.encode()),
        tensors_file({"__metadata__": {"kind": "multispin_env checkpoint", "schema": "2", "counters": NESTED}}),
    ],
    ids=["header", "shape", "overflow", "deep", "counters"],
)
def test_networks_whose_header_lies_are_refused(run, content, capsys):
    folder = run()
    (folder / MODEL).write_bytes(content)
    printed = refused("evaluate", [folder], capsys)
    assert f"{MODEL}: can't be read safely as a checkpoint of this project (" in printed


def test_large_networks_are_refused_unread(run, monkeypatch):
    folder = run()
    size = (folder / MODEL).stat().st_size
    monkeypatch.setattr(checkpoints, "LARGEST", size)
    assert load_checkpoint(folder, MODEL).num_timesteps > 0
    monkeypatch.setattr(checkpoints, "LARGEST", size - 1)
    monkeypatch.setattr(checkpoints, "safe_open", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(ValueError, match=f"size: expected at most {size - 1} bytes, got {size}"):
        load_checkpoint(folder, MODEL)
