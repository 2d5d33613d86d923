"""Runs from untrusted sources: which files they may name, and what is refused before it is read."""

import json
import shutil
import struct

import numpy as np
import pytest

import multispin_agents
from multispin_agents import checkpoints, tracing
from multispin_agents import training as train_command
from multispin_agents.checkpoints import MODEL, load_checkpoint
from multispin_agents.measures import Measure
from multispin_agents.models import ROOT, SCORE, read
from multispin_agents.runs import CONFIG, DIGEST, digest, load_config, save_config
from multispin_env.apps.commands.main import main
from multispin_env.evaluation.policy import POLICY, config_of, read_about
from multispin_env.files import make_folder
from multispin_env.physics.records import load_records

RECORDED = "MultiSpin/RecordedAcceptance-v0"
STOPPED = 15


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "mine.npz"
    rng = np.random.default_rng(3)
    probability = rng.random(80)
    task, length = np.repeat(np.arange(4), 2), np.full(8, 10)
    np.savez(path, task=task, length=length, accept_probability=probability, accepted=rng.random(80) < probability)
    return path


@pytest.fixture
def run(tmp_path):
    return lambda env_id=RECORDED: shutil.copytree(ROOT / multispin_agents.PRETRAINED[env_id], tmp_path / "foreign")


def rewrite(folder, change):
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    change(content)
    content[DIGEST] = digest(content)
    (folder / CONFIG).write_text(json.dumps(content), encoding="utf-8")


def name_record(folder, name):
    rewrite(folder, lambda content: content["arguments"].update(records=name))


@pytest.fixture
def untrained(monkeypatch):
    """Make ``train.py`` stop before training, after writing a new configuration; list of the configurations."""
    started = []

    def train(config, folder, limits, resume, device, console, is_ready):
        started.append(config)
        if not resume:
            save_config(folder, config, limits)
        return STOPPED

    monkeypatch.setattr(train_command, "train", train)
    return started


@pytest.mark.parametrize("name", ["/etc/passwd", "../mine.npz", "deeper/mine.npz", "link.npz", "missing.npz", "", 7])
def test_a_run_names_no_record_outside_its_folder(run, record, tmp_path, name, refused):
    folder = run()
    (folder / "deeper").mkdir()
    for path in (tmp_path / "mine.npz", folder / "deeper" / "mine.npz"):
        shutil.copy(record, path)
    (folder / "link.npz").symlink_to(record)
    name_record(folder, name)
    expected = "a file next to the configuration, or your own path with --set records=PATH"
    for command in (["evaluate"], ["train", "--resume"]):
        assert f"records: expected {expected}, got {name!r}" in refused(command[0], [*command[1:], str(folder)])


def test_an_export_takes_the_record_along(run, record, tmp_path, monkeypatch):
    folder, out = run(), tmp_path / "out"
    shutil.copy(record, folder / "records.npz")
    name_record(folder, "records.npz")
    monkeypatch.setattr(tracing, "onnx_of", lambda *_: b"network")
    monkeypatch.setattr(tracing, "largest_difference", lambda *_: 0.0)
    monkeypatch.setattr(tracing, "load_policy", lambda folder: None)
    make_folder(out)
    tracing.export(folder, out)
    assert config_of(read_about(out), out / POLICY).records == str(out / "records.npz")
    assert (out / "records.npz").read_bytes() == record.read_bytes()


def test_the_path_that_the_user_gives_is_taken(run, record, untrained, monkeypatch):
    def report(measure, model, label, size=None):
        raise RuntimeError(measure.config.records)

    monkeypatch.setattr(Measure, "report", report)
    folder = run()
    name_record(folder, "/nowhere/records.npz")
    arguments = ["--set", f"records={record}"]
    with pytest.raises(RuntimeError, match=record.name):
        main(["evaluate", str(folder), *arguments, "--num-users", "2"])
    assert main(["train", "--resume", str(folder), *arguments]) == 128 + STOPPED
    assert untrained[0].env.records == str(record)


