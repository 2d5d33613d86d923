"""What a run saves: safetensors that only hold numbers, the best model beside the last, and what is refused."""

import json
import re
import shutil

import numpy as np
import pytest
import torch as th
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from stable_baselines3.common.logger import configure

from agents.checkpoints import CHECKPOINT, MODEL, Checkpoint, _checksum, load_checkpoint, save_checkpoint
from agents.measures import Headline
from agents.models import load_run_model
from agents.runs import Limits, digest, load_config
from agents.training import TrainingMonitor, train
from multispin_env.apps.commands.main import main

TINY = ["--num-users", "3", "--seed", "1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    assert main(["train", "--name", str(folder), "--timesteps", "4000", *TINY]) == 0
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    return folder


@pytest.mark.parametrize("content", ["pickle", b""], ids=["pickle", "empty"])
@pytest.mark.parametrize(
    ("name", "command", "option"),
    [(MODEL, "evaluate", []), (CHECKPOINT, "train", ["--resume"])],
    ids=["model", "last"],
)
def test_foreign_files_are_refused_and_not_executed(copied, name, command, option, content, refused, evil):
    pickled, trace = evil
    (copied / name).write_bytes(pickled if content == "pickle" else content)
    message = refused(command, [*option, str(copied)])
    assert f"{name}: can't be read safely as a checkpoint of this project" in message
    assert not trace.exists()


def test_other_safetensors_are_refused(copied, refused):
    save_file({"policy/weight": th.zeros(3)}, copied / MODEL)
    assert "expected a checkpoint, got another file" in refused("evaluate", [str(copied)])


def flips(content):
    """The content with one bit flipped, another one in each second byte."""
    for position in range(0, len(content), 2):
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position * 5) % 8
        yield bytes(flipped)


def small_checkpoint():
    """As a network of one layer and its optimiser have it."""
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


def same(one, other):
    """Whether two nests of containers and tensors say the same."""
    if isinstance(one, th.Tensor):
        return isinstance(other, th.Tensor) and one.dtype == other.dtype and th.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_a_flipped_bit_is_refused_wherever_it_is(tmp_path):
    """All over the header and the tensors; what still loads says the same, as 1E-08 for 1e-08 does."""
    path, refusals = tmp_path / MODEL, 0
    save_checkpoint(path, small_checkpoint())
    content, wanted = path.read_bytes(), vars(load_checkpoint(tmp_path, MODEL))
    for flipped in flips(content):
        path.write_bytes(flipped)
        try:
            found = vars(load_checkpoint(tmp_path, MODEL))
        except ValueError:
            refusals += 1
        else:
            assert same(found, wanted)
    assert refusals >= len(content) // 2 - 5


def test_another_type_of_number_is_refused(tmp_path):
    """Which has as many bytes."""
    save_checkpoint(tmp_path / MODEL, small_checkpoint())
    content = (tmp_path / MODEL).read_bytes()
    (tmp_path / MODEL).write_bytes(content.replace(b'"F32"', b'"I32"', 1))
    with pytest.raises(ValueError, match="the content does not match its digest"):
        load_checkpoint(tmp_path, MODEL)


