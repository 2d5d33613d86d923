"""Checkpoints of a run: safetensors files with numbers only, and what is refused."""

import json
import shutil

import pytest
import torch as th
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from multispin_agents.checkpoints import CHECKPOINT, MODEL, Checkpoint, _checksum, load_checkpoint, save_checkpoint
from multispin_agents.models import load_run_model
from multispin_agents.runs import Limits, digest, load_config
from multispin_agents.training import train


@pytest.fixture
def copied(tiny_run, tmp_path):
    return shutil.copytree(tiny_run[0], tmp_path / "copy")


@pytest.mark.parametrize(("name", "command"), [(MODEL, ["evaluate"]), (CHECKPOINT, ["train", "--resume"])])
def test_foreign_files_are_refused_and_not_executed(copied, name, command, refused, evil):
    pickled, trace = evil
    for content in (pickled, b"", save({"policy/weight": th.zeros(3)})):
        (copied / name).write_bytes(content)
        message = refused(command[0], [*command[1:], str(copied)])
        assert f"{name}: can't be read safely as a checkpoint of this project" in message
    assert "expected a checkpoint, got another file" in message
    assert not trace.exists()


def small_checkpoint():
    layer = th.nn.Linear(3, 2)
    optimizer = th.optim.Adam(layer.parameters(), lr=0.01)
    layer(th.ones(3)).sum().backward()
    optimizer.step()
    parameters = {
        "policy": layer.state_dict(),
        "policy.optimizer": optimizer.state_dict(),
        "ent_coef_optimizer": optimizer.state_dict(),  # as SAC has it
    }
    return Checkpoint(parameters, 1200, 34, 5.6, 0.789)


def test_a_flipped_bit_is_refused_wherever_it_is(tmp_path):
    """In header and tensors; files that still load have the same content, as 1E-08 for 1e-08."""
    path, refusals = tmp_path / MODEL, 0
    save_checkpoint(path, small_checkpoint())
    content, expected = path.read_bytes(), vars(load_checkpoint(tmp_path, MODEL))
    positions = range(0, len(content), 5)
    for position in positions:
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            loaded = vars(load_checkpoint(tmp_path, MODEL))
        except ValueError:
            refusals += 1
        else:
            th.testing.assert_close(loaded, expected, rtol=0.0, atol=0.0)
    assert refusals >= len(positions) - 3


@pytest.mark.parametrize("change", [(b'"F32"', b'"I32"'), (rb"\"score\": 0.789", rb"\"score\": 0.989")])
def test_changed_content_of_the_same_size_is_refused(tmp_path, change):
    save_checkpoint(tmp_path / MODEL, small_checkpoint())
    content = (tmp_path / MODEL).read_bytes()
    assert change[0] in content
    (tmp_path / MODEL).write_bytes(content.replace(*change, 1))
    with pytest.raises(ValueError, match="the content does not match its digest; restore the original, or train a new"):
        load_checkpoint(tmp_path, MODEL)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 3}, "schema: expected 4, got 3, of another version of this project"),
        ({"kind": "other"}, "expected a checkpoint, got another file"),
        ({"num_timesteps": -1}, "num_timesteps: expected an integer in 0..1000000000000000, got -1"),
        ({"updates": 10**400}, "updates: expected an integer in 0..1000000000000000, got 1000"),
        ({"seconds": 10**400}, "can't be read safely"),
        ({"score": "high"}, "score: expected a finite number in [-inf, inf), got 'high'"),
        ({"param_groups": [1]}, "can't be read safely"),
        ({"param_groups": {"policy.optimizer": [3]}}, "expected networks of this agent and environment, got others"),
    ],
)
def test_other_headers_are_refused(copied, changes, message, refused):
    """Also with the digest of the header."""
    path = copied / CHECKPOINT
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"]) | changes
    tensors = load_file(path)
    about["sha256"] = digest({**about, "tensors": _checksum(tensors)})
    save_file(tensors, path, {"about": json.dumps(about)})
    assert message in refused("train", ["--resume", str(copied)])


def test_networks_of_another_agent_are_refused(copied, refused):
    saved = load_checkpoint(copied, MODEL)
    policy = {**saved.parameters["policy"], "log_std": th.zeros(7)}
    save_checkpoint(copied / MODEL, Checkpoint({**saved.parameters, "policy": policy}, 1, 1, 1.0))
    assert "expected networks of this agent and environment, got others" in refused("evaluate", [str(copied)])


def test_a_resumed_run_remembers_its_best(copied):
    marked = load_checkpoint(copied, MODEL)
    save_checkpoint(copied / MODEL, Checkpoint(marked.parameters, 77, marked.updates, marked.seconds, 2.0))
    config, _ = load_config(copied)
    assert train(config, copied, Limits(timesteps=8000), True, "cpu", Console(quiet=True)) is None
    assert load_checkpoint(copied, MODEL).num_timesteps == 77
    assert load_checkpoint(copied).num_timesteps >= 8000


def test_the_result_is_the_best_model(copied):
    config, _ = load_config(copied)
    before = load_run_model(copied, config.env).policy.state_dict()
    last = load_checkpoint(copied)
    zeros = {key: th.zeros_like(value) for key, value in last.parameters["policy"].items()}
    save_checkpoint(copied / CHECKPOINT, Checkpoint({**last.parameters, "policy": zeros}, 1, 1, 1.0))
    th.testing.assert_close(load_run_model(copied, config.env).policy.state_dict(), before, rtol=0.0, atol=0.0)