def test_a_run_keeps_the_record_it_was_trained_with(record, untrained, tmp_path, monkeypatch, refused):
    folder, mine, other = tmp_path / "run", tmp_path / "mine-too.npz", tmp_path / "other.npz"
    shutil.copy(record, mine)
    monkeypatch.chdir(tmp_path)
    arguments = ["--env", RECORDED, "--set", "records=mine-too.npz", "--num-users", "2"]
    assert main(["train", "--name", str(folder), *arguments]) == 128 + STOPPED
    assert json.loads((folder / CONFIG).read_text(encoding="utf-8"))["arguments"]["records"] == "records.npz"
    assert (folder / "records.npz").read_bytes() == record.read_bytes()

    monkeypatch.chdir(folder)  # neither the current folder nor the first file matters from here on
    resume = ["train", "--resume", str(folder)]
    for options in ([], ["--set", "records=../mine-too.npz"], ["--set", f"records={mine}"]):
        assert main([*resume, *options]) == 128 + STOPPED
        assert untrained[-1].env.records == str(folder / "records.npz")
    mine.unlink()
    assert main(resume) == 128 + STOPPED
    assert load_records(untrained[-1].env.records).num_tasks == 4

    with np.load(record) as arrays:
        np.savez(other, **{**arrays, "accepted": ~arrays["accepted"]})
    message = refused("train", [*resume[1:], "--set", f"records={other}"])
    assert f"arguments: expected the values of the run {str(folder)!r}, got others" in message
    (folder / "records.npz").unlink()
    assert "records: expected a file next to the configuration" in refused("train", resume[1:])
    assert main([*resume, "--set", f"records={record}"]) == 128 + STOPPED


def test_a_bad_record_leaves_no_run(untrained, tmp_path, refused):
    (tmp_path / "bad.npz").write_bytes(b"x")
    options = ["--name", str(tmp_path / "run"), "--env", RECORDED, "--set", f"records={tmp_path / 'bad.npz'}"]
    assert "bad.npz: file: expected an .npz archive, got b'x' at its start" in refused("train", options)
    assert not (tmp_path / "run").exists()


NESTED = "[" * 200_000


@pytest.mark.parametrize(
    "content",
    [NESTED, '{"a":' * 100_000, "9" * 5000, "\0", b"\xff", b"{}", b"[]"],
    ids=lambda content: repr(content)[:14],
)
def test_broken_configurations_and_scores_are_refused(run, content):
    folder, content = run(), content.encode() if isinstance(content, str) else content
    if content != b"{}":  # a score without entries
        (folder / SCORE).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{SCORE}: can't be read as the score of an agent \("):
            read(folder)
    (folder / CONFIG).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{CONFIG}: can't be read as the configuration of a run \("):
        load_config(folder)


def test_an_endless_request_may_be_written_as_a_number_too_large_for_floats(run):
    folder = run()
    rewrite(folder, lambda content: content["arguments"].update(mean_rounds=10**400))
    assert load_config(folder)[0].env.mean_rounds == 10**400
    rewrite(folder, lambda content: content["arguments"].update(mean_rounds=float("inf")))
    assert load_config(folder)[0].env.mean_rounds == float("inf")


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
def test_networks_with_false_headers_are_refused(tmp_path, content):
    (tmp_path / MODEL).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{MODEL}: can't be read safely as a checkpoint of this project \("):
        load_checkpoint(tmp_path, MODEL)


def test_large_networks_are_refused_unread(run, monkeypatch):
    folder = run()
    size = (folder / MODEL).stat().st_size
    monkeypatch.setattr(checkpoints, "LARGEST_FILE", size)
    assert load_checkpoint(folder, MODEL).num_timesteps > 0
    monkeypatch.setattr(checkpoints, "LARGEST_FILE", size - 1)
    monkeypatch.setattr(checkpoints, "safe_open", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(ValueError, match=f"size: expected at most {size - 1} bytes, got {size}"):
        load_checkpoint(folder, MODEL)