def test_a_changed_score_is_refused(copied, refused):
    with safe_open(copied / MODEL, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    save_file(load_file(copied / MODEL), copied / MODEL, {"about": json.dumps({**about, "score": 2.0})})
    message = refused("evaluate", [str(copied)])
    assert "the content does not match its digest; restore the original, or train a new run" in message


def stamped(folder, **changes):
    """The model's file with another header, which is what its digest says."""
    with safe_open(folder / MODEL, framework="pt") as file:
        about = json.loads(file.metadata()["about"]) | changes
    tensors = load_file(folder / MODEL)
    about["sha256"] = digest({**about, "tensors": _checksum(tensors)})
    save_file(tensors, folder / MODEL, {"about": json.dumps(about)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema: expected 3, got 2, of another version of this project"),
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
    stamped(copied, **changes)
    assert message in refused("evaluate", [str(copied)])


def test_networks_of_another_agent_are_refused(copied, refused):
    found = load_checkpoint(copied, MODEL)
    policy = {**found.parameters["policy"], "log_std": th.zeros(7)}
    parameters = {**found.parameters, "policy": policy}
    save_checkpoint(copied / MODEL, Checkpoint(parameters, 1, 1, 1.0))
    assert "expected networks of this agent and environment, got others" in refused("evaluate", [str(copied)])


class Scripted:
    """A measure whose validations are given."""

    headline = Headline("score", "of it", "share of it")

    def __init__(self, scores):
        self.scores = iter(scores)

    def validation(self):
        return lambda model: {"score": next(self.scores)}


class Clock:
    elapsed = 1.0

    def fraction_used(self, steps):
        return 0.5


def kept(folder, scores, trained, best=None):
    """What a monitor printed, and the scores of the files after each validation."""
    config, _ = load_config(trained)
    with (folder / "printed").open("w", encoding="utf-8") as printed:
        console = Console(file=printed, width=200)
        monitor = TrainingMonitor(folder, Scripted(scores), Clock(), console, best)
        monitor.init_callback(load_run_model(trained, config.env))
        monitor.model.set_logger(configure(None, []))
        files = []
        for _ in scores:
            monitor.validate()
            files.append([load_checkpoint(folder, name).score for name in (MODEL, CHECKPOINT)])
    return (folder / "printed").read_text(encoding="utf-8"), files


def test_the_best_is_the_result_and_falls_are_said_once(trained, tmp_path):
    scores = [0.5, 0.9, 0.89, 0.8, 0.7, 0.9, 0.95, 0.92]
    printed, files = kept(tmp_path, scores, trained)
    assert [last for _, last in files] == scores
    assert [best for best, _ in files] == [0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.95, 0.95]
    warnings = re.findall(r"warning: validation fell to ([\d.]+)", printed)
    assert warnings == ["0.8000", "0.9200"]
    assert "more than 2% below its best, 0.9000; the best model is kept in model.safetensors" in printed


def test_numbers_that_are_none_are_never_the_best(trained, tmp_path):
    printed, files = kept(tmp_path, [0.9, np.nan, 0.91], trained)
    assert files == [[0.9, 0.9], [0.9, None], [0.91, 0.91]]
    assert "fell to nan" in printed


def test_negative_scores_fall_too(trained, tmp_path):
    printed, _ = kept(tmp_path, [-10.0, -10.1, -10.3], trained)
    assert re.findall(r"warning: validation fell to ([-\d.]+)", printed) == ["-10.3000"]


def test_a_resumed_run_remembers_its_best(copied, tmp_path):
    marked = load_checkpoint(copied, MODEL)
    save_checkpoint(copied / MODEL, Checkpoint(marked.parameters, 77, marked.updates, marked.seconds, 2.0))
    config, _ = load_config(copied)
    assert train(config, copied, Limits(timesteps=6000), True, "cpu", Console(quiet=True)) is None
    assert load_checkpoint(copied, MODEL).num_timesteps == 77
    assert load_checkpoint(copied).num_timesteps >= 6000


def test_the_table_is_of_the_best(copied, capsys):
    """A worse model in the last checkpoint changes nothing of the comparison."""
    assert main(["evaluate", str(copied), "--states", "20"]) == 0
    before = capsys.readouterr().out
    found = load_checkpoint(copied)
    policy = {key: th.zeros_like(value) for key, value in found.parameters["policy"].items()}
    save_checkpoint(copied / CHECKPOINT, Checkpoint({**found.parameters, "policy": policy}, 1, 1, 1.0))
    assert main(["evaluate", str(copied), "--states", "20"]) == 0
    assert capsys.readouterr().out == before
    assert json.loads((copied / "config.json").read_text(encoding="utf-8"))["versions"]["safetensors"]
